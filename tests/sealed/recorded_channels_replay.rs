//! Channels of another implementation (data/sealed.json): frames alone, courses of frames, and a whole
//! session, byte by byte in both roles.

use std::time::Instant;

use serde_json::Value;
use vpn_proto::classic::Role;
use vpn_proto::sealed::{
    Alert, Answer, ChannelEvent, ChannelExit, ChannelLimits, Channels, CloseCode, Event, Frame,
    FrameSink, OpenStatus, Question, SealedError, Session, StreamKind,
};

use super::recorded_sessions_replay::{
    DATA, assert_secrets, hex, records, replayed_client, replayed_server,
};
use crate::support::in_memory::{connected, events, sent};

fn list(name: &str, length: usize) -> &'static [Value] {
    let list = DATA[name].as_array().unwrap();
    assert_eq!(list.len(), length, "{name}");
    list
}

fn name(entry: &Value) -> &str {
    entry["name"].as_str().unwrap()
}

fn kind(entry: &Value) -> u8 {
    u8::from_str_radix(entry["type"].as_str().unwrap(), 16).unwrap()
}

fn number(fields: &Value, name: &str) -> u32 {
    u32::try_from(fields[name].as_u64().unwrap()).unwrap()
}

fn text(fields: &Value, name: &str) -> String {
    fields[name].as_str().unwrap().to_owned()
}

fn status(fields: &Value) -> Option<OpenStatus> {
    OpenStatus::from_code(u8::try_from(number(fields, "status")).unwrap())
}

fn close_code(fields: &Value) -> CloseCode {
    match number(fields, "code") {
        0 => CloseCode::Normal,
        1 => CloseCode::Reset,
        2 => CloseCode::Policy,
        3 => CloseCode::Draining,
        code => CloseCode::Unknown(u8::try_from(code).unwrap()),
    }
}

fn exit(fields: &Value) -> ChannelExit {
    let of = [ChannelExit::Code, ChannelExit::Signal][number(fields, "how") as usize];
    of(number(fields, "number"))
}

fn answer(entry: &Value) -> Answer {
    let fields = &entry["fields"];
    match (entry["frame"].as_str().unwrap(), status(fields)) {
        ("Answer unlisten", status) => Answer::Unlistened(status),
        (_, None) => Answer::Listening { port: u16::try_from(number(fields, "port")).unwrap() },
        (_, Some(status)) => Answer::NotListening { status, text: text(fields, "text") },
    }
}

fn question(entry: &Value) -> Question {
    let fields = &entry["fields"];
    match entry["frame"].as_str().unwrap() {
        "Ask listen" => Question::Listen(text(fields, "address")),
        _ => Question::Unlisten(number(fields, "listen")),
    }
}

/// The frame that the fields of an entry describe.
fn described(entry: &Value) -> Frame<'static> {
    let fields = &entry["fields"];
    let id = if fields["id"].is_null() { 0 } else { number(fields, "id") };
    let asked = || number(fields, "no");
    let data = || hex(&fields["data"]).into();
    match entry["frame"].as_str().unwrap() {
        "ChanOpen" => Frame::Open {
            id,
            credit: number(fields, "credit"),
            kind: text(fields, "kind").into(),
            argument: hex(&fields["argument"]).into(),
        },
        "ChanReply" => Frame::Reply {
            id,
            refusal: status(fields),
            credit: number(fields, "credit"),
            text: text(fields, "text").into(),
        },
        "ChanData" => Frame::Data { id, stream: StreamKind::Data, data: data() },
        "ChanCredit" => Frame::Credit { id, more: number(fields, "more") },
        "ChanEof" => Frame::Eof { id },
        "ChanClose" => {
            Frame::Close { id, code: close_code(fields), text: text(fields, "text").into() }
        }
        "ChanNote stderr" => Frame::Data { id, stream: StreamKind::StandardError, data: data() },
        "ChanNote exit" => Frame::Exit { id, exit: exit(fields) },
        "Ask listen" | "Ask unlisten" => Frame::Ask { number: asked(), question: question(entry) },
        "Answer listen" | "Answer unlisten" => {
            Frame::Answer { number: asked(), answer: answer(entry) }
        }
        other => panic!("{other}"),
    }
}

/// The data of a frame, which is behind its header.
fn data_of<'a>(frame: &'a Frame<'_>) -> &'a [u8] {
    match frame {
        Frame::Data { data, .. } => data,
        _ => &[],
    }
}

#[test]
fn frames_have_the_fields_and_the_bytes_of_the_vectors() {
    let mut malformed = 0;
    for entry in list("channel_frames", 87) {
        let payload = hex(&entry["payload"]);
        let parsed = Frame::parse(kind(entry), &payload);
        if entry["fields"].is_null() {
            assert!(
                matches!(parsed, Err(SealedError::Malformed(_))),
                "{}: {parsed:?}",
                name(entry)
            );
            malformed += 1;
            continue;
        }
        let expected = described(entry);
        assert_eq!(parsed.unwrap(), expected, "{}", name(entry));
        let (found, header) = expected.header();
        assert_eq!((found, [&header, data_of(&expected)].concat()), (kind(entry), payload));
    }
    assert_eq!(malformed, 51);
}

/// Keeps the frames that a side sends.
#[derive(Default)]
struct Sent(Vec<Frame<'static>>);

impl FrameSink for Sent {
    fn has_room(&self) -> bool {
        true
    }

    fn push(&mut self, kind: u8, header: &[u8], data: &[u8]) -> Result<(), SealedError> {
        let payload = [header, data].concat();
        let frame = Frame::parse(kind, &payload).unwrap().into_owned();
        self.0.push(frame);
        Ok(())
    }
}

/// One side of a course: its user does what makes the side send the frames of the vectors.
struct Course {
    core: Channels,
    sent: Sent,
    /// What the vectors say that it sends. It gives other credit.
    expected: Vec<Frame<'static>>,
    /// The bytes of credit that the peer has too many, because it has 65,536 in the beginning.
    surplus: usize,
}

/// The frame without its credit.
fn without_credit(mut frame: Frame<'static>) -> Option<Frame<'static>> {
    match &mut frame {
        Frame::Open { credit, .. } | Frame::Reply { credit, .. } => *credit = 0,
        Frame::Credit { .. } => return None,
        _ => {}
    }
    Some(frame)
}

impl Course {
    fn new(role: Role) -> Self {
        let core = Channels::new(role, ChannelLimits::default());
        Self { core, sent: Sent::default(), expected: Vec::new(), surplus: 0 }
    }

    /// Sends the frame of an entry.
    fn send(&mut self, entry: &Value) {
        let core = &mut self.core;
        let frame = described(entry);
        match frame.clone() {
            Frame::Open { id, credit, kind, argument } => {
                assert_eq!(core.open(&kind, &argument), Ok(id));
                self.surplus = 65_536 - credit as usize;
            }
            Frame::Reply { id, refusal: None, .. } => core.accept(id).unwrap(),
            Frame::Reply { id, refusal: Some(status), text, .. } => core.refuse(id, status, &text),
            Frame::Data { id, stream, data } => core.send(id, stream, data.to_vec()).unwrap(),
            Frame::Exit { id, exit } => core.send_exit(id, exit).unwrap(),
            Frame::Eof { id } => core.finish(id).unwrap(),
            Frame::Close { id, code: CloseCode::Normal, .. } => {
                while let Some((_, bytes)) = core.receive(id) {
                    core.consume(id, bytes.len(), Instant::now());
                }
                core.deliver(id);
            }
            // If it answers another close, the core has sent it.
            Frame::Close { id, code, text } => core.reset(id, code, &text),
            Frame::Ask { number, question } => assert_eq!(core.ask(question), Ok(number)),
            Frame::Answer { number, answer } => core.answer(number, answer),
            Frame::Credit { .. } => {}
        }
        self.expected.extend(without_credit(frame));
        self.collect();
        let sent: Vec<Frame<'_>> = self.sent.0.iter().cloned().filter_map(without_credit).collect();
        assert_eq!(sent, self.expected);
    }

    fn collect(&mut self) {
        self.core.fill(&mut self.sent, Instant::now()).unwrap();
    }

    /// Receives a frame.
    fn receive(&mut self, entry: &Value) -> Result<(), SealedError> {
        let payload = hex(&entry["payload"]);
        let frame = Frame::parse(kind(entry), &payload)?;
        if let Frame::Data { id, .. } = &frame
            && self.surplus > 0
        {
            // The peer uses up what it has too many.
            let data = vec![0; std::mem::take(&mut self.surplus)].into();
            self.core.handle(Frame::Data { id: *id, stream: StreamKind::Data, data })?;
        }
        self.core.handle(frame)?;
        self.collect();
        Ok(())
    }
}

#[test]
fn courses_end_as_the_vectors_say() {
    let mut legal = 0;
    for course in list("channel_courses", 65) {
        let (role, is_ours) = match course["role"].as_str().unwrap() {
            "client" => (Role::Client, "client"),
            _ => (Role::Server, "server"),
        };
        let mut side = Course::new(role);
        let frames = course["frames"].as_array().unwrap();
        let (last, before) = frames.split_last().unwrap();
        for entry in before {
            match entry["from"] == is_ours {
                true => side.send(entry),
                false => side.receive(entry).unwrap_or_else(|error| {
                    panic!("{}: {error}", name(course));
                }),
            }
        }
        assert_ne!(last["from"], is_ours);
        let Err(error) = side.receive(last) else {
            assert!(course["alert"].is_null(), "{} is in order", name(course));
            legal += 1;
            continue;
        };
        assert_eq!(alert_of(role, &error), course["alert"], "{}: {error}", name(course));
    }
    assert_eq!(legal, 14);
}

/// The alert that a session sends because of this error.
fn alert_of(role: Role, error: &SealedError) -> Value {
    let (mut client, mut server) = connected("AES", 256, vpn_proto::sealed::Limits::default());
    let (ours, theirs) = match role {
        Role::Client => (&mut client, &mut server),
        Role::Server => (&mut server, &mut client),
    };
    assert_eq!(&ours.fail(error.clone()), error);
    let told: Vec<u8> = sent(ours).concat();
    match theirs.handle_input(&told) {
        Err(SealedError::Alert(Alert::ProtocolError)) => 2.into(),
        Err(SealedError::Alert(Alert::Policy)) => 6.into(),
        other => panic!("{other:?}"),
    }
}

/// The recorded session with channels.
fn recorded() -> &'static Value {
    &list("channel_sessions", 1)[0]
}

/// The entries behind the handshake, up to the close_notify of the first side.
fn talk() -> &'static [Value] {
    let wire = recorded()["wire"].as_array().unwrap();
    &wire[5..]
}

/// Both sides keep to the recorded session, and one after the other is ours.
#[test]
fn a_core_speaks_as_the_recorded_session() {
    for (role, is_ours) in [(Role::Client, "client"), (Role::Server, "server")] {
        let mut side = Course::new(role);
        for entry in talk().iter().filter(|entry| !entry["frame"].is_null()) {
            match entry["from"] == is_ours {
                true => side.send(&as_entry(entry)),
                false => {
                    // The peer gets more credit later, and keeps to what it had.
                    side.surplus = 0;
                    side.receive(&as_entry(entry)).unwrap();
                }
            }
        }
        assert_eq!((side.core.count(), side.core.queued()), (0, 0));
        let ends = std::iter::from_fn(|| side.core.poll_event()).filter_map(|event| match event {
            ChannelEvent::Closed { id, code, .. } => Some((id, code)),
            _ => None,
        });
        let expected: &[(u32, CloseCode)] = match role {
            Role::Client => {
                &[(1, CloseCode::Normal), (7, CloseCode::Normal), (2, CloseCode::Reset)]
            }
            Role::Server => &[
                (1, CloseCode::Normal),
                // The answers to our refusals.
                (3, CloseCode::Reset),
                (5, CloseCode::Reset),
                (7, CloseCode::Normal),
                (2, CloseCode::Reset),
            ],
        };
        assert_eq!(ends.collect::<Vec<_>>(), expected);
    }
}

/// An entry of a session, in the form of a course.
fn as_entry(entry: &Value) -> Value {
    let mut entry = entry.clone();
    entry["type"] = entry["what"].clone();
    entry["payload"] = entry["payload_hex"].clone();
    entry
}

/// Does what one side of the recorded session does, and checks what it receives.
fn replay(mut session: Session, is_ours: &str) {
    assert_secrets(&session, recorded());
    for entry in talk() {
        let payload = hex(&entry["payload_hex"]);
        let what = entry["what"].as_str().unwrap();
        if entry["from"] != is_ours {
            session.handle_input(&hex(&entry["hex"])).unwrap();
            check_events(&mut session, &as_entry(entry));
            continue;
        }
        match what {
            "1b" => session.open("channels", &[1]).unwrap(),
            "1c" => session.reply_open(0, "").unwrap(),
            "18" => session.update_key().unwrap(),
            "15" => session.close(Alert::CloseNotify).unwrap(),
            _ => {
                let frame = described(entry);
                let (kind, header) = frame.header();
                assert_eq!([&header, data_of(&frame)].concat(), payload);
                let mut batch = session.frames().unwrap();
                batch.push(kind, &header, data_of(&frame)).unwrap();
                batch.seal().unwrap();
            }
        }
        assert_eq!(sent(&mut session), [hex(&entry["hex"])], "{what}");
    }
    assert!(session.is_closed());
    assert_eq!(session.handle_eof(), Ok(()));
}

/// The event of a session for the entry that it has received.
fn check_events(session: &mut Session, entry: &Value) {
    let found = events(session);
    match (entry["what"].as_str().unwrap(), &found[..]) {
        ("16" | "18", []) => {}
        ("1b", [Event::Open { service, argument }]) => {
            assert_eq!((service.as_str(), argument.as_slice()), ("channels", &[1][..]));
        }
        ("1c", [Event::OpenReply { status: 0, text }]) => assert_eq!(text, ""),
        ("15", [Event::CloseRequested | Event::Closed]) => {}
        (_, [Event::Frame(frame)]) => assert_eq!(*frame, described(entry)),
        (_, [Event::ChannelData { id, stream, data }]) => {
            let frame = Frame::Data { id: *id, stream: *stream, data: data.as_slice().into() };
            assert_eq!(frame, described(entry));
        }
        (what, other) => panic!("{what}: {other:?}"),
    }
}

#[test]
fn the_recorded_session_is_replayed_byte_by_byte() {
    let (client, _) = replayed_client(recorded());
    replay(client, "client");
    replay(replayed_server(recorded()), "server");
}

#[test]
fn frames_of_the_recorded_session_may_arrive_at_once() {
    let (mut client, _) = replayed_client(recorded());
    client.open("channels", &[1]).unwrap();
    client.handle_input(&records(recorded(), "server", 3).concat()).unwrap();
    let frames =
        talk().iter().filter(|entry| entry["from"] == "server" && !entry["frame"].is_null());
    let expected: Vec<Frame<'_>> = frames.map(described).collect();
    let mut found = Vec::new();
    for event in events(&mut client) {
        match event {
            Event::Frame(frame) => found.push(frame),
            Event::ChannelData { id, stream, data } => {
                found.push(Frame::Data { id, stream, data: data.to_vec().into() });
            }
            Event::OpenReply { status: 0, .. } | Event::CloseRequested => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(found, expected);
    // The same bytes do not fit another order.
    let (mut client, _) = replayed_client(recorded());
    let mut records = records(recorded(), "server", 3);
    records.swap(1, 2);
    client.open("channels", &[1]).unwrap();
    assert_eq!(client.handle_input(&records.concat()), Err(SealedError::BadRecord));
}
