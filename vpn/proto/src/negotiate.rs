//! Offers, choices and the longest-key rule: pure functions over text (PROTOCOL.md §3.2).

use std::fmt;

use vpn_suite::{CipherSuite, KeySize};

use super::text::Printable;

/// The word that opens a proposal.
pub const PROPOSAL_HEAD: &str = "ProposedCiphers:";
/// The word that opens a choice.
pub const CHOICE_HEAD: &str = "ChosenCipher:";

/// What a client lists: cipher names with key sizes in bits, in the client's order.
///
/// An offer is a peer's claim: names need not exist here, sizes need not make sense, a list may be
/// empty. [`select`] sorts that out.
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
    /// The name as the peer wrote it.
    pub name: String,
    /// Key sizes in bits as the peer wrote them.
    pub sizes: Vec<u32>,
}

impl Offer {
    /// Collects entries into an offer.
    pub fn new(entries: impl IntoIterator<Item = OfferEntry>) -> Self {
        Self { entries: entries.into_iter().collect() }
    }

    /// What this side proposes: everything enabled, in the order of the configuration.
    ///
    /// A name that ends in digits goes before the name without them: parsers in the field drop
    /// digits from names and let the later entry win, so `DES3` has to come before `DES`.
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

    /// The ciphers listed, in order.
    pub fn entries(&self) -> &[OfferEntry] {
        &self.entries
    }

    /// The proposal as it goes on the wire, without a line end.
    pub fn to_wire(&self) -> String {
        format!("{PROPOSAL_HEAD}{self}")
    }

    /// Reads a whole proposal, without its line end.
    ///
    /// Blanks are allowed behind the head and behind commas, because programs in the field send
    /// them there; everything else is as [`Offer::to_wire`] writes it.
    ///
    /// # Errors
    ///
    /// [`OfferError`] names the first thing that is not as it should be.
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

/// Why a text is not a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// Something else than `NAME:[…]` where a cipher should start.
    #[error("a cipher is written NAME:[SIZES]")]
    Entry,
    /// It does not start with `ProposedCiphers:`.
    #[error("a proposal starts with {PROPOSAL_HEAD}")]
    Head,
    /// A name is missing or has a character that no name has.
    #[error("a cipher name has letters, digits and -+._ only")]
    Name,
    /// Something between `]` and the next cipher that is not a comma.
    #[error("ciphers are separated by one comma")]
    Separator,
    /// A key size that is not a plain number of at most six digits.
    #[error("a key size is a number of bits")]
    Size,
    /// A list of sizes without its `]`.
    #[error("a list of key sizes ends with ]")]
    Unclosed,
}

/// What a server picks: one name of the offer and one key size in bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The name, spelt as in the offer.
    pub name: String,
    /// The key size in bits.
    pub bits: u32,
}

impl Choice {
    /// The choice as it goes on the wire, without a line end.
    pub fn to_wire(&self, separator: Separator) -> String {
        format!("{CHOICE_HEAD}{}{}{}", self.name, separator.as_char(), self.bits)
    }

    /// The choice as the one entry of an offer.
    pub(super) fn to_entry(&self) -> OfferEntry {
        OfferEntry { name: self.name.clone(), sizes: vec![self.bits] }
    }

    /// Reads a whole choice, without its line end, and tells which separator it used.
    ///
    /// # Errors
    ///
    /// [`ChoiceError`] if the text is anything but `ChosenCipher:NAME:BITS` or
    /// `ChosenCipher:NAME,BITS`, with blanks allowed around name and number.
    pub fn parse(text: &str) -> Result<(Self, Separator), ChoiceError> {
        let rest = text.strip_prefix(CHOICE_HEAD).ok_or(ChoiceError)?;
        let at = rest.find([':', ',']).ok_or(ChoiceError)?;
        let separator =
            if rest.as_bytes()[at] == b':' { Separator::Colon } else { Separator::Comma };
        let name = rest[..at].trim_matches(' ');
        let digits = rest[at + 1..].trim_matches(' ');
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

/// The text is not a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a choice is written {CHOICE_HEAD}NAME:BITS")]
pub struct ChoiceError;

/// What stands between name and size in a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Separator {
    /// `:`, as the assignment's text has it.
    Colon,
    /// `,`, as the programs of 2020 and 2025 have it.
    Comma,
}

impl Separator {
    /// The character itself.
    pub const fn as_char(self) -> char {
        match self {
            Self::Colon => ':',
            Self::Comma => ',',
        }
    }
}

/// A suite that is linked *and* listed in the configuration, with the sizes listed there.
#[derive(Clone, Debug)]
pub struct EnabledSuite {
    /// The suite.
    pub suite: &'static dyn CipherSuite,
    /// The name to offer: the suite's name or the alias that the configuration uses.
    pub wire_name: &'static str,
    /// The key sizes enabled, in the order of the configuration.
    pub sizes: Vec<KeySize>,
}

/// A suite with one of its key sizes.
#[derive(Clone, Copy, Debug)]
pub struct SuiteId {
    /// The suite.
    pub suite: &'static dyn CipherSuite,
    /// The key size.
    pub size: KeySize,
}

impl fmt::Display for SuiteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.suite.name(), self.size.bits())
    }
}

/// The outcome of [`select`].
#[derive(Clone, Debug)]
pub struct Selection {
    /// What will be used.
    pub id: SuiteId,
    /// What to answer: the same, under the name that the peer used.
    pub choice: Choice,
    /// Whether nothing more the peer could list would change the outcome.
    pub is_best: bool,
}

/// Picks the longest key that both sides support; among equals the server's order decides.
///
/// Names are compared as they are, aliases included. `None` if there is nothing in common.
pub fn select(enabled: &[EnabledSuite], offer: &Offer) -> Option<Selection> {
    let mut best: Option<Selection> = None;
    // The first strictly longest key of the configuration: no offer can do better than that.
    let longest = enabled.iter().flat_map(|e| &e.sizes).max().copied();
    let mut seen_longest = false;
    for entry in enabled {
        for &size in &entry.sizes {
            let is_first_longest = Some(size) == longest && !seen_longest;
            seen_longest |= is_first_longest;
            if best.as_ref().is_some_and(|b| size <= b.id.size) {
                continue;
            }
            let offered = offer
                .entries
                .iter()
                .find(|o| answers_to(entry.suite, &o.name) && o.sizes.contains(&size.bits()));
            if let Some(offered) = offered {
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

/// A cipher with a key size that at least one side has, for messages that explain a selection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The name, as the side that has it writes it.
    pub name: String,
    /// The key size in bits.
    pub bits: u32,
    /// Who has it.
    pub has: Having,
}

/// Which side has a [`Candidate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Having {
    /// Both sides.
    Both,
    /// It is enabled here, and nothing is known of the peer having it.
    Ours,
    /// The peer alone.
    Theirs,
}

/// What there is to choose from: what is enabled, in its order, then what only the peer has.
///
/// A server passes the client's offer; a client, which knows no more, the server's choice.
pub fn candidates(enabled: &[EnabledSuite], offer: &Offer) -> Vec<Candidate> {
    let mut list = Vec::new();
    for entry in enabled {
        for size in &entry.sizes {
            let bits = size.bits();
            let offered = offer
                .entries
                .iter()
                .any(|o| answers_to(entry.suite, &o.name) && o.sizes.contains(&bits));
            let has = if offered { Having::Both } else { Having::Ours };
            list.push(Candidate { name: entry.wire_name.to_owned(), bits, has });
        }
    }
    for entry in &offer.entries {
        for &bits in &entry.sizes {
            let choice = Choice { name: entry.name.clone(), bits };
            if accept(enabled, &choice).is_none() {
                list.push(Candidate { name: choice.name, bits, has: Having::Theirs });
            }
        }
    }
    list
}

/// Finds what a peer's choice means on this side; `None` if it was not on offer.
pub fn accept(enabled: &[EnabledSuite], choice: &Choice) -> Option<SuiteId> {
    enabled.iter().filter(|e| answers_to(e.suite, &choice.name)).find_map(|e| {
        let size = e.sizes.iter().find(|s| s.bits() == choice.bits)?;
        Some(SuiteId { suite: e.suite, size: *size })
    })
}

/// Lists enabled suites as a proposal would, for messages.
pub fn describe(enabled: &[EnabledSuite]) -> String {
    Offer::from_enabled(enabled).to_string()
}

fn answers_to(suite: &dyn CipherSuite, name: &str) -> bool {
    suite.name() == name || suite.aliases().contains(&name)
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
    // `u32::from_str` takes a plus sign, and nobody's key has a million bits.
    const MAX_DIGITS: usize = 6;
    if digits.is_empty() || digits.len() > MAX_DIGITS || !digits.bytes().all(|b| b.is_ascii_digit())
    {
        return Err(OfferError::Size);
    }
    digits.parse().map_err(|_| OfferError::Size)
}
