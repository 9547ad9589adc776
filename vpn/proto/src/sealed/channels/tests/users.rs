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
