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
