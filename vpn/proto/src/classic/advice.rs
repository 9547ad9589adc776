//! Advice after a failure: which setting of the dialect would make two programs work together.
//!
//! A [`Diagnosis`] collects the notes of a session. When the session fails, it advises a setting.
//! If it could test the setting on received bytes, the advice is certain.

use std::fmt;

use super::dialect::{Chaining, Dialect, DialectPlan, LineEnd, MacRule, ONE_RECV};
use super::error::{HandshakeError, SessionError};
use super::negotiate::{Choice, Separator};
use super::note::{End, HandshakeMessage, MessageKind, Note};
use crate::dh::Group;
use crate::role::Role;

/// The facts that one side has seen in a session.
#[derive(Clone, Debug)]
pub struct Diagnosis {
    role: Role,
    plan: DialectPlan,
    dialect: Dialect,
    /// How the client's proposal ended.
    proposal_end: Option<End>,
    has_choice: bool,
    separator: Option<Separator>,
    own_share_sent: bool,
    /// The number of digits in the public value of the peer.
    peer_digits: Option<usize>,
    messages: u64,
    /// The number of the last message that has a reply.
    answered: u64,
    longest: usize,
    other_rule: Option<MacRule>,
    other_chaining: Option<Chaining>,
    reply_was_wrong: bool,
}

/// How a session failed.
#[derive(Clone, Copy, Debug)]
pub enum Trouble<'a> {
    /// The handshake ended with an error.
    Handshake(&'a HandshakeError),
    /// The connection was lost.
    Lost,
    /// The session ended with an error.
    Session(&'a SessionError),
    /// The peer did not answer.
    Silence,
}

/// A setting of the configuration table `[classic]` that would help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// The setting, in the form of the configuration.
    pub setting: String,
    /// A preset with this setting, if there is one.
    pub preset: Option<&'static str>,
    /// The reason.
    pub why: String,
    /// Whether the setting was tested on bytes of the peer and was correct.
    pub is_certain: bool,
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.is_certain { "would have made it work" } else { "may make it work" };
        write!(f, "[classic] {} {verb}", self.setting)?;
        if let Some(preset) = self.preset {
            write!(f, " (or --dialect {preset})")?;
        }
        write!(f, ": {}", self.why)
    }
}

impl Diagnosis {
    /// Starts with a session of this role.
    pub fn new(role: Role, plan: DialectPlan) -> Self {
        Self {
            role,
            plan,
            dialect: plan.base,
            proposal_end: None,
            has_choice: false,
            separator: None,
            own_share_sent: false,
            peer_digits: None,
            messages: 0,
            answered: 0,
            longest: 0,
            other_rule: None,
            other_chaining: None,
            reply_was_wrong: false,
        }
    }

    /// Adds a note of the session.
    pub fn hear(&mut self, note: &Note) {
        match note {
            Note::Handshake(message) => self.hear_handshake(message),
            Note::Dialect(dialect) => self.dialect = *dialect,
            Note::Message(message) => {
                self.messages = message.number;
                self.longest = self.longest.max(message.ciphertext.len());
                self.other_chaining = self.other_chaining.or(message.garbled_unless);
            }
            Note::OtherRuleFits(rule) => self.other_rule = Some(*rule),
            Note::Reply(reply) => {
                self.answered = reply.number;
                self.reply_was_wrong |= !reply.is_expected;
            }
            Note::Candidates { .. } | Note::Established(_) => {}
        }
    }

    fn hear_handshake(&mut self, message: &HandshakeMessage) {
        match message.kind {
            MessageKind::Proposal => self.proposal_end = Some(message.end),
            MessageKind::LineFeed => self.proposal_end = Some(End::Line(LineEnd::Lf)),
            MessageKind::Choice => {
                self.has_choice = true;
                let text = String::from_utf8_lossy(&message.bytes);
                self.separator = Choice::parse(text.trim_end()).ok().map(|(_, s)| s);
            }
            MessageKind::Share if message.from == self.role => self.own_share_sent = true,
            MessageKind::Share => {
                let digits = message.bytes.iter().filter(|b| b.is_ascii_digit()).count();
                self.peer_digits = Some(digits);
            }
            MessageKind::Refusal => {}
        }
    }

    /// Advice for a session that has not failed yet.
    pub fn advise_meanwhile(&self) -> Vec<Advice> {
        let mut advice: Vec<Advice> = self.other_chaining.map(chaining).into_iter().collect();
        if self.peer_digits.is_some() {
            advice.extend(self.other_group(self.peer_digits));
        }
        if self.role == Role::Client && self.reply_was_wrong && self.messages > 1 {
            let mut other = chaining(self.dialect.chaining.other());
            other.why = "the reply is not our text reversed, so the server may not have decrypted \
                         it as we encrypted it"
                .to_owned();
            other.is_certain = false;
            advice.push(other);
        }
        advice
    }

    /// Advice after a failure. Empty if no setting helps.
    pub fn advise(&self, trouble: Trouble<'_>) -> Vec<Advice> {
        match trouble {
            Trouble::Handshake(error) => self.on_handshake_error(error),
            Trouble::Lost | Trouble::Silence if self.messages > 0 => self.on_bad_message(),
            Trouble::Lost | Trouble::Silence => self.on_no_answer(),
            Trouble::Session(error) => self.on_session_error(error),
        }
    }

    fn on_handshake_error(&self, error: &HandshakeError) -> Vec<Advice> {
        match error {
            HandshakeError::Closed { .. } => self.on_no_answer(),
            HandshakeError::KeyShareTooLong { .. } => self.other_group(None),
            HandshakeError::PublicValue(_) => self.other_group(self.peer_digits),
            HandshakeError::Refused { .. } if self.own_share_sent => vec![Advice {
                // The group of the server is not known. Group 18 of the protocol is the most likely
                // one.
                setting: match self.dialect.group {
                    Group::Modp8192 => "group = 14 to 17".to_owned(),
                    _ => format!("group = {}", Group::Modp8192.number()),
                },
                preset: None,
                why: format!(
                    "the server refused our public value, which is of {}",
                    self.dialect.group
                ),
                is_certain: false,
            }],
            HandshakeError::Choice { .. }
            | HandshakeError::Internal
            | HandshakeError::KeyShare { .. }
            | HandshakeError::KeyTooLong { .. }
            | HandshakeError::NoSuiteInCommon { .. }
            | HandshakeError::NotOffered { .. }
            | HandshakeError::Offer { .. }
            | HandshakeError::Refused { .. }
            | HandshakeError::Suite(_)
            | HandshakeError::TooLong { .. } => Vec::new(),
        }
    }

    /// The peer did not send the expected message.
    fn on_no_answer(&self) -> Vec<Advice> {
        let mut advice = Vec::new();
        match self.role {
            Role::Client if !self.has_choice => advice.extend(self.client_line_end()),
            Role::Client if self.own_share_sent => {
                advice.extend(self.other_group(self.peer_digits));
            }
            Role::Server if self.has_choice && self.peer_digits.is_none() => {
                advice.extend(self.server_line_end());
                advice.extend(self.other_separator());
            }
            Role::Client | Role::Server => {}
        }
        advice
    }

    fn client_line_end(&self) -> Option<Advice> {
        match self.proposal_end? {
            End::Line(_) if !self.plan.follow_line_end => Some(line_end(
                LineEnd::None,
                Some("auto"),
                "our proposal ended with a line end and was not answered; programs of 2020 read \
                 what one recv brings, and some stumble over the line end"
                    .to_owned(),
            )),
            End::Line(_) => None,
            End::Itself | End::Silence => Some(line_end(
                LineEnd::Lf,
                Some("lines"),
                "our proposal had no line end and was not answered; programs of 2025 read a line \
                 and wait for its end"
                    .to_owned(),
            )),
        }
    }

    fn server_line_end(&self) -> Option<Advice> {
        match (self.proposal_end?, self.dialect.line_end) {
            (End::Line(theirs), ours) if ours != theirs => Some(line_end(
                theirs,
                Some("auto"),
                "the client ends its messages with a line end, our choice had none".to_owned(),
            )),
            (End::Itself | End::Silence, LineEnd::Lf | LineEnd::CrLf) => Some(line_end(
                LineEnd::None,
                Some("auto"),
                "the client sends no line ends, our choice had one".to_owned(),
            )),
            _ => None,
        }
    }

    fn other_separator(&self) -> Option<Advice> {
        let (setting, preset, said) = match self.separator? {
            Separator::Colon => ("separator = \",\"", "capture", "NAME:BITS"),
            Separator::Comma => ("separator = \":\"", "spec", "NAME,BITS"),
        };
        Some(Advice {
            setting: setting.to_owned(),
            preset: Some(preset),
            why: format!(
                "the client went away on reading our choice {said}; there are programs that read \
                 the other separator only"
            ),
            is_certain: false,
        })
    }

    /// The group whose prime fits the digits of the peer. `None` means more digits than ours.
    fn other_group(&self, digits: Option<usize>) -> Vec<Advice> {
        let ours = self.dialect.group;
        let theirs = match digits {
            // A public value has only a few digits less than its prime, never hundreds.
            Some(digits) => Group::ALL.into_iter().find(|g| digits <= g.digits()),
            // The number was not read to its end. Group 18 of the protocol is the most likely one.
            None => Some(Group::Modp8192),
        };
        let Some(theirs) = theirs.filter(|g| *g != ours) else { return Vec::new() };
        let seen = match digits {
            Some(digits) => format!("the peer's public value has {digits} digits"),
            None => format!("the peer's public value has more than {} digits", ours.digits()),
        };
        vec![Advice {
            setting: format!("group = {}", theirs.number()),
            preset: None,
            why: format!("{seen}, as those of {theirs} have; ours is {ours}"),
            is_certain: false,
        }]
    }

    fn on_session_error(&self, error: &SessionError) -> Vec<Advice> {
        match error {
            SessionError::BadHmac { .. } | SessionError::TimedOut { .. } => self.on_bad_message(),
            SessionError::Closed | SessionError::Refused { .. } if self.role == Role::Client => {
                self.on_bad_message()
            }
            SessionError::Closed
            | SessionError::Misaligned { .. }
            | SessionError::Open(_)
            | SessionError::Refused { .. }
            | SessionError::Suite(_)
            | SessionError::TextTooLong { .. }
            | SessionError::Truncated { .. } => Vec::new(),
        }
    }

    /// A message could not be read.
    fn on_bad_message(&self) -> Vec<Advice> {
        if let Some(rule) = self.other_rule {
            let why = "the HMAC that was refused is right by that rule".to_owned();
            return vec![mac(rule, why, true)];
        }
        let mut advice = self.advise_meanwhile();
        if self.role == Role::Client && self.answered >= self.messages {
            // The server has read every message. It ended the session for another reason.
            return advice;
        }
        // The number of the message that failed. A server counts only the messages that it could
        // open.
        let failed = self.messages + u64::from(self.role == Role::Server);
        if failed > 1 && self.role == Role::Client {
            let why = format!(
                "the server took message 1 and not message {failed}; up to the first message both \
                 rules are the same"
            );
            advice.push(mac(self.dialect.mac.other(), why, false));
        }
        if self.role == Role::Client && self.longest > ONE_RECV && self.dialect.peer_reads.is_none()
        {
            advice.push(Advice {
                setting: "dialect = \"capture\" or \"lines\"".to_owned(),
                preset: None,
                why: format!(
                    "we sent {} bytes of ciphertext, and many programs read with one recv of 4096",
                    self.longest
                ),
                is_certain: false,
            });
        }
        advice
    }
}

fn line_end(end: LineEnd, preset: Option<&'static str>, why: String) -> Advice {
    let value = match end {
        LineEnd::CrLf => "crlf",
        LineEnd::Lf => "lf",
        LineEnd::None => "none",
    };
    Advice { setting: format!("line_end = \"{value}\""), preset, why, is_certain: false }
}

fn mac(rule: MacRule, why: String, is_certain: bool) -> Advice {
    let (value, preset) = match rule {
        MacRule::Cumulative => ("cumulative", "capture"),
        MacRule::PerMessage => ("per-message", "spec"),
    };
    let preset = Some(preset);
    Advice { setting: format!("mac = \"{value}\""), preset, why, is_certain }
}

fn chaining(rule: Chaining) -> Advice {
    let (value, why) = match rule {
        Chaining::Chain => {
            ("chain", "the text that came out is no UTF-8; chained to the message before, it is")
        }
        Chaining::Restart => {
            ("restart", "the text that came out is no UTF-8; started again at the IV, it is")
        }
    };
    let setting = format!("cbc = \"{value}\"");
    Advice { setting, preset: None, why: why.to_owned(), is_certain: true }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classic::note::{Message, Reply};

    fn message(from: Role, kind: MessageKind, bytes: &[u8], end: End) -> Note {
        Note::Handshake(HandshakeMessage { from, kind, bytes: bytes.to_vec(), end })
    }

    fn settings(advice: &[Advice]) -> Vec<&str> {
        advice.iter().map(|a| a.setting.as_str()).collect()
    }

    #[test]
    fn a_client_that_leaves_at_our_choice_wants_another_separator() {
        let mut diagnosis = Diagnosis::new(Role::Server, DialectPlan::AUTO);
        diagnosis.hear(&message(
            Role::Client,
            MessageKind::Proposal,
            b"ProposedCiphers:X:[8]",
            End::Silence,
        ));
        diagnosis.hear(&message(
            Role::Server,
            MessageKind::Choice,
            b"ChosenCipher:X:8",
            End::Itself,
        ));
        let closed = HandshakeError::Closed { awaited: "the key exchange" };
        let advice = diagnosis.advise(Trouble::Handshake(&closed));
        assert_eq!(settings(&advice), ["separator = \",\""]);
        assert_eq!(advice[0].preset, Some("capture"));
        // A client that sent a line end and got none needs a line end first.
        let lf = End::Line(LineEnd::Lf);
        diagnosis.hear(&message(
            Role::Client,
            MessageKind::Proposal,
            b"ProposedCiphers:X:[8]\n",
            lf,
        ));
        let advice = diagnosis.advise(Trouble::Silence);
        assert_eq!(settings(&advice), ["line_end = \"lf\"", "separator = \",\""]);
    }

    #[test]
    fn a_server_that_does_not_answer_waits_for_a_line() {
        let plan = DialectPlan::fixed(Dialect::SPEC);
        let mut diagnosis = Diagnosis::new(Role::Client, plan);
        diagnosis.hear(&message(
            Role::Client,
            MessageKind::Proposal,
            b"ProposedCiphers:X:[8]",
            End::Itself,
        ));
        assert_eq!(settings(&diagnosis.advise(Trouble::Silence)), ["line_end = \"lf\""]);
        // A line feed was sent already, so it would not help.
        let mut diagnosis = Diagnosis::new(Role::Client, DialectPlan::AUTO);
        diagnosis.hear(&message(
            Role::Client,
            MessageKind::Proposal,
            b"ProposedCiphers:X:[8]",
            End::Itself,
        ));
        diagnosis.hear(&message(
            Role::Client,
            MessageKind::LineFeed,
            b"\n",
            End::Line(LineEnd::Lf),
        ));
        assert!(diagnosis.advise(Trouble::Silence).is_empty());
    }

    #[test]
    fn the_digits_of_a_number_give_its_group_away() {
        let mut diagnosis = Diagnosis::new(Role::Server, DialectPlan::AUTO);
        let share = format!("DHMKE:{}", "7".repeat(617));
        diagnosis.hear(&message(Role::Client, MessageKind::Share, share.as_bytes(), End::Silence));
        let bad = SessionError::BadHmac { pending: 80 };
        assert_eq!(settings(&diagnosis.advise(Trouble::Session(&bad))), ["group = 14"]);
        let long = HandshakeError::KeyShareTooLong { limit: 617 };
        let small = Dialect { group: Group::Modp2048, ..Dialect::SPEC };
        let diagnosis = Diagnosis::new(Role::Server, DialectPlan::fixed(small));
        assert_eq!(settings(&diagnosis.advise(Trouble::Handshake(&long))), ["group = 18"]);
    }

    #[test]
    fn a_server_that_ends_after_its_replies_gets_no_advice() {
        let mut diagnosis = Diagnosis::new(Role::Client, DialectPlan::fixed(Dialect::SPEC));
        let mut send = |number, is_answered| {
            diagnosis.hear(&Note::Message(Message {
                number,
                ciphertext: vec![0; 16],
                tag: vec![b'0'; 64],
                rule: None,
                chaining: Chaining::Chain,
                text: b"a".to_vec(),
                garbled_unless: None,
            }));
            if is_answered {
                let (bytes, text) = (b"a".to_vec(), b"a".to_vec());
                diagnosis.hear(&Note::Reply(Reply { number, bytes, text, is_expected: true }));
            }
            settings(&diagnosis.advise(Trouble::Session(&SessionError::Closed)))
                .into_iter()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert!(send(1, true).is_empty());
        assert!(send(2, true).is_empty());
        assert_eq!(send(3, false), ["mac = \"cumulative\""]);
    }

    #[test]
    fn an_hmac_that_fits_the_other_rule_is_certain() {
        let mut diagnosis = Diagnosis::new(Role::Server, DialectPlan::fixed(Dialect::SPEC));
        diagnosis.hear(&Note::OtherRuleFits(MacRule::Cumulative));
        let advice = diagnosis.advise(Trouble::Session(&SessionError::BadHmac { pending: 80 }));
        assert_eq!(
            advice[0].to_string(),
            "[classic] mac = \"cumulative\" would have made it work (or --dialect capture): the \
             HMAC that was refused is right by that rule"
        );
    }
}
