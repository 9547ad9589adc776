//! Offers, choices and the longest-key rule, as pure functions over text (PROTOCOL.md §3.2).

use std::fmt;

use crate::suite::{EnabledSuite, SuiteId};
use crate::text::Printable;

/// The first word of a proposal.
pub const PROPOSAL_HEAD: &str = "ProposedCiphers:";
/// The first word of a choice.
pub const CHOICE_HEAD: &str = "ChosenCipher:";

/// The ciphers that a client offers: names with key sizes in bits, in the order of the client.
///
/// An offer is not checked against the suites of this side: a name may be unknown, a size may be
/// impossible, a list of sizes may be empty. [`select`] skips such entries.
///
/// # Examples
///
/// ```
/// let offer = vpn_proto::Offer::parse("ProposedCiphers:AES:[128,256],DES3:[192]")?;
/// assert_eq!(offer.to_string(), "AES:[128,256],DES3:[192]");
/// # Ok::<(), vpn_proto::OfferError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    entries: Vec<OfferEntry>,
}

/// One cipher of an [`Offer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferEntry {
    /// The name, as on the wire.
    pub name: String,
    /// The key sizes in bits, in the order of the wire.
    pub sizes: Vec<u32>,
}

impl Offer {
    /// Makes an offer of these entries.
    pub fn new(entries: impl IntoIterator<Item = OfferEntry>) -> Self {
        Self { entries: entries.into_iter().collect() }
    }

    /// The offer of this side: all enabled suites, in the order of the configuration.
    ///
    /// One rule changes the order: a name that ends in digits comes before the name without digits.
    /// Some existing parsers drop the digits and use the later entry. So `DES3` must come before
    /// `DES`.
    pub fn from_enabled(enabled: &[EnabledSuite]) -> Self {
        let mut entries: Vec<OfferEntry> = enabled
            .iter()
            .map(|e| OfferEntry {
                name: e.wire_name.to_owned(),
                sizes: e.sizes.iter().map(|s| s.bits()).collect(),
            })
            .collect();
        for at in 1..entries.len() {
            let letters = entries[at].name.trim_end_matches(|c: char| c.is_ascii_digit());
            if letters.len() == entries[at].name.len() {
                continue;
            }
            if let Some(before) = entries[..at].iter().position(|e| e.name == letters) {
                entries[before..=at].rotate_right(1);
            }
        }
        Self { entries }
    }

    /// The ciphers, in order.
    pub fn entries(&self) -> &[OfferEntry] {
        &self.entries
    }

    /// The proposal as text for the wire, without a line end.
    pub fn to_wire(&self) -> String {
        format!("{PROPOSAL_HEAD}{self}")
    }

    /// Parses a complete proposal, without its line end.
    ///
    /// Spaces are allowed after the first word and after commas, because some existing programs
    /// send them. Everything else must have the form of [`Offer::to_wire`].
    ///
    /// # Errors
    ///
    /// [`OfferError`] names the first mistake.
    pub fn parse(text: &str) -> Result<Self, OfferError> {
        let mut rest = text.strip_prefix(PROPOSAL_HEAD).ok_or(OfferError::Head)?;
        let mut entries = Vec::new();
        loop {
            rest = rest.trim_start_matches(' ');
            let (name, tail) = rest.split_once(":[").ok_or(OfferError::Entry)?;
            if name.is_empty() || !name.bytes().all(is_name_byte) {
                return Err(OfferError::Name);
            }
            let (list, tail) = tail.split_once(']').ok_or(OfferError::Unclosed)?;
            entries.push(OfferEntry { name: name.to_owned(), sizes: parse_sizes(list)? });
            match tail.strip_prefix(',') {
                Some(tail) => rest = tail,
                None if tail.is_empty() => return Ok(Self { entries }),
                None => return Err(OfferError::Separator),
            }
        }
    }

    /// The first entry that offers this suite with a key of `bits` bits.
    fn find(&self, suite: &EnabledSuite, bits: u32) -> Option<&OfferEntry> {
        self.entries.iter().find(|o| suite.has_name(&o.name) && o.sizes.contains(&bits))
    }
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, entry) in self.entries.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            write!(f, "{}:[", entry.name)?;
            for (j, bits) in entry.sizes.iter().enumerate() {
                if j > 0 {
                    f.write_str(",")?;
                }
                write!(f, "{bits}")?;
            }
            f.write_str("]")?;
        }
        Ok(())
    }
}

/// The mistake in a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// An entry does not start with `NAME:[`.
    #[error("a cipher is written NAME:[SIZES]")]
    Entry,
    /// The text does not start with `ProposedCiphers:`.
    #[error("a proposal starts with {PROPOSAL_HEAD}")]
    Head,
    /// A name is empty, or has a character that is not allowed.
    #[error("a cipher name has letters, digits and -+._ only")]
    Name,
    /// Two entries are not separated by one comma.
    #[error("ciphers are separated by one comma")]
    Separator,
    /// A key size is not a number of one to six digits.
    #[error("a key size is a number of bits")]
    Size,
    /// A list of key sizes has no `]`.
    #[error("a list of key sizes ends with ]")]
    Unclosed,
}

/// The choice of a server: one name and one key size of the offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The name, as in the offer.
    pub name: String,
    /// The key size in bits.
    pub bits: u32,
}

impl Choice {
    /// The choice as text for the wire, without a line end.
    pub fn to_wire(&self, separator: Separator) -> String {
        format!("{CHOICE_HEAD}{}{}{}", self.name, separator.as_char(), self.bits)
    }

    /// The choice as an entry of an offer.
    pub(super) fn to_entry(&self) -> OfferEntry {
        OfferEntry { name: self.name.clone(), sizes: vec![self.bits] }
    }

    /// Parses a complete choice, without its line end. Returns the choice and its separator.
    ///
    /// # Errors
    ///
    /// [`ChoiceError`] if the text is not `ChosenCipher:NAME:BITS` or `ChosenCipher:NAME,BITS`.
    /// Spaces are allowed around name and number. Behind the number carriage returns are, too: they are
    /// the begin of a line end, in whatever order it has spaces.
    pub fn parse(text: &str) -> Result<(Self, Separator), ChoiceError> {
        let rest = text.strip_prefix(CHOICE_HEAD).ok_or(ChoiceError)?;
        let at = rest.find([':', ',']).ok_or(ChoiceError)?;
        let separator =
            if rest.as_bytes()[at] == b':' { Separator::Colon } else { Separator::Comma };
        let name = rest[..at].trim_matches(' ');
        let digits = rest[at + 1..].trim_start_matches(' ').trim_end_matches([' ', '\r']);
        if name.is_empty() || !name.bytes().all(is_name_byte) {
            return Err(ChoiceError);
        }
        let bits = parse_size(digits).map_err(|_| ChoiceError)?;
        Ok((Self { name: name.to_owned(), bits }, separator))
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Printable(self.name.as_bytes()), self.bits)
    }
}

/// A text is not a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a choice is written {CHOICE_HEAD}NAME:BITS")]
pub struct ChoiceError;

/// The character between name and size in a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Separator {
    /// `:`, as in the text of the assignment.
    Colon,
    /// `,`, as in the programs of 2020 and 2025.
    Comma,
}

impl Separator {
    /// The character.
    pub const fn as_char(self) -> char {
        match self {
            Self::Colon => ':',
            Self::Comma => ',',
        }
    }
}

/// The outcome of [`select`].
#[derive(Clone, Debug)]
pub struct Selection {
    /// The suite and key size to use.
    pub id: SuiteId,
    /// The answer: the same suite, with the name that the peer used.
    pub choice: Choice,
    /// Whether no further entry of the peer could change the outcome.
    pub is_best: bool,
}

/// Selects the longest key that both sides support. Among equal keys the order of `enabled`
/// decides.
///
/// Names and aliases must match exactly. `None` if the two sides have nothing in common.
///
/// # Examples
///
/// ```
/// use vpn_proto::{EnabledSuite, Offer, select};
/// use vpn_suite::{KeySize, Registry};
/// # use vpn_suites as _;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let aes = Registry::linked()?.find("AES").ok_or("not linked")?;
/// let sizes: Vec<KeySize> = [128, 256].into_iter().filter_map(KeySize::from_bits).collect();
/// let enabled = [EnabledSuite { suite: aes, wire_name: "AES", sizes }];
/// let offer = Offer::parse("ProposedCiphers:DES3:[192],AES:[128,256]")?;
/// let selection = select(&enabled, &offer).ok_or("nothing in common")?;
/// assert_eq!(selection.id.to_string(), "AES256");
/// # Ok(())
/// # }
/// ```
pub fn select(enabled: &[EnabledSuite], offer: &Offer) -> Option<Selection> {
    let mut best: Option<Selection> = None;
    // The first longest key of the configuration. No offer can lead to a better one.
    let longest = enabled.iter().flat_map(|e| &e.sizes).max().copied();
    let mut seen_longest = false;
    for entry in enabled {
        for &size in &entry.sizes {
            let is_first_longest = Some(size) == longest && !seen_longest;
            seen_longest |= is_first_longest;
            if best.as_ref().is_some_and(|b| size <= b.id.size) {
                continue;
            }
            if let Some(offered) = offer.find(entry, size.bits()) {
                best = Some(Selection {
                    id: SuiteId { suite: entry.suite, size },
                    choice: Choice { name: offered.name.clone(), bits: size.bits() },
                    is_best: is_first_longest,
                });
            }
        }
    }
    best
}

/// A cipher with a key size that at least one side supports. Messages that explain a selection list
/// them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The name, as the side that supports it writes it.
    pub name: String,
    /// The key size in bits.
    pub bits: u32,
    /// Which side supports it.
    pub has: SupportedBy,
}

/// Which side supports a [`Candidate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SupportedBy {
    /// Both sides.
    Both,
    /// This side. Of the peer it is not known.
    Ours,
    /// Only the peer.
    Theirs,
}

/// All candidates of a selection: first the enabled suites in their order, then those that only the
/// peer supports.
///
/// A server passes the offer of the client. A client does not know the list of the server, so it
/// passes the choice of the server as an offer.
pub fn candidates(enabled: &[EnabledSuite], offer: &Offer) -> Vec<Candidate> {
    let mut list = Vec::new();
    for entry in enabled {
        for size in &entry.sizes {
            let bits = size.bits();
            let is_offered = offer.find(entry, bits).is_some();
            let has = if is_offered { SupportedBy::Both } else { SupportedBy::Ours };
            list.push(Candidate { name: entry.wire_name.to_owned(), bits, has });
        }
    }
    for entry in &offer.entries {
        for &bits in &entry.sizes {
            let choice = Choice { name: entry.name.clone(), bits };
            if accept(enabled, &choice).is_none() {
                list.push(Candidate { name: choice.name, bits, has: SupportedBy::Theirs });
            }
        }
    }
    list
}

/// The suite that the choice of a peer means on this side. `None` if it was not offered.
pub fn accept(enabled: &[EnabledSuite], choice: &Choice) -> Option<SuiteId> {
    enabled.iter().filter(|e| e.has_name(&choice.name)).find_map(|e| {
        let size = e.sizes.iter().find(|s| s.bits() == choice.bits)?;
        Some(SuiteId { suite: e.suite, size: *size })
    })
}

/// The list of enabled suites in the form of a proposal, for messages.
pub fn describe(enabled: &[EnabledSuite]) -> String {
    Offer::from_enabled(enabled).to_string()
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.' | b'_')
}

fn parse_sizes(list: &str) -> Result<Vec<u32>, OfferError> {
    if list.is_empty() {
        return Ok(Vec::new());
    }
    list.split(',')
        .enumerate()
        .map(|(i, item)| parse_size(if i == 0 { item } else { item.trim_start_matches(' ') }))
        .collect()
}

fn parse_size(digits: &str) -> Result<u32, OfferError> {
    // `u32::from_str` would accept a plus sign. No key has a million bits.
    const MAX_DIGITS: usize = 6;
    if digits.is_empty() || digits.len() > MAX_DIGITS || !digits.bytes().all(|b| b.is_ascii_digit())
    {
        return Err(OfferError::Size);
    }
    digits.parse().map_err(|_| OfferError::Size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::aes;

    #[test]
    fn mistakes_in_a_proposal_are_named() {
        let error = |list: &str| Offer::parse(&format!("{PROPOSAL_HEAD}{list}")).unwrap_err();
        assert_eq!(Offer::parse("Proposed:AES:[128]"), Err(OfferError::Head));
        for (list, expected, text) in [
            ("AES", OfferError::Entry, "a cipher is written NAME:[SIZES]"),
            ("AES:[128],", OfferError::Entry, "a cipher is written NAME:[SIZES]"),
            (":[128]", OfferError::Name, "a cipher name has letters, digits and -+._ only"),
            ("A S:[128]", OfferError::Name, "a cipher name has letters, digits and -+._ only"),
            ("AES:[128", OfferError::Unclosed, "a list of key sizes ends with ]"),
            ("AES:[128]DES:[56]", OfferError::Separator, "ciphers are separated by one comma"),
            ("AES:[+128]", OfferError::Size, "a key size is a number of bits"),
            ("AES:[128,]", OfferError::Size, "a key size is a number of bits"),
            ("AES:[1234567]", OfferError::Size, "a key size is a number of bits"),
        ] {
            assert_eq!((error(list), error(list).to_string()), (expected, text.to_owned()));
        }
        assert_eq!(OfferError::Head.to_string(), "a proposal starts with ProposedCiphers:");
    }

    #[test]
    fn a_proposal_is_parsed_as_it_was_written() {
        let offer = Offer::parse("ProposedCiphers: AES:[128, 256], X-1:[],DES3:[192]").unwrap();
        assert_eq!(offer.to_wire(), "ProposedCiphers:AES:[128,256],X-1:[],DES3:[192]");
        assert_eq!(Offer::new(offer.entries().iter().cloned()), offer);
    }

    #[test]
    fn a_name_with_digits_comes_before_the_name_without() {
        let suite = aes(&[128])[0].suite;
        let enabled = ["DES", "AES", "DES3", "DES2"].map(|wire_name| EnabledSuite {
            suite,
            wire_name,
            sizes: vec![],
        });
        assert_eq!(describe(&enabled), "DES3:[],DES2:[],DES:[],AES:[]");
    }

    #[test]
    fn a_choice_has_one_name_and_one_size() {
        let choice = Choice { name: "AES".to_owned(), bits: 256 };
        for (text, separator) in
            [("ChosenCipher:AES:256", Separator::Colon), ("ChosenCipher:AES,256", Separator::Comma)]
        {
            assert_eq!(choice.to_wire(separator), text);
            assert_eq!(Choice::parse(text), Ok((choice.clone(), separator)));
        }
        let spaces = Choice::parse("ChosenCipher: AES : 256 ");
        assert_eq!(spaces, Ok((choice, Separator::Colon)));
        for text in ["AES:256", "ChosenCipher:AES", "ChosenCipher::256", "ChosenCipher:AES:x"] {
            assert_eq!(Choice::parse(text), Err(ChoiceError));
        }
        assert_eq!(ChoiceError.to_string(), "a choice is written ChosenCipher:NAME:BITS");
    }

    #[test]
    fn the_longest_common_key_is_selected() {
        let enabled = aes(&[128, 256]);
        let selected = |text: &str| {
            let selection = select(&enabled, &Offer::parse(text).unwrap())?;
            Some((selection.choice.to_string(), selection.is_best))
        };
        let best = Some(("AES256".to_owned(), true));
        assert_eq!(selected("ProposedCiphers:AES:[128],AES:[256]"), best);
        let second = Some(("AES128".to_owned(), false));
        assert_eq!(selected("ProposedCiphers:AES:[128,512]"), second);
        assert_eq!(selected("ProposedCiphers:aes:[128],DES3:[192]"), None);
    }

    #[test]
    fn candidates_say_which_side_supports_them() {
        let offer = Offer::parse("ProposedCiphers:AES:[256],DES3:[192]").unwrap();
        let list = candidates(&aes(&[128, 256]), &offer);
        let list: Vec<_> = list.iter().map(|c| (c.name.as_str(), c.bits, c.has)).collect();
        let (ours, both, theirs) = (SupportedBy::Ours, SupportedBy::Both, SupportedBy::Theirs);
        assert_eq!(list, [("AES", 128, ours), ("AES", 256, both), ("DES3", 192, theirs)]);
    }
}
