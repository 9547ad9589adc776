//! A connection that ends early at one end, or on the way, is reset at the other: nobody takes a part of the
//! bytes for all of them.

use std::io::ErrorKind;

use super::{HERE, keys_with, listens, local_forward, server_listens};
use crate::support::{Cut, Keys, Listening, Place, Relay, Running, Server, Socket};

/// How much has come when something fails in the middle of it.
const POURED: usize = 300_000;

/// How far a connection is when something fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing was sent.
    Silent,
    /// Each side has heard something.
    Talking,
    /// The near side sends, and has no end.
    ToFar,
    /// The far side sends, and has no end.
    ToNear,
    /// Only the direction to the near side goes on.
    NearEnded,
    /// Only the direction to the far side goes on.
    FarEnded,
}

const STAGES: [Stage; 6] =
    [Stage::Silent, Stage::Talking, Stage::ToFar, Stage::ToNear, Stage::NearEnded, Stage::FarEnded];

/// A connection that has come to some stage.
struct Pair {
    stage: Stage,
    near: Socket,
    far: Socket,
}

impl Pair {
    fn new(stage: Stage, near: &Place, target: &Listening) -> Self {
        let mut near = near.connect();
        let mut far = target.accept();
        if stage != Stage::Silent {
            near.says(b"there");
            far.hears(b"there");
            far.says(b"back");
            near.hears(b"back");
        }
        match stage {
            Stage::Silent | Stage::Talking => {}
            Stage::ToFar => near.pours(&mut far, POURED),
            Stage::ToNear => far.pours(&mut near, POURED),
            Stage::NearEnded => {
                near.ends();
                assert_eq!(far.hears_all(), b"");
            }
            Stage::FarEnded => {
                far.ends();
                assert_eq!(near.hears_all(), b"");
            }
        }
        Self { stage, near, far }
    }
}

/// The near side hears of the failure.
fn near_is_reset(near: &mut Socket, stage: Stage) {
    match stage {
        Stage::FarEnded => near.is_broken(),
        stage => was_reset(near, stage, Stage::ToNear),
    }
}

/// The far side hears of the failure.
fn far_is_reset(far: &mut Socket, stage: Stage) {
    match stage {
        Stage::NearEnded => far.is_broken(),
        stage => was_reset(far, stage, Stage::ToFar),
    }
}

/// A socket is reset; only in one stage something may come before.
fn was_reset(socket: &mut Socket, stage: Stage, hearing: Stage) {
    let (count, error) = socket.fate();
    assert_eq!(error, Some(ErrorKind::ConnectionReset), "{stage:?}");
    assert!(stage == hearing || count == 0, "{stage:?}: {count} bytes");
}

/// A forward in one of both directions, through a relay.
struct Path {
    client: Running,
    relay: Relay,
    server: Server,
    near: Place,
    target: Listening,
    _keys: Keys,
}

impl Path {
    fn new(option: &str) -> Self {
        let keys = keys_with(&format!("{HERE},remote-forward:127.0.0.1:*"));
        let server = keys.server(&[]);
        let relay = Relay::to(server.port);
        let target = Listening::new();
        let forward = format!("127.0.0.1:0:{}", target.place());
        let client = keys.forwarding(relay.port, &[option, &forward]);
        let near = match option {
            "-L" => listens(&client),
            _ => server_listens(&client),
        };
        Self { client, relay, server, near, target, _keys: keys }
    }

    /// A connection at each stage.
    fn pairs(&self) -> Vec<Pair> {
        STAGES.map(|stage| Pair::new(stage, &self.near, &self.target)).into()
    }
}

#[test]
fn a_reset_at_one_end_is_a_reset_at_the_other() {
    for option in ["-L", "-R"] {
        let path = Path::new(option);
        for stage in STAGES {
            let Pair { near, mut far, .. } = Pair::new(stage, &path.near, &path.target);
            near.reset();
            // A direction that has ended is not listened to any more.
            if stage == Stage::NearEnded {
                far.says(b"are you there?");
            }
            far_is_reset(&mut far, stage);

            let Pair { mut near, far, .. } = Pair::new(stage, &path.near, &path.target);
            far.reset();
            if stage == Stage::FarEnded {
                near.says(b"are you there?");
            }
            near_is_reset(&mut near, stage);
        }
    }
}

/// Something on the way fails; both ends are reset.
fn fails_on_the_way(option: &str, fail: impl FnOnce(&mut Path)) {
    let mut path = Path::new(option);
    let mut pairs = path.pairs();
    fail(&mut path);
    for pair in &mut pairs {
        near_is_reset(&mut pair.near, pair.stage);
        far_is_reset(&mut pair.far, pair.stage);
    }
}

#[test]
fn a_server_that_is_killed_resets_all_connections() {
    for option in ["-L", "-R"] {
        fails_on_the_way(option, |path| path.server.process.signal("KILL"));
    }
}

#[test]
fn a_client_that_is_killed_resets_all_connections() {
    for option in ["-L", "-R"] {
        fails_on_the_way(option, |path| path.client.process.signal("KILL"));
    }
}

#[test]
fn a_session_that_is_cut_resets_all_connections() {
    for option in ["-L", "-R"] {
        for cut in [Cut::Reset, Cut::End] {
            fails_on_the_way(option, |path| path.relay.cut_all(cut));
        }
    }
}

#[test]
fn programs_that_are_told_to_end_reset_what_is_not_over() {
    for who in ["server", "client"] {
        fails_on_the_way("-L", |path| match who {
            "server" => path.server.process.signal("TERM"),
            _ => path.client.process.signal("INT"),
        });
    }
}

#[test]
fn standard_output_of_a_connection_that_is_cut_is_no_success() {
    let keys = keys_with(HERE);
    let server = keys.server(&[]);
    for cut in [None, Some(Cut::Reset), Some(Cut::End)] {
        let relay = Relay::to(server.port);
        let target = Listening::new();
        let to = target.place().to_string();
        let mut client = Running::start(keys.client_command("client", relay.port, &["-W", &to]));
        client.say("a question");
        let mut far = target.accept();
        far.hears(b"a question\n");
        far.says(b"half an answ\n");
        assert_eq!(client.out.next(), "half an answ");
        match cut {
            None => far.reset(),
            Some(cut) => relay.cut_all(cut),
        }
        assert_eq!(client.code(), Some(7), "{cut:?}: {}", client.log.rest());
    }
}

#[test]
fn a_target_that_refuses_resets_the_connection_and_ends_standard_output_with_3() {
    let keys = keys_with(HERE);
    let server = keys.server(&[]);
    // Nobody listens there any more.
    let gone = Listening::new();
    let place = gone.place().to_string();
    let (client, near) = local_forward(&keys, server.port, &gone, &[]);
    drop(gone);
    near.resets();
    client.log.until(&format!("forward to {place}: connection refused"));
    let mut client = Running::start(keys.client_command("client", server.port, &["-W", &place]));
    assert_eq!(client.code(), Some(3));
    let words = client.log.until("cannot reach the target");
    assert!(words.contains("refused"), "{words}");
}
