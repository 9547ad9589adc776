//! Two sides with wires between them, and a simple model of what their users have done.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::LazyLock;

use super::*;
use crate::sealed::channels::outgoing::{End, Next};
use crate::sealed::channels::state::{Channel, Live, Phase};

/// What is sent: bytes of this, from any place on.
static BYTES: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..65_536u64).map(|n| (n * n / 7 + n / 251).to_be_bytes()[7]).collect());

/// Bytes of a direction of a channel, from this position on.
fn bytes_at(id: u32, side: usize, stream: usize, mut at: usize, count: usize) -> Vec<u8> {
    at += id as usize * 1009 + side * 211 + stream * 97;
    let mut bytes = Vec::with_capacity(count);
    while bytes.len() < count {
        let rest = &BYTES[at % 65_536..];
        let part = rest.len().min(count - bytes.len());
        bytes.extend_from_slice(&rest[..part]);
        at += part;
    }
    bytes
}

/// What the user of one side knows of a channel.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) is_ours: bool,
    pub(super) is_exec: bool,
    /// The channel has an answer, if it needs one.
    pub(super) is_open: bool,
    pub(super) is_over: bool,
    /// The bytes of data and of standard error that were sent, and those that were received.
    sent: [usize; 2],
    received: [usize; 2],
    /// Received, but not handed over.
    pub(super) held: usize,
    exit: Option<ChannelExit>,
    heard_exit: Option<ChannelExit>,
    pub(super) has_finished: bool,
    pub(super) has_delivered: bool,
    /// The user was told to wait for room, or for bytes.
    waits_for_room: bool,
    waits_for_bytes: bool,
}

pub(super) struct Side {
    pub(super) core: Channels,
    pub(super) views: BTreeMap<u32, View>,
    /// Questions of the peer without an answer.
    pub(super) asked: BTreeMap<u32, Question>,
    /// Our questions without an answer.
    pub(super) questions: BTreeSet<u32>,
    /// Frames on their way to the peer.
    pub(super) wire: VecDeque<(u8, Vec<u8>)>,
}

pub(super) struct World {
    pub(super) sides: [Side; 2],
    pub(super) budget: std::sync::Arc<WindowBudget>,
    /// The limit of the budget in bytes.
    program: usize,
    pub(super) now: Instant,
}

impl World {
    pub(super) fn new(limits: &ChannelLimits, program: usize) -> Self {
        let budget = WindowBudget::new(program);
        let sides = [Role::Client, Role::Server].map(|role| Side {
            core: Channels::new(
                role,
                ChannelLimits { budget: Some(budget.clone()), ..limits.clone() },
            ),
            views: BTreeMap::new(),
            asked: BTreeMap::new(),
            questions: BTreeSet::new(),
            wire: VecDeque::new(),
        });
        Self { sides, budget, program, now: Instant::now() }
    }

    // What users do.

    pub(super) fn open(&mut self, side: usize, is_exec: bool) {
        let Side { core, views, .. } = &mut self.sides[side];
        // A server opens no commands.
        let is_exec = is_exec && side == 0;
        let (before, limits) = (core.count(), core.limits.clone());
        match core.open(if is_exec { "exec" } else { "forward" }, b"x") {
            Ok(id) => {
                let view = View { is_ours: true, is_exec, is_open: true, ..View::default() };
                assert!(views.insert(id, view).is_none(), "{id} twice");
            }
            Err(error) => {
                assert_eq!(error, ChannelError::TooMany);
                let is_full = before >= limits.channels;
                assert!(is_full || self.budget.used() + 65_536 > self.program);
            }
        }
    }

    pub(super) fn accept(&mut self, side: usize, id: u32) {
        let Side { core, views, .. } = &mut self.sides[side];
        let Some(view) = views.get_mut(&id).filter(|view| !view.is_open) else { return };
        assert_eq!(core.accept(id).is_ok(), !view.is_over);
        view.is_open = true;
    }

    pub(super) fn refuse(&mut self, side: usize, id: u32) {
        let Side { core, views, .. } = &mut self.sides[side];
        let Some(view) = views.get_mut(&id).filter(|view| !view.is_open) else { return };
        core.refuse(id, OpenStatus::Refused, "no");
        (view.is_open, view.is_over) = (true, true);
    }

    pub(super) fn send(&mut self, side: usize, id: u32, most: usize, is_error: bool) {
        let Side { core, views, .. } = &mut self.sides[side];
        let Some(view) = views.get_mut(&id) else { return };
        if view.has_finished {
            return;
        }
        let room = core.room(id);
        if room == 0 {
            view.waits_for_room |= !view.is_over;
            return;
        }
        assert!(!view.is_over && view.is_open);
        view.waits_for_room = false;
        let stream = usize::from(is_error && view.is_exec && !view.is_ours);
        let bytes = bytes_at(id, side, stream, view.sent[stream], room.min(most));
        view.sent[stream] += bytes.len();
        core.send(id, [StreamKind::Data, StreamKind::StandardError][stream], bytes).unwrap();
    }

    pub(super) fn receive(&mut self, side: usize, id: u32) -> bool {
        let Side { core, views, .. } = &mut self.sides[side];
        let Some(view) = views.get_mut(&id) else { return false };
        let Some((stream, bytes)) = core.receive(id) else {
            view.waits_for_bytes |= !view.is_over && !core.is_at_end(id);
            return false;
        };
        view.waits_for_bytes = false;
        let stream = usize::from(stream == StreamKind::StandardError);
        let expected = bytes_at(id, 1 - side, stream, view.received[stream], bytes.len());
        assert!(*bytes == expected, "other bytes than were sent");
        view.received[stream] += bytes.len();
        view.held += bytes.len();
        true
    }

    pub(super) fn consume(&mut self, side: usize, id: u32, most: usize) {
        let Side { core, views, .. } = &mut self.sides[side];
        let Some(view) = views.get_mut(&id) else { return };
        let count = view.held.min(most);
        view.held -= count;
        core.consume(id, count, self.now);
    }

    pub(super) fn finish(&mut self, side: usize, id: u32) {
        let Side { core, views, .. } = &mut self.sides[side];
        let Some(view) = views.get_mut(&id).filter(|view| !view.has_finished) else { return };
        assert_eq!(core.finish(id).is_ok(), !view.is_over);
        view.has_finished = true;
    }

    pub(super) fn send_exit(&mut self, side: usize, id: u32, code: u32) {
        let Side { core, views, .. } = &mut self.sides[side];
        let Some(view) = views.get_mut(&id) else { return };
        if view.is_exec && !view.is_ours && !view.has_finished && !view.is_over {
            let exit = ChannelExit::Code(code);
            core.send_exit(id, exit).unwrap();
            view.exit.get_or_insert(exit);
        }
    }

    pub(super) fn deliver(&mut self, side: usize, id: u32) {
        let Side { core, views, .. } = &mut self.sides[side];
        let Some(view) = views.get_mut(&id) else { return };
        if view.held == 0 && core.is_at_end(id) {
            view.has_delivered = true;
            core.deliver(id);
        }
    }

    pub(super) fn reset(&mut self, side: usize, id: u32) {
        let Side { core, views, .. } = &mut self.sides[side];
        let Some(view) = views.get_mut(&id) else { return };
        core.reset(id, CloseCode::Policy, "enough");
        (view.is_open, view.is_over) = (true, true);
    }

    pub(super) fn ask(&mut self, question: Question) {
        let Side { core, questions, .. } = &mut self.sides[0];
        match core.ask(question) {
            Ok(number) => assert!(questions.insert(number)),
            Err(error) => assert_eq!((error, questions.len()), (ChannelError::TooMany, 64)),
        }
    }

    pub(super) fn answer(&mut self) {
        let Side { core, asked, .. } = &mut self.sides[1];
        let Some((number, question)) = asked.pop_first() else { return };
        let answer = match question {
            Question::Listen(_) if number % 2 == 0 => Answer::Listening { port: 1 },
            Question::Listen(_) => {
                Answer::NotListening { status: OpenStatus::Refused, text: "in use".to_owned() }
            }
            Question::Unlisten(_) => Answer::Unlistened(None),
        };
        core.answer(number, answer);
    }

    // What the wires do.

    /// Moves frames of a side to its wire, in a batch.
    pub(super) fn fill(&mut self, side: usize, room: usize) -> bool {
        let Side { core, wire, .. } = &mut self.sides[side];
        let mut batch = Wire { frames: Vec::new(), room };
        let had_output = core.has_output();
        core.fill(&mut batch, self.now).unwrap();
        assert!(had_output || batch.frames.is_empty());
        wire.extend(batch.frames);
        had_output
    }

    /// Hands frames of a side to the other one. Honest sides never cause an error.
    pub(super) fn carry(&mut self, side: usize, most: usize) -> bool {
        let count = most.min(self.sides[side].wire.len());
        for _ in 0..count {
            let (kind, payload) = self.sides[side].wire.pop_front().unwrap();
            let frame = Frame::parse(kind, &payload).unwrap();
            if let Err(error) = self.sides[1 - side].core.handle(frame.clone()) {
                panic!("{frame:?}: {error}");
            }
            self.hear(1 - side);
        }
        count > 0
    }

    /// Handles the events of a side.
    pub(super) fn hear(&mut self, side: usize) {
        while let Some(event) = self.sides[side].core.poll_event() {
            self.hear_event(side, event);
        }
    }

    fn hear_event(&mut self, side: usize, event: ChannelEvent) {
        let [one, two] = &mut self.sides;
        let (here, there) = if side == 0 { (one, two) } else { (two, one) };
        match event {
            ChannelEvent::Requested { id, kind, argument } => {
                assert_eq!(argument, b"x");
                let view = View { is_exec: kind == "exec", ..View::default() };
                assert!(here.views.insert(id, view).is_none(), "{id} twice");
            }
            ChannelEvent::Accepted { id } => assert!(here.views[&id].is_ours),
            ChannelEvent::Readable { id } => {
                here.views.get_mut(&id).unwrap().waits_for_bytes = false;
            }
            ChannelEvent::Writable { id } => {
                here.views.get_mut(&id).unwrap().waits_for_room = false;
            }
            ChannelEvent::Exit { id, exit } => {
                assert_eq!(here.views.get_mut(&id).unwrap().heard_exit.replace(exit), None);
                assert_eq!(there.views[&id].exit, Some(exit));
            }
            ChannelEvent::Refused { id, status, text } => {
                let view = here.views.get_mut(&id).unwrap();
                assert!(view.is_ours && !std::mem::replace(&mut view.is_over, true));
                let ours = (OpenStatus::Refused, "no".to_owned());
                let too_many = (OpenStatus::TooMany, "there are too many channels".to_owned());
                let unreachable = (OpenStatus::Unreachable, "enough".to_owned());
                assert!([ours, too_many, unreachable].contains(&(status, text)));
            }
            ChannelEvent::Closed { id, code, .. } => {
                // A request that was refused at once has no user.
                let Some(view) = here.views.get_mut(&id) else { return };
                let was_over = std::mem::replace(&mut view.is_over, true);
                if code == CloseCode::Normal && !was_over {
                    let other = &there.views[&id];
                    assert!(other.has_delivered && view.has_delivered && other.held == 0);
                    assert_eq!((view.sent, view.received), (other.received, other.sent));
                    assert_eq!((view.exit, view.heard_exit), (other.heard_exit, other.exit));
                }
            }
            ChannelEvent::Asked { number, question } => {
                assert!(here.asked.insert(number, question).is_none());
            }
            ChannelEvent::Answered { number, .. } => assert!(here.questions.remove(&number)),
        }
    }

    // What always holds.

    fn live(&self, side: usize, id: u32) -> Option<&Live> {
        match self.sides[side].core.channels.get(&id) {
            Some(Channel::Live(live)) => Some(live),
            _ => None,
        }
    }

    pub(super) fn check(&self) {
        let mut reserved = 0;
        for (number, side) in self.sides.iter().enumerate() {
            let core = &side.core;
            let (mut queued, mut windows) = (0, 0);
            for &id in core.channels.keys() {
                let Some(live) = self.live(number, id) else { continue };
                queued += live.out.queued;
                windows += live.window.size as usize;
                let kept: usize = live.received.iter().map(|(_, bytes)| bytes.len()).sum();
                let held = kept + side.views[&id].held;
                // What the peer may send, and what it has sent, is the window.
                let window = &live.window;
                assert_eq!(
                    window.granted as usize + held + window.taken as usize,
                    window.size as usize
                );
                assert!(window.size.is_power_of_two() && window.size <= 4 << 20);
                assert!(live.out.credit <= i32::MAX.unsigned_abs());
                self.check_credit(number, id, live);
            }
            assert_eq!((core.queued, core.budget.used), (queued, windows));
            let first = core.channels.len() * 65_536;
            assert!(windows <= core.limits.window_bytes.max(first), "{windows}");
            let (most, unanswered) = (core.limits.channels, core.limits.unanswered);
            assert!(core.channels.len() <= most + most.max(unanswered));
            reserved += windows;
        }
        assert_eq!(self.budget.used(), reserved);
    }

    /// What this side of a channel has granted, the other side has, or it is on its way.
    fn check_credit(&self, side: usize, id: u32, live: &Live) {
        let Some(peer) = self.live(1 - side, id) else { return };
        if live.peer_has_ended {
            return;
        }
        let mut expected = peer.out.credit as usize;
        for (kind, payload) in &self.sides[1 - side].wire {
            match Frame::parse(*kind, payload).unwrap() {
                Frame::Data { id: other, data, .. } if other == id => expected += data.len(),
                _ => {}
            }
        }
        let on_wire = self.sides[side].wire.iter();
        let on_wire = on_wire.map(|(kind, payload)| Frame::parse(*kind, payload).unwrap());
        for frame in on_wire.chain(self.sides[side].core.control.iter().cloned()) {
            match frame {
                Frame::Credit { id: other, more } if other == id => expected += more as usize,
                _ => {}
            }
        }
        assert_eq!(live.window.granted as usize, expected, "credit of {id}");
    }

    /// Moves everything that can move without the users.
    pub(super) fn drain(&mut self) {
        let mut is_moving = true;
        while is_moving {
            is_moving = false;
            for side in 0..2 {
                self.hear(side);
                is_moving |= self.fill(side, 16) | self.carry(side, usize::MAX);
            }
        }
    }

    /// Nothing moves without the users. So both sides have the same channels, and each channel waits
    /// for a user.
    pub(super) fn check_rest(&mut self) {
        // A request that waits for its turn is known to its own side only.
        let is_sent = |channel: &Channel| !matches!(channel, Channel::Live(live) if live.phase == Phase::Queued);
        let ids = |side: &Side| {
            let sent = side.core.channels.iter().filter(|(_, channel)| is_sent(channel));
            sent.map(|(id, _)| *id).collect::<BTreeSet<u32>>()
        };
        let [client, server] = &self.sides;
        assert_eq!(ids(client), ids(server));
        for side in 0..2 {
            for id in self.sides[side].core.channels.keys().copied().collect::<BTreeSet<u32>>() {
                self.check_wait(side, id);
                // Nobody waits for what is there.
                let Side { core, views, .. } = &mut self.sides[side];
                let Some(view) = views.get_mut(&id).filter(|view| !view.is_over) else { continue };
                assert!(!view.waits_for_room || core.room(id) == 0, "{id} heard of no room");
                let Some(live) = self.live(side, id) else { continue };
                let is_there = live.peer_has_ended || !live.received.is_empty();
                let view = &self.sides[side].views[&id];
                assert!(
                    !view.waits_for_bytes || !view.is_open || !is_there,
                    "{id} heard of no bytes"
                );
            }
        }
    }

    fn check_wait(&self, side: usize, id: u32) {
        let Some(live) = self.live(side, id) else {
            // We have closed it, normally: otherwise the peer had answered.
            let peer = self.live(1 - side, id);
            assert!(peer.is_some_and(|peer| peer.peer_has_closed), "{id} waits for a close");
            return;
        };
        if live.phase == Phase::Queued {
            let core = &self.sides[side].core;
            assert_eq!(core.opening, core.limits.unanswered, "{id} could be requested");
            return;
        }
        match (live.phase, live.out.next()) {
            (Phase::Requested | Phase::Queued, _) => {}
            // The peer's user has to answer.
            (Phase::Opening, None) => {
                assert_eq!(self.live(1 - side, id).map(|peer| peer.phase), Some(Phase::Requested));
            }
            (Phase::Open, None) => {}
            (_, Some(Next::Data(..) | Next::Exit(_) | Next::Eof)) => panic!("{id} has no turn"),
        }
        if live.out.queued > 0 && live.phase != Phase::Requested {
            // It waits for credit, because the peer's user has not taken half of the window.
            assert_eq!(live.out.credit, 0);
            let window = &self.live(1 - side, id).unwrap().window;
            assert!(window.taken < window.size / 2);
        }
        let is_complete = live.peer_has_ended && live.out.end == End::Sent;
        assert!(!is_complete || !self.sides[side].views[&id].has_delivered, "{id} is not closed");
    }

    /// The users do what is left to do, until nothing moves.
    pub(super) fn wind_down(&mut self) {
        for _ in 0..10_000 {
            self.drain();
            self.check();
            self.check_rest();
            let mut is_moving = !self.sides[1].asked.is_empty();
            self.answer();
            for side in 0..2 {
                for id in self.sides[side].views.keys().copied().collect::<Vec<u32>>() {
                    if !self.sides[side].views[&id].is_open {
                        self.accept(side, id);
                        is_moving = true;
                    }
                    while self.receive(side, id) {
                        is_moving = true;
                    }
                    self.consume(side, id, usize::MAX);
                    is_moving |= !self.sides[side].views[&id].is_over
                        && !self.sides[side].views[&id].has_finished;
                    if !self.sides[side].views[&id].has_finished {
                        self.finish(side, id);
                    }
                    self.deliver(side, id);
                }
            }
            if !is_moving && !self.sides.iter().any(|side| side.core.has_output()) {
                return;
            }
        }
        panic!("the channels do not come to an end");
    }
}
