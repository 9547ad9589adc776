//! A client that breaks a rule of channels gets the alert for it, and its session ends. All others go on.

use std::io::ErrorKind;

use vpn_proto::sealed::{ChannelExit, CloseCode, Frame, OpenStatus, Question, StreamKind};

use super::{HERE, local_forward};
use crate::support::adversary::{CLIENT_SEED, Caller, RawSession, key_line};
use crate::support::{Keys, Listening, Server};

const PROTOCOL_ERROR: Option<u16> = Some(2);
const POLICY: Option<u16> = Some(6);

/// A server with two clients: an honest one, and one that does what a test wants.
struct Served {
    keys: Keys,
    server: Server,
}

impl Served {
    fn new() -> Self {
        let keys = Keys::new();
        let permit = format!("permit=\"message,{HERE},exec:sleep,remote-forward:127.0.0.1:*\"");
        let lines = [keys.read("client.pub"), format!("{}\n", key_line(&CLIENT_SEED))];
        keys.folder.file("authorized", lines.map(|line| format!("{permit} {line}")).concat());
        let command = "[exec.sleep]\ncommand = ['/bin/sleep', '1000']\n";
        let config = format!("{}\n{command}", crate::support::SHIPPED);
        let server = keys.server_with(&config, &[]);
        Self { keys, server }
    }

    /// A session of the one that breaks rules.
    fn session(&self) -> RawSession {
        let server_key = self.keys.public("server").bytes;
        Caller { stream: self.server.connect(), server_key }.session()
    }

    fn channels(&self) -> RawSession {
        self.session().opens("channels", &[1])
    }
}

/// The type and the payload of a frame.
fn encoded(frame: &Frame<'_>) -> (u8, Vec<u8>) {
    let (kind, mut payload) = frame.header();
    if let Frame::Data { data, .. } = frame {
        payload.extend_from_slice(data);
    }
    (kind, payload)
}

fn open(id: u32, kind: &'static str, argument: &str, credit: u32) -> Frame<'static> {
    let argument = argument.as_bytes().to_vec().into();
    Frame::Open { id, credit, kind: kind.into(), argument }
}

/// A channel to a command that runs for long.
fn command(id: u32) -> Frame<'static> {
    open(id, "exec", "sleep", 65_536)
}

fn data(id: u32, bytes: &'static [u8]) -> Frame<'static> {
    Frame::Data { id, stream: StreamKind::Data, data: bytes.into() }
}

fn close(id: u32, code: CloseCode) -> Frame<'static> {
    Frame::Close { id, code, text: "".into() }
}

/// What breaks a rule, and the words of the server's log about it.
type Case = (&'static str, Vec<(u8, Vec<u8>)>, &'static str);

fn cases() -> Vec<Case> {
    let frames = |frames: &[Frame<'_>]| frames.iter().map(encoded).collect::<Vec<_>>();
    let broken = |kind: u8, payload: &[u8]| vec![(kind, payload.to_vec())];
    let opened = |more: Frame<'_>| frames(&[command(1), more]);
    vec![
        (
            "data of a session without channels",
            broken(0x17, b"data"),
            "message 17 where 22 should be",
        ),
        (
            "the end of a session without channels",
            broken(0x1d, b""),
            "message 1d where 22 should be",
        ),
        ("another open service", broken(0x1b, b"\x04pipe\0\0"), "message 1b where 17 should be"),
        ("an unknown type", broken(0x28, b"1234"), "message 28 where 17 should be"),
        ("data for nobody", frames(&[data(1, b"x")]), "malformed: a channel that is not open"),
        (
            "credit for nobody",
            frames(&[Frame::Credit { id: 7, more: 1 }]),
            "malformed: a channel that is not open",
        ),
        (
            "an end for nobody",
            frames(&[Frame::Eof { id: 2 }]),
            "malformed: a channel that is not open",
        ),
        (
            "the close of nothing",
            frames(&[close(1, CloseCode::Reset)]),
            "malformed: a channel that is not open",
        ),
        (
            "an exit of nothing",
            frames(&[Frame::Exit { id: 1, exit: ChannelExit::Code(0) }]),
            "malformed: a channel that is not open",
        ),
        (
            "an answer to nothing",
            frames(&[Frame::Reply { id: 1, refusal: None, credit: 1, text: "".into() }]),
            "malformed: a channel that is not open",
        ),
        (
            "a channel with a number of the server",
            frames(&[command(2)]),
            "malformed: identifier of a new channel",
        ),
        (
            "a number that was used",
            frames(&[command(1), command(1)]),
            "malformed: identifier of a new channel",
        ),
        (
            "a number below the last",
            frames(&[command(3), command(1)]),
            "malformed: identifier of a new channel",
        ),
        ("the number 0", frames(&[command(0)]), "malformed: identifier of a new channel"),
        (
            "credit beyond the limit",
            opened(Frame::Credit { id: 1, more: 0x7fff_ffff }),
            "malformed: too much credit",
        ),
        (
            "credit beyond the limit at the start",
            frames(&[open(1, "exec", "sleep", 0x8000_0000)]),
            "malformed: too much credit",
        ),
        ("credit of 0", opened(Frame::Credit { id: 1, more: 0 }), "malformed: a credit of 0"),
        ("no data in a frame of data", opened(data(1, b"")), "malformed: data of no bytes"),
        (
            "two ends",
            frames(&[command(1), Frame::Eof { id: 1 }, Frame::Eof { id: 1 }]),
            "malformed: a second end of a channel",
        ),
        (
            "data behind the end",
            frames(&[command(1), Frame::Eof { id: 1 }, data(1, b"x")]),
            "malformed: data behind its end",
        ),
        (
            "a promise that is too early",
            opened(close(1, CloseCode::Normal)),
            "malformed: a channel closed before its end",
        ),
        (
            "an answer to its own channel",
            opened(Frame::Reply { id: 1, refusal: None, credit: 0, text: "".into() }),
            "malformed: an answer to no request",
        ),
        (
            "standard error of the side that has no command",
            opened(Frame::Data { id: 1, stream: StreamKind::StandardError, data: b"x"[..].into() }),
            "malformed: a note of a channel without notes",
        ),
        (
            "the exit of the side that has no command",
            opened(Frame::Exit { id: 1, exit: ChannelExit::Code(0) }),
            "malformed: a note of a channel without notes",
        ),
        (
            "a frame behind the close",
            frames(&[command(1), close(1, CloseCode::Reset), data(1, b"x")]),
            "malformed: a channel that is not open",
        ),
        ("a frame that is cut", broken(0x20, &[0, 0, 0, 1, 0]), "malformed: a field is cut off"),
        (
            "a frame with bytes behind it",
            broken(0x24, &[0, 0, 0, 1, 0]),
            "malformed: trailing bytes",
        ),
        ("an empty frame", broken(0x22, b""), "malformed: a field is cut off"),
        (
            "a kind that is no name",
            frames(&[open(1, "EXEC", "", 1)]),
            "malformed: kind of a channel",
        ),
        (
            "a text that is none",
            broken(0x25, &[0, 0, 0, 1, 1, 1, 0xff]),
            "malformed: text of a channel",
        ),
        (
            "a note about nothing known",
            broken(0x26, &[0, 0, 0, 1, 9]),
            "malformed: subject of a note",
        ),
        (
            "a question without a number",
            frames(&[Frame::Ask { number: 0, question: Question::Unlisten(1) }]),
            "malformed: a question",
        ),
        (
            "a question twice",
            frames(&[
                Frame::Ask { number: 1, question: Question::Unlisten(1) },
                Frame::Ask { number: 1, question: Question::Unlisten(1) },
            ]),
            "malformed: a question",
        ),
        ("an unknown question", broken(0x27, &[0, 0, 0, 1, 9]), "malformed: question"),
    ]
}

#[test]
fn every_frame_against_the_rules_ends_its_session_with_an_alert() {
    let served = Served::new();
    let target = Listening::new();
    let (_client, near) = local_forward(&served.keys, served.server.port, &target, &[]);
    let (mut near, mut far) = (near.connect(), target.accept());
    let mut wrong = Vec::new();
    for (name, records, words) in cases() {
        let mut session = served.channels();
        let bytes: Vec<u8> =
            records.iter().flat_map(|(kind, payload)| session.seal(*kind, payload)).collect();
        assert!(session.may_send(&bytes), "{name}");
        let (_, alert) = session.fate();
        if alert != PROTOCOL_ERROR {
            wrong.push(format!("{name}: {alert:?}"));
        } else if session.hears().is_some() {
            wrong.push(format!("{name}: the connection goes on"));
        }
        drop(session);
        let line = served.server.log.until(" WARN ");
        if !line.ends_with(&format!(": {words}")) {
            wrong.push(format!("{name}: {line}"));
        }
        // The honest session goes on.
        near.says(b"x");
        far.hears(b"x");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn frames_of_channels_end_a_session_for_messages() {
    let served = Served::new();
    for kind in 0x20..=0x27 {
        let mut session = served.session().opens("message", b"");
        let (_, payload) = encoded(&command(1));
        session.sends(kind, &payload);
        assert_eq!(session.fate(), (0, PROTOCOL_ERROR), "{kind:02x}");
        // The server waits for the end of the connection before it logs the session's.
        drop(session);
        served.server.log.until(&format!("message {kind:02x}"));
    }
}

#[test]
fn data_beyond_the_credit_ends_the_session() {
    let served = Served::new();
    // It is connected, and reads nothing: there is no end of what it does not take.
    let target = Listening::new();
    let mut session = served.channels();
    let (kind, payload) = encoded(&open(1, "forward", &target.place().to_string(), 65_536));
    session.sends(kind, &payload);
    let mut far = target.accept();
    let piece = encoded(&data(1, &[7; 16_380])).1;
    let before = served.server.memory();
    let mut sent = 0;
    // Until the server has ended it, which it says before the connection ends.
    loop {
        let record = session.seal(0x22, &piece);
        if !session.may_send(&record) {
            break;
        }
        sent += 16_380;
        assert!(sent < 100_000_000, "there is no limit");
    }
    // The server may have closed with our bytes unread, and then its alert may be lost.
    let (_, alert) = session.fate();
    assert!(alert.is_none() || alert == PROTOCOL_ERROR, "{alert:?}");
    drop(session);
    served.server.log.until("credit");
    let grown = served.server.memory().saturating_sub(before);
    assert!(grown < 16_384, "{grown} KiB");
    assert_eq!(far.fate().1, Some(ErrorKind::ConnectionReset));
}

#[test]
fn channels_that_nobody_closes_end_the_session_and_take_little_memory() {
    let served = Served::new();
    let mut peak = Vec::new();
    for _ in 0..6 {
        let mut session = served.channels();
        // Not permitted: each is answered, and not over before the client closes it.
        let mut records = Vec::new();
        for number in 0..2_049 {
            let (kind, payload) = encoded(&open(2 * number + 1, "forward", "192.0.2.1:1", 0));
            records.extend(session.seal(kind, &payload));
        }
        assert!(session.may_send(&records));
        let (answers, alert) = session.fate();
        assert_eq!(alert, POLICY, "after {answers} answers");
        assert!(answers <= 2_048, "{answers} answers");
        peak.push(served.server.memory());
    }
    let grown = peak[5].saturating_sub(peak[1]);
    assert!(grown < 4_096, "{peak:?}");
}

#[test]
fn channels_beyond_the_limit_are_refused_and_the_others_go_on() {
    let served = Served::new();
    let target = Listening::new();
    let mut session = served.channels();
    let mut sent = 0;
    let mut refused = 0;
    // One after the other, so that at most one has no answer.
    for number in 0..1_030 {
        let kind = if number == 0 { "forward" } else { "udp" };
        let (content, payload) =
            encoded(&open(2 * number + 1, kind, &target.place().to_string(), 65_536));
        session.sends(content, &payload);
        sent += 1;
        let (content, payload) = loop {
            match session.hears().unwrap() {
                // A ping.
                (0x19, _) => {}
                frame => break frame,
            }
        };
        assert_eq!(content, 0x21, "an answer");
        let status = OpenStatus::from_code(payload[4]);
        match (number, status) {
            (0, None) => {}
            (_, Some(OpenStatus::UnknownKind)) => {}
            (_, Some(OpenStatus::TooMany)) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((sent, refused), (1_030, 1_030 - 1_024));
    let (content, payload) = encoded(&data(1, b"still there"));
    session.sends(content, &payload);
    target.accept().hears(b"still there");
}
