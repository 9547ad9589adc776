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
