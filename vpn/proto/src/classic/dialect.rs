//! How the programs in the field differ: one value holds every decision (PROTOCOL.md §3.6).

use super::super::dh::Group;
use super::super::negotiate::Separator;

/// One way to speak the classic protocol, with every open question answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// What ends a handshake message.
    pub line_end: LineEnd,
    /// What stands between name and size in `ChosenCipher`.
    pub separator: Separator,
    /// What the HMAC of a message covers.
    pub mac: MacRule,
    /// The form of the server's replies.
    pub reply: ReplyForm,
    /// How the chaining value moves on.
    pub chaining: Chaining,
    /// Where zero bytes are taken off a received text.
    pub strip: Strip,
    /// The Diffie-Hellman group.
    pub group: Group,
    /// The longest ciphertext in bytes that the peer is sure to read whole, if that is known.
    pub peer_reads: Option<usize>,
}

/// What ends a handshake message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineEnd {
    /// Carriage return and line feed.
    CrLf,
    /// A line feed.
    Lf,
    /// Nothing.
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

/// What the HMAC of the n-th message covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacRule {
    /// All ciphertext of that direction so far.
    Cumulative,
    /// That message's ciphertext.
    PerMessage,
}

/// The form of a reply. All of them are in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyForm {
    /// `Server says: ` and the reversed text, filled with zero bytes to a multiple of 16.
    Filled,
    /// The reversed text.
    Plain,
    /// `Server says: ` and the reversed text.
    Prefixed,
}

/// How the CBC chaining value moves on from message to message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chaining {
    /// One CBC state per session.
    Chain,
    /// Every message starts again at the IV.
    Restart,
}

/// Where zero bytes are taken off a received text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strip {
    /// At both ends, as the programs of 2020 do.
    Both,
    /// At the end only, as those of 2025 do.
    Right,
}

/// What peers with one `recv(4096)` can take: 4096 less the tag.
const ONE_READ: usize = 4096 - super::message::TAG_DIGITS;

impl Dialect {
    /// The assignment's text.
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

    /// The family of 2020, as a published packet capture shows it.
    pub const CAPTURE: Self = Self {
        separator: Separator::Comma,
        mac: MacRule::Cumulative,
        reply: ReplyForm::Filled,
        peer_reads: Some(ONE_READ),
        ..Self::SPEC
    };

    /// The family of 2025.
    pub const LINES: Self = Self {
        line_end: LineEnd::Lf,
        separator: Separator::Comma,
        strip: Strip::Right,
        peer_reads: Some(ONE_READ),
        ..Self::SPEC
    };

    /// The presets with their names.
    pub const PRESETS: [(&'static str, Self); 3] =
        [("spec", Self::SPEC), ("capture", Self::CAPTURE), ("lines", Self::LINES)];

    /// The preset of that name.
    pub fn preset(name: &str) -> Option<Self> {
        Self::PRESETS.iter().find(|(n, _)| *n == name).map(|(_, d)| *d)
    }

    /// The name of the preset that this is, if it is one.
    pub fn name(&self) -> Option<&'static str> {
        Self::PRESETS.iter().find(|(_, d)| d == self).map(|(n, _)| *n)
    }
}

/// A starting point and which of its fields follow what the peer shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DialectPlan {
    /// What holds where nothing shows.
    pub base: Dialect,
    /// Take over the peer's line end.
    pub follow_line_end: bool,
    /// Answer with the separator of the family that the line end shows.
    pub follow_separator: bool,
    /// Try both HMAC rules (server), or take the one of the family that shows (client).
    pub follow_mac: bool,
}

impl DialectPlan {
    /// Follow the peer; `spec` where nothing shows. The default.
    pub const AUTO: Self = Self {
        base: Dialect::SPEC,
        follow_line_end: true,
        follow_separator: true,
        follow_mac: true,
    };

    /// Exactly this dialect.
    pub const fn fixed(base: Dialect) -> Self {
        Self { base, follow_line_end: false, follow_separator: false, follow_mac: false }
    }

    /// The dialect of a session whose peer ends its messages with `seen`.
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

    /// The dialect of a session whose server answered with this separator and line end.
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
        // The form of replies is read, not spoken, by a client.
        assert_eq!(Dialect { reply: ReplyForm::Filled, ..capture }, Dialect::CAPTURE);
    }

    #[test]
    fn a_fixed_dialect_stays() {
        let plan = DialectPlan::fixed(Dialect::CAPTURE);
        assert_eq!(plan.on_line_end(LineEnd::Lf), Dialect::CAPTURE);
        assert_eq!(plan.mac_rules(&plan.base), [MacRule::Cumulative]);
    }
}
