//! Channels of the Python peer.

use vpn_test_needs::needs;

use crate::support::python::{peer, python};
use crate::support::{DEADLINE, finish};

/// Both roles, over loopback: credit, half-closes, resets, refusals, listeners, commands, alerts.
#[needs(python)]
#[test]
fn the_python_peer_agrees_with_itself_about_channels() {
    let python = python();
    let deadline = DEADLINE.as_secs().to_string();
    let ended =
        finish(peer(&python, "sealed_peer.py", &["selftest", "--deadline", &deadline]), b"");
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    let tests = ["forwards", "refusals", "resets", "commands", "listeners", "alerts"];
    assert_eq!(ended.lines(), tests.map(|name| format!("{name}: ok")));
}
