//! Random schedules of users and wires agree with the model, and come to an end.

use proptest::prelude::*;
use proptest::sample::Index;

use super::model::World;
use super::*;

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    Open(bool),
    Accept(Index),
    Refuse(Index),
    Send(Index, usize, bool),
    /// Pieces of this size until there is no room.
    SendAll(Index, usize),
    Receive(Index),
    Consume(Index, usize),
    Finish(Index),
    Exit(Index, u32),
    Deliver(Index),
    Reset(Index),
    Ask(bool),
    Answer,
    Fill(usize),
    Carry(usize),
    /// All frames that there are.
    Drain,
    Wait(u64),
    RoundTrip(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    let size = || prop_oneof![1usize..100, 100usize..20_000, Just(usize::MAX)];
    let index = any::<Index>;
    prop_oneof![
        4 => any::<bool>().prop_map(Step::Open),
        4 => index().prop_map(Step::Accept),
        1 => index().prop_map(Step::Refuse),
        12 => (index(), size(), any::<bool>()).prop_map(|(at, size, is_error)| {
            Step::Send(at, size, is_error)
        }),
        4 => (index(), 3000usize..30_000).prop_map(|(at, size)| Step::SendAll(at, size)),
        8 => index().prop_map(Step::Receive),
        8 => (index(), size()).prop_map(|(at, size)| Step::Consume(at, size)),
        2 => index().prop_map(Step::Finish),
        1 => (index(), 0u32..3).prop_map(|(at, code)| Step::Exit(at, code)),
        3 => index().prop_map(Step::Deliver),
        1 => index().prop_map(Step::Reset),
        1 => any::<bool>().prop_map(Step::Ask),
        1 => Just(Step::Answer),
        8 => (1usize..17).prop_map(Step::Fill),
        8 => (1usize..40).prop_map(Step::Carry),
        3 => Just(Step::Drain),
        2 => (0u64..300).prop_map(Step::Wait),
        1 => (0u64..200).prop_map(Step::RoundTrip),
    ]
}

fn any_limits() -> impl Strategy<Value = (ChannelLimits, usize)> {
    let limits = |(channels, unanswered, window_bytes)| ChannelLimits {
        channels,
        unanswered,
        window_bytes,
        budget: None,
    };
    let growth = prop_oneof![Just(300_000usize), Just(32 << 20)];
    let any_limits = (1usize..12, 1usize..6, growth).prop_map(limits);
    (any_limits, prop_oneof![Just(400_000usize), Just(64 << 20)])
}

fn take_step(world: &mut World, side: usize, step: &Step) {
    let ids: Vec<u32> = world.sides[side].views.keys().copied().collect();
    // The latest channels are the most likely ones not to be over.
    let recent = &ids[ids.len().saturating_sub(6)..];
    let at = |index: &Index| if recent.is_empty() { 0 } else { *index.get(recent) };
    match step {
        Step::Open(is_exec) => world.open(side, *is_exec),
        Step::Accept(index) => world.accept(side, at(index)),
        Step::Refuse(index) => world.refuse(side, at(index)),
        Step::Send(index, size, is_error) => world.send(side, at(index), *size, *is_error),
        Step::SendAll(index, size) => {
            for _ in 0..64 {
                world.send(side, at(index), *size, false);
            }
        }
        Step::Receive(index) => drop(world.receive(side, at(index))),
        Step::Consume(index, size) => world.consume(side, at(index), *size),
        Step::Finish(index) => world.finish(side, at(index)),
        Step::Exit(index, code) => world.send_exit(side, at(index), *code),
        Step::Deliver(index) => world.deliver(side, at(index)),
        Step::Reset(index) => world.reset(side, at(index)),
        Step::Ask(true) => world.ask(Question::Listen("localhost:0".to_owned())),
        Step::Ask(false) => world.ask(Question::Unlisten(1)),
        Step::Answer => world.answer(),
        Step::Fill(room) => drop(world.fill(side, *room)),
        Step::Carry(most) => drop(world.carry(side, *most)),
        Step::Drain => {
            world.drain();
            world.check_rest();
        }
        Step::Wait(time) => world.now += Duration::from_millis(*time),
        Step::RoundTrip(time) => {
            world.sides[side].core.set_round_trip(Duration::from_millis(*time));
        }
    }
    world.hear(side);
}

/// Nothing is left of channels that are over.
fn assert_empty(world: &World) {
    for side in &world.sides {
        let core = &side.core;
        assert_eq!((core.count(), core.queued(), core.budget.used), (0, 0, 0));
        assert_eq!((core.opening, core.requested, core.abandoned.len()), (0, 0, 0));
        assert_eq!((core.control.len(), core.starved.len(), core.events.len()), (0, 0, 0));
        assert_eq!((core.questions.len(), core.asked.len(), side.questions.len()), (0, 0, 0));
        assert!(core.turns.is_empty() && side.wire.is_empty());
        assert!(side.views.values().all(|view| view.is_over && view.is_open));
    }
    assert_eq!(world.budget.used(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_honest_sides_agree_with_the_model(
        (limits, program) in any_limits(),
        steps in prop::collection::vec((0usize..2, any_step()), 1..400),
    ) {
        let mut world = World::new(&limits, program);
        for (side, step) in &steps {
            take_step(&mut world, *side, step);
            world.check();
        }
        world.wind_down();
        assert_empty(&world);
    }
}
