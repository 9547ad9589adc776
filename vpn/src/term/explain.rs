//! `--explain`: it explains each message of a classic session, and what an eavesdropper learns from
//! it.

use std::collections::HashSet;
use std::fmt::Write as _;

use num_bigint::BigUint;
use zeroize::Zeroizing;

use super::block::{Block, colour};
use super::console::Console;
use super::keylog::push_hex;
use vpn_proto::classic::{
    Advice, Chaining, Dialect, DialectPlan, End, Established, HandshakeMessage, LineEnd, MacRule,
    Message, MessageKind, Note, PAD_TO, Reply, ReplyForm, Role, TAG_DIGITS,
};
use vpn_proto::{Candidate, Choice, Printable, Separator, SupportedBy};

/// The most bytes that are shown in full, in hexadecimal.
const HEX_WHOLE: usize = 96;
/// The bytes shown of longer data: so many at its beginning, so many at its end.
const HEX_ENDS: (usize, usize) = (32, 8);
/// The digits shown at each end of a large number.
const DIGITS: usize = 12;
/// The most ciphers shown in a selection.
const ROWS: usize = 40;
/// The most bytes shown of a text.
const TEXT: usize = 400;

/// Where sessions are explained, and how.
#[derive(Clone, Debug)]
pub struct Explain {
    /// Where the lines go.
    pub console: Console,
    /// Show keys.
    pub has_secrets: bool,
    /// Use colours.
    pub has_colour: bool,
}

impl Explain {
    pub(super) fn narrate(&self, role: Role, plan: DialectPlan, peer: String) -> Narrator {
        Narrator { explain: self.clone(), role, plan, peer, said: HashSet::new() }
    }
}

/// Explains one session.
#[derive(Debug)]
pub(super) struct Narrator {
    explain: Explain,
    role: Role,
    plan: DialectPlan,
    peer: String,
    /// The remarks that were printed already. Each comes only once.
    said: HashSet<&'static str>,
}

impl Narrator {
    pub(super) async fn begin(&mut self) {
        let (role, peer) = (self.role.name(), &self.peer);
        let names = plan_text(&self.plan);
        let mut block = self.block();
        block.line(&format!("[{role}] session with the {} {peer}", self.role.peer().name()));
        block.item("dialect", &names);
        self.print(block).await;
    }

    /// Explains a note of the session, and prints the advice that follows from it.
    pub(super) async fn tell(&mut self, note: &Note, advice: &[Advice]) {
        let mut block = self.block();
        match note {
            Note::Candidates { list, chosen } => self.candidates(&mut block, list, chosen.as_ref()),
            Note::Dialect(dialect) => self.dialect(&mut block, dialect),
            Note::Established(session) => self.established(&mut block, session),
            Note::Handshake(spoken) => self.spoken(&mut block, spoken),
            Note::Message(message) => self.message(&mut block, message),
            Note::OtherRuleFits(_) => return,
            Note::Reply(reply) => self.reply(&mut block, reply),
        }
        for advice in advice {
            block.coloured_item(colour::ADVICE, "advice", &advice.to_string());
        }
        self.print(block).await;
    }

    /// Prints a failure of the session, and the advice that follows from it.
    pub(super) async fn fail(&mut self, words: &str, advice: &[Advice]) {
        let mut block = self.block();
        let head = format!("[{}] it failed: {words}", self.role.name());
        block.line(&block.painted(colour::FAILURE, &head));
        for advice in advice {
            block.coloured_item(colour::ADVICE, "advice", &advice.to_string());
        }
        if advice.is_empty() {
            block.item("advice", "no setting of the dialect explains this");
        }
        self.print(block).await;
    }

    pub(super) async fn flush(&self) {
        // An error means that nobody reads it.
        let _ = self.explain.console.flush().await;
    }

    fn block(&self) -> Block {
        Block { text: Zeroizing::new(String::new()), has_colour: self.explain.has_colour }
    }

    async fn print(&self, block: Block) {
        // If nobody reads the explanation, the session still goes on.
        let _ = self.explain.console.line(block.text.as_str()).await;
    }

    /// Adds the first line about a message: its direction, its step in PROTOCOL.md §3.1, its kind
    /// and length.
    fn head(&self, block: &mut Block, from: Role, step: &str, what: &str) {
        let (arrow, colour) = match from {
            Role::Client => ("client -> server", colour::TO_SERVER),
            Role::Server => ("server -> client", colour::TO_CLIENT),
        };
        let head = block.painted(colour, &format!("{step:<3} {arrow}  {what}"));
        block.line(&format!("[{} {}] {head}", self.role.name(), self.peer));
    }

    /// Adds a weakness of the protocol when it shows for the first time.
    fn weakness(&mut self, block: &mut Block, words: &'static str) {
        if self.said.insert(words) {
            block.coloured_item(colour::WEAKNESS, "weakness", words);
        }
    }

    fn once(&mut self, block: &mut Block, word: &str, words: &'static str) {
        if self.said.insert(words) {
            block.item(word, words);
        }
    }

    fn spoken(&mut self, block: &mut Block, spoken: &HandshakeMessage) {
        let (step, what) = match (spoken.kind, spoken.from) {
            (MessageKind::Proposal, _) => ("C1", "proposal: the ciphers that the client has"),
            (MessageKind::LineFeed, _) => ("C1", "a line feed alone: the server may wait for one"),
            (MessageKind::Choice, _) => ("S1", "choice: the cipher to use"),
            (MessageKind::Refusal, _) => ("S", "refusal: the server gives up"),
            (MessageKind::Share, Role::Client) => ("C2", "Diffie-Hellman public value"),
            (MessageKind::Share, Role::Server) => ("S2", "Diffie-Hellman public value"),
        };
        let length = spoken.bytes.len();
        self.head(block, spoken.from, step, &format!("{what}, {length} bytes in the clear"));
        if spoken.kind == MessageKind::Share {
            block.item("number", &number(&spoken.bytes));
        } else if spoken.kind != MessageKind::LineFeed {
            block.item("text", &shown(spoken.bytes.trim_ascii_end()));
        }
        block.item("hex", &hex(&spoken.bytes));
        let is_ours = spoken.from == self.role;
        block.item("its end", end_text(spoken.end, is_ours, spoken.kind));
        match spoken.kind {
            MessageKind::Proposal => {
                self.once(block, "overheard", "which ciphers the client supports");
                self.weakness(
                    block,
                    "nothing authenticates the list: an attacker in between can remove the strong \
                     ciphers",
                );
            }
            MessageKind::Choice => {
                if let Some((_, separator)) = choice_of(&spoken.bytes) {
                    let mark = match separator {
                        Separator::Colon => "':' between name and size, as the assignment's text",
                        Separator::Comma => {
                            "',' between name and size, as the programs of 2020 \
                                             and 2025"
                        }
                    };
                    block.item("separator", mark);
                }
            }
            MessageKind::Share => {
                self.once(
                    block,
                    "overheard",
                    "both public values; without one of the exponents they do not give the secret",
                );
                self.weakness(
                    block,
                    "nothing proves who sent it: an attacker in between can exchange keys with \
                     both sides",
                );
            }
            MessageKind::LineFeed | MessageKind::Refusal => {}
        }
    }

    fn candidates(&self, block: &mut Block, list: &[Candidate], chosen: Option<&Choice>) {
        let rule = match self.role {
            Role::Client => "the server takes the longest key that both have; of our offer:",
            Role::Server => "the longest key that both have wins, of equals our first:",
        };
        block.line(&format!("[{}] {rule}", self.role.name()));
        let mut is_marked = false;
        for candidate in list.iter().take(ROWS) {
            let Candidate { name, bits, has } = candidate;
            let is_chosen = !is_marked
                && *has == SupportedBy::Both
                && chosen.is_some_and(|c| c.bits == *bits && list_name_is(c, candidate, list));
            is_marked |= is_chosen;
            let is_longer = chosen.is_some_and(|c| *bits > c.bits);
            let who = match (self.role, has) {
                (_, SupportedBy::Both) if is_chosen => "both have it   <- chosen",
                (_, SupportedBy::Both) => "both have it",
                (Role::Client, SupportedBy::Ours) if is_longer => {
                    "longer, so the server has it not"
                }
                (Role::Client, SupportedBy::Ours) => "not longer, so it does not matter",
                (Role::Server, SupportedBy::Ours) => "only this server has it",
                (_, SupportedBy::Theirs) => "only the peer has it",
            };
            block.item("", &format!("{:<12} {bits:>4}  {who}", shown(name.as_bytes())));
        }
        if list.len() > ROWS {
            block.item("", &format!("and {} more", list.len() - ROWS));
        }
        if chosen.is_none() {
            block.item("", "nothing in common: enable one of the client's in the configuration");
        }
    }

    fn dialect(&self, block: &mut Block, dialect: &Dialect) {
        let role = self.role.name();
        block.line(&format!("[{role}] the dialect from here on: {}", dialect_text(dialect)));
    }

    fn established(&mut self, block: &mut Block, session: &Established) {
        let role = self.role.name();
        let (key, iv) = (session.keys.key.len(), session.keys.iv.len());
        block.line(&format!("[{role}] both sides have computed the same secret"));
        block.item("checked", "2 < y < p-1 and Jacobi symbol 1, before it was used");
        block.item("shared key", "the 64 hexadecimal digits of SHA-256 over the secret");
        block.item("cipher key", &format!("its first {key} characters"));
        block.item("IV", &format!("its last {iv} characters"));
        if self.explain.has_secrets {
            for (word, bytes) in [("key", &session.keys.key), ("IV", &session.keys.iv)] {
                let mut text = Zeroizing::new(String::with_capacity(8 + 3 * bytes.len()));
                // The bytes of classic keys are hexadecimal digits (PROTOCOL.md §3.4).
                text.extend(bytes.iter().copied().map(char::from));
                text.push_str("  hex ");
                push_hex(&mut text, bytes);
                block.coloured_item(colour::SECRET, word, &text);
            }
        } else {
            self.once(block, "secret", "--explain=secrets shows key and IV");
        }
        self.weakness(
            block,
            "a character of the key is one of 16: the key has half the entropy of its length",
        );
        self.weakness(block, "the same key serves the cipher and the HMAC");
    }

    fn message(&mut self, block: &mut Block, message: &Message) {
        let Message { number, ciphertext, tag, rule, chaining, text, garbled_unless } = message;
        let (whole, cut) = (ciphertext.len() + tag.len(), ciphertext.len());
        let what = format!("message {number}, {whole} bytes: {cut} ciphertext, {TAG_DIGITS} HMAC");
        self.head(block, Role::Client, "C4", &what);
        block.item("ciphertext", &hex(ciphertext));
        block.item("HMAC", &shown(tag));
        let covers = match rule {
            Some(MacRule::PerMessage) => "this message's ciphertext",
            Some(MacRule::Cumulative) => "all ciphertext so far",
            None => "this message's ciphertext, or all so far: message 2 will tell",
        };
        let verified = if self.role == Role::Server { "; verified before decrypting" } else { "" };
        block.item("it covers", &format!("{covers}{verified}"));
        let iv = match (chaining, number) {
            (_, 1) => "the IV from the shared key",
            (Chaining::Chain, _) => "the last ciphertext block of the message before",
            (Chaining::Restart, _) => "the IV from the shared key, again",
        };
        block.item("chained to", iv);
        block.item("text", &shown(text));
        let padding = cut.saturating_sub(text.len());
        block.item("padding", &format!("{padding} zero bytes, to a multiple of {PAD_TO}"));
        self.once(block, "overheard", "the length of the text to within 16 bytes");
        match chaining {
            Chaining::Chain if *number > 1 => self.weakness(
                block,
                "the IV is the last block of the message before: known before the text is chosen",
            ),
            Chaining::Restart if *number > 1 => self.weakness(
                block,
                "every message starts at the same IV: equal beginnings give equal ciphertext",
            ),
            Chaining::Chain | Chaining::Restart => {}
        }
        if *number > 1 && *rule == Some(MacRule::PerMessage) {
            self.weakness(
                block,
                "the HMAC says nothing of the place in the session: a message can be repeated",
            );
        }
        if garbled_unless.is_some() {
            block.coloured_item(colour::FAILURE, "garbled", "the text is not UTF-8");
        }
    }

    fn reply(&mut self, block: &mut Block, reply: &Reply) {
        let Reply { number, bytes, text, is_expected } = reply;
        let what = format!("reply to message {number}, {} bytes in the clear", bytes.len());
        self.head(block, Role::Server, "S4", &what);
        block.item("hex", &hex(bytes));
        block.item("text", &shown(text));
        if bytes.len() > text.len() {
            block
                .item("also", &format!("{} bytes of prefix and filling", bytes.len() - text.len()));
        }
        if !is_expected {
            block.coloured_item(colour::FAILURE, "unexpected", "not our text reversed");
        }
        self.once(block, "overheard", "the whole text, reversed");
        self.weakness(
            block,
            "the reply is in the clear and not authenticated: anybody on the way reads it and can \
             change it",
        );
    }
}

/// Whether this row has the chosen name. If no row has it, the server chose by an alias.
fn list_name_is(chosen: &Choice, row: &Candidate, list: &[Candidate]) -> bool {
    let equals = |c: &&Candidate| c.bits == chosen.bits && c.has == SupportedBy::Both;
    row.name == chosen.name || list.iter().filter(equals).all(|c| c.name != chosen.name)
}

fn choice_of(bytes: &[u8]) -> Option<(Choice, Separator)> {
    Choice::parse(str::from_utf8(bytes).ok()?.trim_end_matches(['\r', '\n'])).ok()
}

fn plan_text(plan: &DialectPlan) -> String {
    if *plan == DialectPlan::AUTO {
        return "auto: follow what the peer shows, else spec".to_owned();
    }
    let follows = [
        (plan.follow_line_end, "line ends"),
        (plan.follow_separator, "separator"),
        (plan.follow_mac, "HMAC rule"),
    ];
    let follows: Vec<_> = follows.into_iter().filter(|(yes, _)| *yes).map(|(_, n)| n).collect();
    let fixed = dialect_text(&plan.base);
    if follows.is_empty() { fixed } else { format!("{fixed}; followed: {}", follows.join(", ")) }
}

fn dialect_text(dialect: &Dialect) -> String {
    let line_end = match dialect.line_end {
        LineEnd::CrLf => "CR LF",
        LineEnd::Lf => "LF",
        LineEnd::None => "none",
    };
    let mac = match dialect.mac {
        MacRule::Cumulative => "all ciphertext",
        MacRule::PerMessage => "each message",
    };
    let reply = match dialect.reply {
        ReplyForm::Filled => "prefixed and filled",
        ReplyForm::Plain => "plain",
        ReplyForm::Prefixed => "prefixed",
    };
    let cbc = match dialect.chaining {
        Chaining::Chain => "chained",
        Chaining::Restart => "restarted",
    };
    format!(
        "{}line end {line_end}, separator {}, HMAC over {mac}, CBC {cbc}, replies {reply}, {}",
        dialect.name().map_or_else(String::new, |name| format!("{name}: ")),
        dialect.separator.as_char(),
        dialect.group
    )
}

fn end_text(end: End, is_ours: bool, what: MessageKind) -> &'static str {
    match (end, what) {
        (End::Line(LineEnd::CrLf), _) => "CR LF",
        (End::Line(_), _) => "LF",
        (End::Silence, _) => "silence: no line end came",
        (End::Itself, MessageKind::Share) => {
            "by itself: no further digit would stay below the prime"
        }
        (End::Itself, _) if is_ours => "no line end",
        (End::Itself, _) => "by itself: nothing that follows could change it",
    }
}

/// A text of the peer, with control characters escaped, and shortened if it is long.
fn shown(text: &[u8]) -> String {
    match text.get(..TEXT) {
        Some(start) if text.len() > TEXT => {
            format!("{} ... ({} bytes)", Printable(start), text.len())
        }
        _ => Printable(text).to_string(),
    }
}

fn hex(bytes: &[u8]) -> String {
    let digits = |bytes: &[u8]| {
        let mut text = String::with_capacity(2 * bytes.len());
        push_hex(&mut text, bytes);
        text
    };
    if bytes.is_empty() {
        return "(nothing)".to_owned();
    }
    if bytes.len() <= HEX_WHOLE {
        return digits(bytes);
    }
    let (head, tail) = HEX_ENDS;
    let (head, tail) = (digits(&bytes[..head]), digits(&bytes[bytes.len() - tail..]));
    format!("{head} ... {tail} ({} bytes)", bytes.len())
}

/// A public value, shortened.
fn number(message: &[u8]) -> String {
    let digits: String =
        message.iter().filter(|b| b.is_ascii_digit()).copied().map(char::from).collect();
    let bits = BigUint::parse_bytes(digits.as_bytes(), 10).map_or(0, |n| n.bits());
    let mut text = String::new();
    if digits.len() <= 2 * DIGITS {
        text.push_str(&digits);
    } else {
        let (head, tail) = (&digits[..DIGITS], &digits[digits.len() - DIGITS..]);
        let _ = write!(text, "{head}...{tail}");
    }
    let _ = write!(text, " ({} digits, {bits} bits)", digits.len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_bytes_and_numbers_are_abbreviated() {
        assert_eq!(hex(b"abc"), "616263");
        assert_eq!(hex(b""), "(nothing)");
        let long = hex(&[0xab; 1000]);
        assert!(long.starts_with("abab") && long.ends_with("abab (1000 bytes)"));
        assert_eq!(number(b"DHMKE:255"), "255 (3 digits, 8 bits)");
        let long = format!("DHMKE:{}", "7".repeat(2466));
        assert_eq!(number(long.as_bytes()), "777777777777...777777777777 (2466 digits, 8192 bits)");
    }

    #[test]
    fn peers_cannot_reach_the_terminal() {
        assert_eq!(shown(b"a\x1b[2Jb"), "a\\x1b[2Jb");
        assert!(shown(&[b'x'; 1000]).ends_with("... (1000 bytes)"));
    }

    #[test]
    fn an_alias_marks_its_row() {
        let row =
            |name: &str| Candidate { name: name.to_owned(), bits: 192, has: SupportedBy::Both };
        let list = [row("AES"), row("DES3")];
        let chosen = |name: &str| Choice { name: name.to_owned(), bits: 192 };
        assert!(list_name_is(&chosen("DES3"), &list[1], &list));
        assert!(!list_name_is(&chosen("DES3"), &list[0], &list));
    }
}
