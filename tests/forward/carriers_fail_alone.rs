//! Several sessions share the channels of a client, and one of them may be cut.

use std::io::ErrorKind;

use super::{HERE, keys_with, local_forward};
use crate::support::{Cut, Listening, Relay};

#[test]
fn a_cut_carrier_resets_its_own_channels_only_and_comes_back() {
    let keys = keys_with(HERE);
    let server = keys.server(&[]);
    let relay = Relay::to(server.port);
    let target = Listening::new();
    let (client, near) = local_forward(&keys, relay.port, &target, &["--carriers", "3"]);
    client.log.until_all(vec!["carrier 2 is connected", "carrier 3 is connected"]);
    assert_eq!(relay.count(), 3);
    for _ in 0..3 {
        server.log.until("sealed session with");
    }
    // Each goes to the carrier with the fewest.
    let mut pairs: Vec<_> = (0..6)
        .map(|_| {
            let (mut near, mut far) = (near.connect(), target.accept());
            near.says(b"there");
            far.hears(b"there");
            (near, far)
        })
        .collect();
    relay.cut(1, Cut::Reset);
    client.log.until("vpn: connected again");
    assert_eq!(relay.count(), 4);
    let mut left = Vec::new();
    for (mut near, mut far) in pairs.drain(..) {
        far.set_patience(Some(std::time::Duration::from_millis(1)));
        // Nothing comes on one that goes on.
        match far.fate().1 {
            Some(ErrorKind::ConnectionReset) => near.is_reset(),
            Some(ErrorKind::WouldBlock) => left.push((near, far)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(left.len(), 4);
    // The others go on, and new ones have three carriers again.
    left.extend((0..5).map(|_| (near.connect(), target.accept())));
    for (near, far) in &mut left {
        far.set_patience(None);
        near.says(b"again");
        far.hears(b"again");
        far.says(b"and back");
        near.hears(b"and back");
    }
    relay.cut_all(Cut::Reset);
    for (mut near, mut far) in left {
        near.is_reset();
        far.is_reset();
    }
}
