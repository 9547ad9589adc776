//! Dialects: how existing programs differ in the classic protocol (PROTOCOL.md §3.6).

use super::negotiate::Separator;
use super::tag::TAG_DIGITS;
use crate::dh::Group;

/// One variant of the classic protocol. It answers every question that the assignment leaves open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// The end of a handshake message.
    pub line_end: LineEnd,
    /// The character between name and size in `ChosenCipher`.
    pub separator: Separator,
    /// The part of the ciphertext that the HMAC of a message covers.
    pub mac: MacRule,
    /// The form of the replies of the server.
    pub reply: ReplyForm,
    /// The CBC chaining from one message to the next.
    pub chaining: Chaining,
    /// Where zero bytes are removed from a received text.
    pub strip: Strip,
    /// The Diffie-Hellman group.
    pub group: Group,
    /// The longest ciphertext in bytes that the peer can read, if there is a known limit.
    pub peer_reads: Option<usize>,
}

/// The end of a handshake message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineEnd {
    /// Carriage return and line feed.
    CrLf,
    /// A line feed.
    Lf,
    /// No line end.
    None,
}

impl LineEnd {
    /// The bytes to send.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CrLf => "\r\n",
            Self::Lf => "\n",
            Self::None => "",
        }
    }
}

/// The part of the ciphertext that the HMAC of a message covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacRule {
    /// All ciphertext of the direction, up to the end of the message.
    Cumulative,
    /// The ciphertext of the message.
    PerMessage,
}

impl MacRule {
    /// The other rule.
    pub(super) fn other(self) -> Self {
        match self {
            Self::Cumulative => Self::PerMessage,
            Self::PerMessage => Self::Cumulative,
        }
    }
}

/// The form of a reply. Replies are not encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyForm {
    /// `Server says: ` and the reversed text, padded with zero bytes to a multiple of 16.
    Filled,
    /// The reversed text.
    Plain,
    /// `Server says: ` and the reversed text.
    Prefixed,
}

/// The CBC chaining from one message to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chaining {
    /// A message continues with the last block of the message before.
    Chain,
    /// Each message starts with the IV.
    Restart,
}

impl Chaining {
    /// The other chaining.
    pub(super) fn other(self) -> Self {
        match self {
            Self::Chain => Self::Restart,
            Self::Restart => Self::Chain,
        }
    }
}

/// Where zero bytes are removed from a received text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strip {
    /// At both ends, as in the programs of 2020.
    Both,
    /// At the end only, as in the programs of 2025.
    Right,
}

/// The longest ciphertext in bytes for a peer that reads a message with one `recv(4096)`.
pub(super) const ONE_RECV: usize = 4096 - TAG_DIGITS;

impl Dialect {
    /// As in the text of the assignment.
    pub const SPEC: Self = Self {
        line_end: LineEnd::None,
        separator: Separator::Colon,
        mac: MacRule::PerMessage,
        reply: ReplyForm::Plain,
        chaining: Chaining::Chain,
        strip: Strip::Both,
        group: Group::Modp8192,
        peer_reads: None,
    };

    /// As in the programs of 2020, after a published packet capture.
    pub const CAPTURE: Self = Self {
        separator: Separator::Comma,
        mac: MacRule::Cumulative,
        reply: ReplyForm::Filled,
        peer_reads: Some(ONE_RECV),
        ..Self::SPEC
    };

    /// As in the programs of 2025.
    pub const LINES: Self = Self {
        line_end: LineEnd::Lf,
        separator: Separator::Comma,
        strip: Strip::Right,
        peer_reads: Some(ONE_RECV),
        ..Self::SPEC
    };

    /// All presets with their names.
    pub const PRESETS: [(&'static str, Self); 3] =
        [("spec", Self::SPEC), ("capture", Self::CAPTURE), ("lines", Self::LINES)];

    /// The preset with this name.
    pub fn preset(name: &str) -> Option<Self> {
        Self::PRESETS.iter().find(|(n, _)| *n == name).map(|(_, d)| *d)
    }

    /// The name of this dialect, if it is a preset.
    pub fn name(&self) -> Option<&'static str> {
        Self::PRESETS.iter().find(|(_, d)| d == self).map(|(n, _)| *n)
    }
}

/// A dialect, and which of its fields change after what the peer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DialectPlan {
    /// The dialect to start with.
    pub base: Dialect,
    /// Use the line end of the peer.
    pub follow_line_end: bool,
    /// Use the separator that belongs to the line end of the peer.
    pub follow_separator: bool,
    /// Server: try both HMAC rules. Client: use the rule that belongs to the separator of the
    /// server.
    pub follow_mac: bool,
}

impl DialectPlan {
    /// Follow the peer, and start with `spec`. The default.
    pub const AUTO: Self = Self {
        base: Dialect::SPEC,
        follow_line_end: true,
        follow_separator: true,
        follow_mac: true,
    };

    /// This dialect. Nothing that the peer sends changes it.
    pub const fn fixed(base: Dialect) -> Self {
        Self { base, follow_line_end: false, follow_separator: false, follow_mac: false }
    }

    /// The dialect for a peer that ends its messages with `seen`.
    pub(super) fn on_line_end(&self, seen: LineEnd) -> Dialect {
        let mut dialect = self.base;
        if !self.follow_line_end || seen == LineEnd::None {
            return dialect;
        }
        dialect.line_end = seen;
        dialect.strip = Dialect::LINES.strip;
        dialect.peer_reads = Dialect::LINES.peer_reads;
        if self.follow_separator {
            dialect.separator = Dialect::LINES.separator;
        }
        dialect
    }

    /// The dialect for a server that chose with this separator and line end.
    pub(super) fn on_choice(&self, separator: Separator, seen: LineEnd) -> Dialect {
        let mut dialect = self.on_line_end(seen);
        dialect.separator = separator;
        if seen == LineEnd::None && separator == Separator::Comma && self.follow_line_end {
            dialect.strip = Dialect::CAPTURE.strip;
            dialect.peer_reads = Dialect::CAPTURE.peer_reads;
            if self.follow_mac {
                dialect.mac = Dialect::CAPTURE.mac;
            }
        }
        dialect
    }

    /// The HMAC rules that a server tries.
    pub(super) fn mac_rules(&self, dialect: &Dialect) -> Vec<MacRule> {
        if self.follow_mac {
            vec![MacRule::PerMessage, MacRule::Cumulative]
        } else {
            vec![dialect.mac]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_found_by_name_and_named_by_value() {
        for (name, dialect) in Dialect::PRESETS {
            assert_eq!(Dialect::preset(name), Some(dialect));
            assert_eq!(dialect.name(), Some(name));
        }
        assert_eq!(Dialect::preset("nonsense"), None);
        assert_eq!(Dialect { chaining: Chaining::Restart, ..Dialect::SPEC }.name(), None);
    }

    #[test]
    fn auto_becomes_the_preset_that_shows() {
        let auto = DialectPlan::AUTO;
        assert_eq!(auto.on_line_end(LineEnd::None), Dialect::SPEC);
        assert_eq!(auto.on_line_end(LineEnd::Lf), Dialect::LINES);
        assert_eq!(auto.on_choice(Separator::Colon, LineEnd::None), Dialect::SPEC);
        assert_eq!(auto.on_choice(Separator::Comma, LineEnd::Lf), Dialect::LINES);
        let capture = auto.on_choice(Separator::Comma, LineEnd::None);
        // A client reads every form of reply, so it does not follow this field.
        assert_eq!(Dialect { reply: ReplyForm::Filled, ..capture }, Dialect::CAPTURE);
    }

    #[test]
    fn a_fixed_dialect_stays() {
        let plan = DialectPlan::fixed(Dialect::CAPTURE);
        assert_eq!(plan.on_line_end(LineEnd::Lf), Dialect::CAPTURE);
        assert_eq!(plan.mac_rules(&plan.base), [MacRule::Cumulative]);
    }
}
