//! Two sides of channels, with frames moved by hand.

mod frames;
mod hostile;
mod model;
mod schedules;
mod turns;
mod users;
mod wrong_frames;

use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::*;
use crate::role::Role;
use crate::sealed::error::SealedError;

/// Frames on their way, as their types and payloads.
#[derive(Default)]
struct Wire {
    frames: Vec<(u8, Vec<u8>)>,
    room: usize,
}

impl FrameSink for Wire {
    fn has_room(&self) -> bool {
        self.frames.len() < self.room
    }

    fn push(&mut self, kind: u8, header: &[u8], data: &[u8]) -> Result<(), SealedError> {
        assert!(header.len() + data.len() <= 16384);
        self.frames.push((kind, [header, data].concat()));
        Ok(())
    }
}

/// All frames that a side has to send, in batches of 16.
fn output(from: &mut Channels, now: Instant) -> Vec<(u8, Vec<u8>)> {
    let mut all = Vec::new();
    loop {
        let mut wire = Wire { frames: Vec::new(), room: 16 };
        from.fill(&mut wire, now).unwrap();
        if wire.frames.is_empty() {
            return all;
        }
        all.append(&mut wire.frames);
    }
}

fn deliver(frames: &[(u8, Vec<u8>)], to: &mut Channels) -> Result<(), SealedError> {
    frames.iter().try_for_each(|(kind, payload)| to.handle(Frame::parse(*kind, payload)?))
}

fn events(of: &mut Channels) -> Vec<ChannelEvent> {
    std::iter::from_fn(|| of.poll_event()).collect()
}

struct Pair {
    client: Channels,
    server: Channels,
    now: Instant,
}

impl Pair {
    fn new() -> Self {
        Self::limited(ChannelLimits::default())
    }

    fn limited(limits: ChannelLimits) -> Self {
        let client = Channels::new(Role::Client, ChannelLimits::default());
        Self { client, server: Channels::new(Role::Server, limits), now: Instant::now() }
    }

    /// Moves frames both ways until there are none.
    fn run(&mut self) {
        while self.client.has_output() || self.server.has_output() {
            let (up, down) =
                (output(&mut self.client, self.now), output(&mut self.server, self.now));
            assert!(!up.is_empty() || !down.is_empty(), "nothing moves");
            deliver(&up, &mut self.server).unwrap();
            deliver(&down, &mut self.client).unwrap();
        }
    }

    /// A channel that the server has accepted.
    fn open(&mut self) -> u32 {
        self.open_kind("forward")
    }

    fn open_kind(&mut self, kind: &str) -> u32 {
        let id = self.client.open(kind, b"localhost:80").unwrap();
        self.run();
        let requested = ChannelEvent::Requested {
            id,
            kind: kind.to_owned(),
            argument: b"localhost:80".to_vec(),
        };
        assert_eq!(events(&mut self.server), [requested]);
        self.server.accept(id).unwrap();
        self.run();
        assert_eq!(events(&mut self.client), [ChannelEvent::Accepted { id }]);
        id
    }
}

/// Takes everything that has arrived, and counts it as handed over.
fn take(from: &mut Channels, id: u32, now: Instant) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some((_, bytes)) = from.receive(id) {
        from.consume(id, bytes.len(), now);
        all.extend_from_slice(&bytes);
    }
    all
}

#[test]
fn a_channel_opens_carries_bytes_both_ways_and_ends_normally() {
    let mut pair = Pair::new();
    let id = pair.open();
    assert_eq!(id, 1);
    pair.client.send(id, StreamKind::Data, b"ping".to_vec()).unwrap();
    pair.server.send(id, StreamKind::Data, b"pong".to_vec()).unwrap();
    pair.run();
    assert_eq!(take(&mut pair.server, id, pair.now), b"ping");
    assert_eq!(take(&mut pair.client, id, pair.now), b"pong");
    pair.client.finish(id).unwrap();
    pair.run();
    assert!(pair.server.is_at_end(id) && !pair.client.is_at_end(id));
    pair.server.send(id, StreamKind::Data, b"last".to_vec()).unwrap();
    pair.server.finish(id).unwrap();
    pair.server.deliver(id);
    pair.run();
    assert_eq!(take(&mut pair.client, id, pair.now), b"last");
    assert!(pair.client.is_at_end(id));
    events(&mut pair.client);
    events(&mut pair.server);
    pair.client.deliver(id);
    pair.run();
    let closed = |code| ChannelEvent::Closed { id, code, text: String::new() };
    assert_eq!(events(&mut pair.client), [closed(CloseCode::Normal)]);
    assert_eq!(events(&mut pair.server), [closed(CloseCode::Normal)]);
    assert_eq!((pair.client.count(), pair.server.count()), (0, 0));
    assert_eq!((pair.client.budget.used, pair.server.budget.used), (0, 0));
    assert_eq!(pair.open(), 3);
}

#[test]
fn the_opener_sends_64_kib_before_the_answer_and_no_more() {
    let mut pair = Pair::new();
    let id = pair.client.open("forward", b"x:1").unwrap();
    assert_eq!(pair.client.room(id), 65_536);
    pair.client.send(id, StreamKind::Data, vec![7; 100_000]).unwrap();
    let frames = output(&mut pair.client, pair.now);
    assert_eq!(
        frames.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(),
        [0x20, 0x22, 0x22, 0x22, 0x22, 0x22]
    );
    assert_eq!(frames[5].1.len(), 4 + 65_536 - 4 * 16_380);
    deliver(&frames, &mut pair.server).unwrap();
    // The acceptor's user takes half of it only after the answer.
    pair.server.accept(id).unwrap();
    assert_eq!(take(&mut pair.server, id, pair.now).len(), 65_536);
    pair.run();
    assert_eq!(take(&mut pair.server, id, pair.now).len(), 100_000 - 65_536);
}

#[test]
fn a_refusal_ends_a_channel_on_both_sides() {
    let mut pair = Pair::new();
    let id = pair.client.open("forward", b"x:1").unwrap();
    pair.client.send(id, StreamKind::Data, vec![1; 10]).unwrap();
    pair.run();
    pair.server.refuse(id, OpenStatus::NoSuchName, "there is no host of this name");
    pair.run();
    let text = "there is no host of this name".to_owned();
    let refused = ChannelEvent::Refused { id, status: OpenStatus::NoSuchName, text };
    assert_eq!(events(&mut pair.client), [refused]);
    assert_eq!((pair.client.count(), pair.server.count()), (0, 0));
    assert_eq!((pair.client.opening, pair.server.requested), (0, 0));
    assert_eq!(pair.client.queued(), 0);
}

#[test]
fn a_reset_ends_a_channel_in_every_phase() {
    for phase in ["unanswered", "open", "half closed", "answered meanwhile", "refused meanwhile"] {
        let mut pair = Pair::new();
        let id = match phase {
            "open" => pair.open(),
            "half closed" => {
                let id = pair.open();
                pair.client.finish(id).unwrap();
                pair.run();
                id
            }
            _ => {
                let id = pair.client.open("forward", b"x:1").unwrap();
                pair.run();
                match phase {
                    "answered meanwhile" => pair.server.accept(id).unwrap(),
                    "refused meanwhile" => pair.server.refuse(id, OpenStatus::Refused, ""),
                    _ => {}
                }
                id
            }
        };
        events(&mut pair.server);
        pair.client.reset(id, CloseCode::Reset, "gone");
        pair.run();
        assert_eq!((pair.client.count(), pair.server.count()), (0, 0), "{phase}");
        // The server's user may still work on the request.
        let unanswered = usize::from(phase == "unanswered");
        assert_eq!((pair.client.opening, pair.server.requested), (0, unanswered), "{phase}");
        let closed = ChannelEvent::Closed { id, code: CloseCode::Reset, text: "gone".to_owned() };
        assert_eq!(events(&mut pair.server), [closed], "{phase}");
        assert_eq!(pair.server.accept(id), Err(ChannelError::Closed));
        assert_eq!(pair.server.requested, 0, "{phase}");
    }
}

#[test]
fn channels_take_turns_and_a_quiet_one_goes_first() {
    let mut pair = Pair::new();
    let [bulk, other, quiet] = [(); 3].map(|()| pair.open());
    for id in [bulk, other] {
        pair.client.send(id, StreamKind::Data, vec![0; 60_000]).unwrap();
    }
    let mut wire = Wire { frames: Vec::new(), room: 4 };
    pair.client.fill(&mut wire, pair.now).unwrap();
    pair.client.send(quiet, StreamKind::Data, b"key".to_vec()).unwrap();
    wire.room = 8;
    pair.client.fill(&mut wire, pair.now).unwrap();
    let ids: Vec<u8> = wire.frames.iter().map(|(_, payload)| payload[3]).collect();
    let [bulk, other, quiet] = [bulk, other, quiet].map(|id| u8::try_from(id).unwrap());
    // At first both count as quiet.
    assert_eq!(ids, [bulk, other, bulk, bulk, quiet, other, other, other]);
}

#[test]
fn a_user_that_found_no_room_hears_when_there_is() {
    let mut pair = Pair::new();
    let id = pair.open();
    pair.client.send(id, StreamKind::Data, vec![0; 65_536]).unwrap();
    assert_eq!(pair.client.room(id), 0);
    pair.run();
    assert_eq!(events(&mut pair.client), []);
    take(&mut pair.server, id, pair.now);
    pair.run();
    assert_eq!(events(&mut pair.client), [ChannelEvent::Writable { id }]);
    // Credit comes back by halves: 16,396 bytes are less than one.
    assert_eq!(pair.client.room(id), 3 * 16_380);
}

#[test]
fn standard_error_and_the_exit_of_a_command_arrive_in_order() {
    let mut pair = Pair::new();
    let id = pair.open_kind("exec");
    pair.server.send(id, StreamKind::Data, b"out".to_vec()).unwrap();
    pair.server.send(id, StreamKind::StandardError, vec![9; 20_000]).unwrap();
    pair.server.send_exit(id, ChannelExit::Code(3)).unwrap();
    pair.server.finish(id).unwrap();
    pair.run();
    let (stream, bytes) = pair.client.receive(id).unwrap();
    assert_eq!((stream, bytes.as_slice()), (StreamKind::Data, b"out".as_slice()));
    let mut errors = 0;
    while let Some((stream, bytes)) = pair.client.receive(id) {
        assert_eq!(stream, StreamKind::StandardError);
        errors += bytes.len();
    }
    assert_eq!(errors, 20_000);
    let exit = ChannelEvent::Exit { id, exit: ChannelExit::Code(3) };
    assert!(events(&mut pair.client).contains(&exit));
    assert!(pair.client.is_at_end(id));
}

#[test]
fn questions_are_answered_once() {
    let mut pair = Pair::new();
    let number = pair.client.ask(Question::Listen("localhost:0".to_owned())).unwrap();
    pair.run();
    let question = Question::Listen("localhost:0".to_owned());
    assert_eq!(events(&mut pair.server), [ChannelEvent::Asked { number, question }]);
    let answer = Answer::Listening { port: 4711 };
    pair.server.answer(number, answer.clone());
    pair.server.answer(number, answer.clone());
    pair.run();
    assert_eq!(events(&mut pair.client), [ChannelEvent::Answered { number, answer }]);
}

#[test]
fn too_many_channels_are_refused_and_a_flood_ends_the_session() {
    let limits = ChannelLimits { channels: 3, unanswered: 2, ..ChannelLimits::default() };
    let mut pair = Pair::limited(limits);
    for _ in 0..3 {
        pair.client.open("forward", b"x:1").unwrap();
    }
    let frames = output(&mut pair.client, pair.now);
    deliver(&frames, &mut pair.server).unwrap();
    let answers = output(&mut pair.server, pair.now);
    assert_eq!(
        answers,
        [(0x21, [&[0, 0, 0, 5, 6, 0, 0, 0, 0, 27][..], b"there are too many channels"].concat())]
    );
    // The client of this flood never answers the refusals.
    for n in 4..=6u8 {
        let open = [&[0, 0, 0, 2 * n - 1, 0, 0, 0, 9, 1][..], b"x", &[0, 0]].concat();
        deliver(&[(0x20, open)], &mut pair.server).unwrap();
    }
    let open = [&[0, 0, 0, 13, 0, 0, 0, 9, 1][..], b"x", &[0, 0]].concat();
    let flood = deliver(&[(0x20, open)], &mut pair.server);
    assert_eq!(flood, Err(SealedError::Limit("the number of channels")));
}

#[test]
fn an_honest_opener_keeps_to_the_limits() {
    let mut pair = Pair::new();
    let ids: Vec<u32> = (0..1024).map(|_| pair.client.open("forward", b"x:1").unwrap()).collect();
    assert_eq!(pair.client.open("forward", b"x:1"), Err(ChannelError::TooMany));
    for id in &ids {
        pair.client.send(*id, StreamKind::Data, b"early".to_vec()).unwrap();
    }
    // What belongs to a request that waits, waits too.
    let frames = output(&mut pair.client, pair.now);
    let count = |kind| frames.iter().filter(|(k, _)| *k == kind).count();
    assert_eq!((count(0x20), count(0x22), frames.len()), (128, 128, 256));
    deliver(&frames, &mut pair.server).unwrap();
    // A request that is reset while it waits is never sent.
    pair.client.reset(ids[128], CloseCode::Reset, "");
    pair.server.accept(ids[0]).unwrap();
    pair.server.refuse(ids[1], OpenStatus::Refused, "");
    let answers = output(&mut pair.server, pair.now);
    deliver(&answers, &mut pair.client).unwrap();
    let frames = output(&mut pair.client, pair.now);
    let opened: Vec<u32> = frames
        .iter()
        .filter(|(kind, _)| *kind == 0x20)
        .map(|(_, payload)| u32::from_be_bytes(payload[..4].try_into().unwrap()))
        .collect();
    assert_eq!(opened, [ids[129], ids[130]]);
}

/// A server with an accepted channel 1, whose client is not honest.
fn attacked() -> Channels {
    let mut pair = Pair::new();
    pair.open();
    pair.server
}

#[test]
fn an_acceptor_sends_nothing_before_its_answer() {
    for (kind, rest) in [
        (0x22, &[1][..]),
        (0x23, &[0, 0, 0, 1]),
        (0x24, &[]),
        (0x26, &[1, 1]),
        (0x26, &[2, 0, 0, 0, 0, 0]),
        (0x25, &[1, 0]),
    ] {
        let mut client = Channels::new(Role::Client, ChannelLimits::default());
        let id = client.open("forward", b"x:1").unwrap();
        let frame = [&id.to_be_bytes()[..], rest].concat();
        assert!(deliver(&[(kind, frame)], &mut client).is_err(), "{kind:x}");
    }
    // A server asks nothing.
    let mut client = Channels::new(Role::Client, ChannelLimits::default());
    assert!(deliver(&[(0x27, vec![0, 0, 0, 1, 2, 0, 0, 0, 0])], &mut client).is_err());
}

#[test]
fn frames_between_two_closes_are_dropped() {
    let mut server = attacked();
    server.reset(1, CloseCode::Policy, "");
    let frame = |kind: u8, rest: &[u8]| (kind, [&[0, 0, 0, 1][..], rest].concat());
    let late =
        [frame(0x22, &[5; 100]), frame(0x23, &[0, 0, 0, 9]), frame(0x24, &[]), frame(0x24, &[])];
    deliver(&late, &mut server).unwrap();
    assert_eq!(server.count(), 1);
    deliver(&[frame(0x25, &[1, 0])], &mut server).unwrap();
    assert_eq!(server.count(), 0);
    assert!(deliver(&late[..1], &mut server).is_err());
}

#[test]
fn windows_grow_on_a_long_path() {
    let mut pair = Pair::new();
    let id = pair.open();
    pair.server.set_round_trip(Duration::from_millis(100));
    let mut most = 0;
    for _ in 0..40 {
        let room = pair.client.room(id);
        most = most.max(room + pair.client.queued());
        if room > 0 {
            pair.client.send(id, StreamKind::Data, vec![0; room]).unwrap();
        }
        pair.now += Duration::from_millis(50);
        pair.run();
        pair.server.note_drained();
        take(&mut pair.server, id, pair.now);
        pair.run();
    }
    assert_eq!(most, 16 * MAX_DATA);
    assert!(pair.server.budget.used > 1 << 20, "{}", pair.server.budget.used);
}
