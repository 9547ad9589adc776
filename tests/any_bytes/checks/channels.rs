//! No frames of channels cause a panic, or take more than they may.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use vpn_proto::Printable;
use vpn_proto::classic::Role;
use vpn_proto::sealed::{
    Answer, ChannelEvent, ChannelExit, ChannelLimits, Channels, CloseCode, FIRST_WINDOW, Frame,
    FrameSink, MAX_DATA, MAX_PAYLOAD, OpenStatus, Question, SealedError, StreamKind, WindowBudget,
};
use zeroize::Zeroizing;

use super::{Decisions, assert_one_line};

/// Arbitrary bytes as a frame: its type, and its payload. A frame that is read is written as the same
/// bytes.
pub(crate) fn channel_frame(data: &[u8]) {
    let Some((first, payload)) = data.split_first() else { return };
    // Most inputs are for the types that there are.
    let kind = if *first < 0xf0 { 0x20 + first % 8 } else { *first };
    if payload.len() > MAX_PAYLOAD {
        return;
    }
    let frame = match Frame::parse(kind, payload) {
        Ok(frame) => frame,
        Err(error) => return assert_one_line(&Printable(error.to_string().as_bytes()).to_string()),
    };
    assert!((0x20..0x28).contains(&kind));
    let (written_kind, mut written) = frame.header();
    if let Frame::Data { data, .. } = &frame {
        assert!(!data.is_empty() && data.len() <= MAX_DATA);
        written.extend_from_slice(data);
    }
    assert_eq!(written_kind, kind);
    assert_eq!(Frame::parse(kind, &written).as_ref(), Ok(&frame));
    match frame {
        // The port of a refusal and the text of a success have no meaning, and are not kept.
        Frame::Answer {
            answer: Answer::Listening { .. } | Answer::NotListening { .. }, ..
        } => {}
        _ => assert_eq!(written, payload),
    }
    assert_eq!(frame.clone().into_owned(), frame);
}

/// Frames of a peer and actions of a user, one after the other as the bytes say.
pub(crate) fn channel_session(data: &[u8]) {
    let mut decisions = Decisions(data);
    let budget = WindowBudget::new(20 * FIRST_WINDOW as usize);
    let flags = decisions.byte();
    let limits = ChannelLimits {
        channels: 8,
        unanswered: 4,
        window_bytes: if flags & 2 > 0 { 32 << 20 } else { 0 },
        budget: Some(budget.clone()),
    };
    let role = if flags & 1 > 0 { Role::Client } else { Role::Server };
    let mut side = Side::new(role, limits);
    while !decisions.0.is_empty() {
        if let Err(error) = side.step(&mut decisions) {
            assert_one_line(&Printable(error.to_string().as_bytes()).to_string());
            break;
        }
        // Twice the limit of channels, and their windows.
        assert!(side.core.count() <= 16);
        assert!(budget.used() <= 20 * FIRST_WINDOW as usize);
        assert!(side.core.queued() <= side.sent.values().map(|sent| sent.queued).sum());
    }
    drop(side);
    assert_eq!(budget.used(), 0);
}

/// What a channel has sent.
#[derive(Default)]
struct SentBytes {
    /// The bytes that the peer has given credit for, and that we have sent.
    credit: u64,
    sent: u64,
    /// All bytes that the user has sent.
    queued: usize,
}

struct Side {
    core: Channels,
    now: Instant,
    sent: BTreeMap<u32, SentBytes>,
    /// The bytes that the user has received of a channel, and those that it has handed over.
    received: BTreeMap<u32, [usize; 2]>,
    asked: Vec<u32>,
    /// Windows grow.
    has_round_trip: bool,
}

/// Takes frames, and checks that each one is whole.
struct Taken(Vec<Frame<'static>>, usize);

impl FrameSink for Taken {
    fn has_room(&self) -> bool {
        self.0.len() < self.1
    }

    fn push(&mut self, kind: u8, header: &[u8], data: &[u8]) -> Result<(), SealedError> {
        let payload = [header, data].concat();
        assert!(payload.len() <= MAX_PAYLOAD);
        self.0.push(Frame::parse(kind, &payload).unwrap().into_owned());
        Ok(())
    }
}

impl Side {
    fn new(role: Role, limits: ChannelLimits) -> Self {
        Self {
            core: Channels::new(role, limits),
            now: Instant::now(),
            sent: BTreeMap::new(),
            received: BTreeMap::new(),
            asked: Vec::new(),
            has_round_trip: false,
        }
    }

    /// One frame of the peer, or one action of the user.
    fn step(&mut self, decisions: &mut Decisions<'_>) -> Result<(), SealedError> {
        let what = decisions.byte() % 32;
        let result = match what {
            0..=7 => {
                let id = [0, 0, 0, decisions.byte()];
                let length = decisions.byte().into();
                let payload = [&id, decisions.take(length)].concat();
                self.handle(Frame::parse(0x20 + what, &payload)?)
            }
            8..=11 => {
                let id = decisions.byte().into();
                let stream = [StreamKind::Data, StreamKind::StandardError][usize::from(what == 11)];
                let length = 1 + decisions.below(MAX_DATA * 4);
                self.core.handle_data(id, stream, Zeroizing::new(vec![7; length]))
            }
            _ => {
                self.act(what, decisions);
                Ok(())
            }
        };
        while let Some(event) = self.core.poll_event() {
            match event {
                ChannelEvent::Asked { number, .. } => self.asked.push(number),
                ChannelEvent::Requested { kind, .. } => assert!(!kind.is_empty()),
                _ => {}
            }
        }
        assert!(self.asked.len() <= 64);
        result
    }

    fn handle(&mut self, frame: Frame<'_>) -> Result<(), SealedError> {
        let credit = match &frame {
            Frame::Open { id, credit, .. } | Frame::Reply { id, credit, .. } => (*id, *credit),
            Frame::Credit { id, more } => (*id, *more),
            _ => (0, 0),
        };
        self.sent.entry(credit.0).or_default().credit += u64::from(credit.1);
        self.core.handle(frame)
    }

    fn act(&mut self, what: u8, decisions: &mut Decisions<'_>) {
        let id = u32::from(decisions.byte());
        let core = &mut self.core;
        match what {
            12 | 13 => drop(core.accept(id)),
            14 => core.refuse(id, OpenStatus::Refused, "no"),
            15 | 16 => {
                let room = core.room(id).min(1 + decisions.below(100_000));
                if core.send(id, StreamKind::Data, vec![3; room]).is_ok() {
                    self.sent.entry(id).or_default().queued += room;
                }
            }
            17 | 18 => self.receive(id),
            19 | 20 => {
                let most = decisions.below(70_000);
                let [received, handed] = self.received.entry(id).or_default();
                let count = most.min(*received - *handed);
                *handed += count;
                core.consume(id, count, self.now);
            }
            21 => drop(core.finish(id)),
            22 => core.deliver(id),
            23 => core.reset(id, CloseCode::Policy, "enough"),
            24 => drop(core.send_exit(id, ChannelExit::Signal(id))),
            25 => {
                if let Ok(id) = core.open(if id % 2 == 0 { "exec" } else { "forward" }, b"x") {
                    self.sent.entry(id).or_default().credit += u64::from(FIRST_WINDOW);
                }
            }
            26 => drop(core.ask(Question::Unlisten(id))),
            27 => {
                if let Some(number) = self.asked.pop() {
                    core.answer(number, Answer::Unlistened(None));
                }
            }
            28 => {
                self.has_round_trip = true;
                core.set_round_trip(Duration::from_millis(id.into()));
            }
            29 => self.now += Duration::from_millis(id.into()),
            _ => self.fill(1 + id as usize % 16),
        }
    }

    fn receive(&mut self, id: u32) {
        let Some((_, bytes)) = self.core.receive(id) else { return };
        let [received, handed] = self.received.entry(id).or_default();
        *received += bytes.len();
        let window = if self.has_round_trip { 4 << 20 } else { FIRST_WINDOW as usize };
        assert!(*received - *handed <= window, "more than the window of {id}");
    }

    /// What the side sends keeps to the credit of the peer.
    fn fill(&mut self, room: usize) {
        let mut taken = Taken(Vec::new(), room);
        let had_output = self.core.has_output();
        self.core.fill(&mut taken, self.now).unwrap();
        assert!(had_output || taken.0.is_empty());
        for frame in taken.0 {
            if let Frame::Data { id, data, .. } = frame {
                let bytes = self.sent.entry(id).or_default();
                bytes.sent += data.len() as u64;
                assert!(bytes.sent <= bytes.credit, "more than the credit of {id}");
            }
        }
    }
}
