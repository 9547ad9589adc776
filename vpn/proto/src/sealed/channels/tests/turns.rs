//! Who sends next: frames without data, then channels that have sent little, then the others in turn.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;

/// A simple model of the order of frames.
#[derive(Default)]
struct Model {
    /// Bytes that wait in each channel, and its credit.
    waiting: BTreeMap<u32, usize>,
    credit: BTreeMap<u32, usize>,
    /// The bytes that a channel has sent now. The clock stands still.
    sent: BTreeMap<u32, usize>,
    /// Frames without data, as channel and type.
    control: VecDeque<(u8, u32)>,
    /// How often another channel that is not sparse was served while one waits.
    passed: BTreeMap<(u32, u32), usize>,
}

impl Model {
    fn can_send(&self, id: u32) -> bool {
        self.waiting[&id] > 0 && self.credit[&id] > 0
    }

    fn is_sparse(&self, id: u32) -> bool {
        self.sent[&id] < 4096
    }

    /// Checks the next frame.
    fn next(&mut self, kind: u8, payload: &[u8]) {
        let id = u32::from_be_bytes(payload[..4].try_into().unwrap());
        if let Some(expected) = self.control.pop_front() {
            assert_eq!((kind, id), expected);
            return;
        }
        assert_eq!(kind, 0x22);
        let ready: Vec<u32> =
            self.waiting.keys().copied().filter(|id| self.can_send(*id)).collect();
        let has_sparse = ready.iter().any(|id| self.is_sparse(*id));
        assert!(self.is_sparse(id) || !has_sparse, "{id} passes a channel that has sent little");
        let length = payload.len() - 4;
        // Short pieces of a user stay apart from long ones.
        assert!((1..=self.waiting[&id].min(self.credit[&id]).min(MAX_DATA)).contains(&length));
        let is_bulk = !self.is_sparse(id);
        for other in ready.into_iter().filter(|other| *other != id && is_bulk) {
            let passed = self.passed.entry((other, id)).or_default();
            *passed += 1;
            assert!(*passed <= fill::TURN, "{other} waits more than a round");
        }
        self.passed.retain(|(waiting, _), _| *waiting != id);
        for number in [&mut self.waiting, &mut self.credit] {
            *number.get_mut(&id).unwrap() -= length;
        }
        *self.sent.get_mut(&id).unwrap() += length;
    }
}

#[derive(Clone, Debug)]
enum Step {
    Send(usize, usize),
    Credit(usize, u32),
    /// Takes bytes of the peer, which makes a ChanCredit.
    Consume(usize),
    Fill(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0usize..5, prop_oneof![1usize..3000, Just(40_000)]).prop_map(|(at, n)| Step::Send(at, n)),
        (0usize..5, prop_oneof![1u32..3000, Just(200_000)]).prop_map(|(at, n)| Step::Credit(at, n)),
        (0usize..5).prop_map(Step::Consume),
        (1usize..17).prop_map(Step::Fill),
        (1usize..4).prop_map(Step::Fill),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn turns_are_fair_and_little_goes_first(steps in prop::collection::vec(any_step(), 1..150)) {
        let mut pair = Pair::new();
        let ids: Vec<u32> = (0..5).map(|_| pair.open()).collect();
        let mut model = Model::default();
        for &id in &ids {
            model.waiting.insert(id, 0);
            model.credit.insert(id, 65_536);
            model.sent.insert(id, 0);
        }
        let core = &mut pair.client;
        for step in steps {
            match step {
                Step::Send(at, most) => {
                    let id = ids[at];
                    let count = core.room(id).min(most);
                    core.send(id, StreamKind::Data, vec![0; count]).unwrap();
                    *model.waiting.get_mut(&id).unwrap() += count;
                }
                Step::Credit(at, more) => {
                    core.handle(Frame::Credit { id: ids[at], more }).unwrap();
                    *model.credit.get_mut(&ids[at]).unwrap() += more as usize;
                }
                Step::Consume(at) => {
                    let (id, before) = (ids[at], core.control.len());
                    core.handle_data(id, StreamKind::Data, Zeroizing::new(vec![1; 9000])).unwrap();
                    prop_assert_eq!(take(core, id, pair.now).len(), 9000);
                    model.control.extend((before..core.control.len()).map(|_| (0x23, id)));
                }
                Step::Fill(room) => {
                    let mut wire = Wire { frames: Vec::new(), room };
                    core.fill(&mut wire, pair.now).unwrap();
                    let is_full = wire.frames.len() == room;
                    for (kind, payload) in wire.frames {
                        model.next(kind, &payload);
                    }
                    // It stops only if there is no room or nothing to send.
                    let is_idle = !ids.iter().any(|id| model.can_send(*id));
                    prop_assert!(is_full || (is_idle && model.control.is_empty()));
                }
            }
            events(core);
        }
    }
}
