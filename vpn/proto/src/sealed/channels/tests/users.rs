//! What users do with channels, and what they hear.

use super::*;

#[test]
fn a_second_exit_is_not_sent() {
    let mut pair = Pair::new();
    let id = pair.open_kind("exec");
    for code in [3, 4] {
        pair.server.send_exit(id, ChannelExit::Code(code)).unwrap();
        pair.run();
    }
    let exit = ChannelEvent::Exit { id, exit: ChannelExit::Code(3) };
    assert_eq!(events(&mut pair.client), [exit]);
}

#[test]
fn what_waits_for_an_acceptance_hears_of_it() {
    let mut pair = Pair::new();
    let id = pair.client.open("forward", b"x:1").unwrap();
    pair.client.send(id, StreamKind::Data, vec![1; 40_000]).unwrap();
    pair.run();
    events(&mut pair.server);
    // Before the answer there is no room, and nothing to receive, so nothing to give credit for.
    assert_eq!((pair.server.room(id), pair.server.receive(id)), (0, None));
    pair.server.handle(Frame::Credit { id, more: 9 }).unwrap();
    assert_eq!((events(&mut pair.server), pair.server.has_output()), (vec![], false));
    pair.server.accept(id).unwrap();
    let heard = [ChannelEvent::Writable { id }, ChannelEvent::Readable { id }];
    assert_eq!(events(&mut pair.server), heard);
    assert_eq!(take(&mut pair.server, id, pair.now), [1; 40_000]);
    pair.run();
    assert_eq!(pair.server.accept(id), Err(ChannelError::Closed));
}

#[test]
fn a_user_that_asks_for_room_again_and_again_takes_no_memory() {
    let mut pair = Pair::new();
    let ids: Vec<u32> = (0..18).map(|_| pair.open()).collect();
    for &id in &ids {
        pair.server.handle(Frame::Credit { id, more: 1 << 20 }).unwrap();
        pair.server.send(id, StreamKind::Data, vec![0; 16 * MAX_DATA]).unwrap();
    }
    assert!(pair.server.queued() > 4 << 20);
    for _ in 0..1000 {
        assert_eq!(pair.server.room(ids[17]), 0);
    }
    assert_eq!(pair.server.starved, [ids[17]]);
    // Others send, less is queued, and the channel hears of the room that it has then.
    let mut wire = Wire { frames: Vec::new(), room: 3 * 18 };
    pair.server.fill(&mut wire, pair.now).unwrap();
    assert!(pair.server.starved.is_empty() && pair.server.queued() < 4 << 20);
    assert_eq!(events(&mut pair.server), [ChannelEvent::Writable { id: ids[17] }]);
    assert!(pair.server.room(ids[17]) >= MAX_DATA);
}

#[test]
fn a_channel_that_is_refilled_often_does_not_pass_the_others() {
    let mut pair = Pair::new();
    let [often, bulk] = [(); 2].map(|()| pair.open());
    pair.client.send(bulk, StreamKind::Data, vec![0; 4 * MAX_DATA]).unwrap();
    let mut order = Vec::new();
    for _ in 0..6 {
        if pair.client.room(often) >= MAX_DATA {
            pair.client.send(often, StreamKind::Data, vec![0; MAX_DATA]).unwrap();
        }
        let mut wire = Wire { frames: Vec::new(), room: 1 };
        pair.client.fill(&mut wire, pair.now).unwrap();
        order.extend(wire.frames.iter().map(|(_, payload)| u32::from(payload[3])));
    }
    assert_eq!(order, [bulk, often, bulk, often, bulk, often]);
}

#[test]
fn nothing_is_sent_on_a_channel_that_has_ended() {
    let mut pair = Pair::new();
    let id = pair.open();
    let closed = Err(ChannelError::Closed);
    pair.client.finish(id).unwrap();
    pair.client.finish(id).unwrap();
    assert_eq!(pair.client.send(id, StreamKind::Data, vec![1]), closed);
    assert_eq!(pair.client.send_exit(id, ChannelExit::Code(0)), closed);
    // Another end, of no bytes, and of no channel.
    pair.server.send(id, StreamKind::Data, vec![]).unwrap();
    assert!(!pair.server.has_output());
    assert_eq!(pair.server.send(3, StreamKind::Data, vec![1]), closed);
    assert_eq!(pair.server.send_exit(3, ChannelExit::Code(0)), closed);
    assert_eq!((pair.server.finish(3), pair.server.accept(3)), (closed, closed));
    assert_eq!((pair.server.room(3), pair.server.receive(3)), (0, None));
    assert!(!pair.server.is_at_end(3));
    pair.server.consume(3, 5, pair.now);
    pair.server.deliver(3);
    pair.server.refuse(id, OpenStatus::Refused, "too late");
    pair.server.reset(3, CloseCode::Reset, "");
    pair.server.answer(3, Answer::Unlistened(None));
    assert!(!pair.server.has_output());
}

#[test]
fn numbers_are_not_used_twice() {
    let mut server = Channels::new(Role::Server, ChannelLimits::default());
    assert_eq!((server.open("accepted", b""), server.open("accepted", b"")), (Ok(2), Ok(4)));
    server.last_own = u32::MAX - 3;
    assert_eq!(server.open("accepted", b""), Ok(u32::MAX - 1));
    assert_eq!(server.open("accepted", b""), Err(ChannelError::Exhausted));
    let mut client = Channels::new(Role::Client, ChannelLimits::default());
    for number in 1..=64 {
        assert_eq!(client.ask(Question::Unlisten(1)), Ok(number));
    }
    assert_eq!(client.ask(Question::Unlisten(1)), Err(ChannelError::TooMany));
    client.questions.clear();
    client.last_question = u32::MAX;
    assert_eq!(client.ask(Question::Unlisten(1)), Err(ChannelError::Exhausted));
}

#[test]
fn without_memory_for_a_window_no_channel_opens() {
    let budget = WindowBudget::new(100_000);
    let limits = ChannelLimits { budget: Some(budget.clone()), ..ChannelLimits::default() };
    let mut client = Channels::new(Role::Client, limits);
    let id = client.open("forward", b"x:1").unwrap();
    assert_eq!(client.open("forward", b"x:1"), Err(ChannelError::TooMany));
    // The peer's are refused.
    let open = Frame::Open { id: 2, credit: 1, kind: "accepted".into(), argument: b"".into() };
    client.handle(open).unwrap();
    assert_eq!((events(&mut client), client.count(), client.requested), (vec![], 2, 0));
    client.reset(id, CloseCode::Reset, "");
    assert_eq!(budget.used(), 0);
}

#[test]
fn large_buffers_are_used_again() {
    let mut pair = Pair::new();
    assert_eq!(pair.client.take_buffer().capacity(), 0);
    for _ in 0..5 {
        pair.client.recycle(Zeroizing::new(vec![7; 16 * MAX_DATA]));
    }
    pair.client.recycle(Zeroizing::new(vec![7; 100]));
    let buffers = [(); 5].map(|()| pair.client.take_buffer());
    assert!(buffers.iter().all(Vec::is_empty));
    let are_large = buffers.map(|buffer| buffer.capacity() >= 16 * MAX_DATA);
    assert_eq!(are_large, [true, true, true, true, false]);
    assert_eq!(format!("{:?}", pair.client), "Channels { channels: 0, .. }");
    pair.client.recycle(Zeroizing::new(vec![7; 17 * 16_384]));
    assert!(pair.client.take_large_buffer().is_some());
    assert_eq!(pair.client.take_large_buffer(), None);
    pair.client.recycle(Zeroizing::new(vec![7; 17 * 16_384]));
    pair.client.shrink();
    assert_eq!(pair.client.take_large_buffer(), None);
    assert!(!pair.client.was_used());
    pair.open();
    assert!(pair.client.was_used() && pair.server.was_used());
}

#[test]
fn an_error_of_the_sink_is_passed_on() {
    struct Full;
    impl FrameSink for Full {
        fn has_room(&self) -> bool {
            true
        }
        fn push(&mut self, _: u8, _: &[u8], _: &[u8]) -> Result<(), SealedError> {
            Err(SealedError::Limit("the number of records"))
        }
    }
    let end: [fn(&mut Channels, u32); 4] = [
        |core, id| core.send(id, StreamKind::Data, vec![1]).unwrap(),
        |core, id| core.send_exit(id, ChannelExit::Code(1)).unwrap(),
        |core, id| core.finish(id).unwrap(),
        |core, id| core.reset(id, CloseCode::Reset, ""),
    ];
    for act in end {
        let mut pair = Pair::new();
        let id = pair.open_kind("exec");
        act(&mut pair.server, id);
        let failed = pair.server.fill(&mut Full, pair.now);
        assert_eq!(failed, Err(SealedError::Limit("the number of records")));
    }
}

#[test]
fn requests_that_are_reset_before_they_are_sent_take_no_memory() {
    let limits = ChannelLimits { unanswered: 1, ..ChannelLimits::default() };
    let mut client = Channels::new(Role::Client, limits);
    let first = client.open("forward", b"x:1").unwrap();
    // The server does not answer, and local clients lose their patience.
    for _ in 0..1000 {
        let id = client.open("forward", b"x:1").unwrap();
        client.reset(id, CloseCode::Reset, "");
    }
    assert_eq!((client.count(), client.unsent.len(), client.control.len()), (1, 0, 1));
    let last = client.open("forward", b"x:1").unwrap();
    let reply = Frame::Reply { id: first, refusal: None, credit: 0, text: "".into() };
    client.handle(reply).unwrap();
    let opens = output(&mut client, Instant::now());
    assert_eq!(opens.len(), 2);
    assert_eq!(opens[1].1[..4], last.to_be_bytes());
}
