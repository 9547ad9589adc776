//! Clients get what their line permits. What is refused names the rule that is missing.

use vpn::net::{Multiplexer, drive};
use vpn_proto::classic::Role;
use vpn_proto::sealed::{ChannelLimits, OpenStatus};

use super::{HERE, channels_of, keys_with, listens, local_forward};
use crate::support::sealed::runtime;
use crate::support::{Keys, Listening, Place, Running, Server};

/// A client up to its end: its exit code, and what it said.
fn ended(keys: &Keys, server: &Server, args: &[&str]) -> (Option<i32>, String) {
    let mut client = Running::start(keys.client_command("client", server.port, args));
    client.end_input();
    (client.code(), client.log.rest())
}

fn port_of(listening: &Listening) -> u16 {
    let Place::Tcp(address) = listening.place() else { panic!("this is for TCP") };
    address.port()
}

/// The reply of a SOCKS5 proxy to a request for this name.
fn socks_reply(proxy: &Place, name: &str, port: u16) -> u8 {
    let mut near = proxy.connect();
    near.says(&[5, 1, 0]);
    near.hears(&[5, 0]);
    let length = u8::try_from(name.len()).unwrap();
    near.says(&[&[5, 1, 0, 3, length], name.as_bytes(), &port.to_be_bytes()].concat());
    let mut reply = [0; 10];
    std::io::Read::read_exact(&mut near, &mut reply).unwrap();
    reply[1]
}

#[test]
fn a_target_that_is_not_permitted_is_refused_by_every_way_to_it() {
    let (target, other) = (Listening::new(), Listening::new());
    let (port, place) = (port_of(&target), target.place().to_string());
    // Another port, all names, and all addresses but those of the server itself.
    let rules = format!("forward:127.0.0.1:{},forward:*:*,forward:0.0.0.0/0:*", port_of(&other));
    let keys = keys_with(&rules);
    let server = keys.server(&[]);
    let words = format!(
        "this key may not forward to {place}: permit in its line of authorized_clients needs \
         forward:{place}"
    );

    let (client, near) = local_forward(&keys, server.port, &target, &["-D", "127.0.0.1:0"]);
    let proxy = listens(&client);
    near.resets();
    client.log.until(&format!("forward to {place}: {words}"));
    server.log.until(&format!("forward {place}: refused: {words}"));

    assert_eq!(socks_reply(&proxy, "127.0.0.1", port), 2);
    client.log.until(&words);
    // A name that leads to the server itself, for which `*` is not enough.
    assert_eq!(socks_reply(&proxy, "localhost", port), 2);
    client.log.until(&format!("needs forward:localhost:{port}"));
    // The other port is permitted, by its address only.
    assert_eq!(socks_reply(&proxy, "127.0.0.1", port_of(&other)), 0);

    let (code, said) = ended(&keys, &server, &["-W", &place]);
    assert!(code == Some(5) && said.contains(&words), "{code:?}: {said}");
    let (code, said) = ended(&keys, &server, &["-W", &format!("localhost:{port}")]);
    let rule = format!("needs forward:localhost:{port}");
    assert!(code == Some(5) && said.contains(&rule), "{code:?}: {said}");
    assert!(target.is_alone());
}

#[test]
fn listeners_and_commands_are_refused_with_the_rule_that_is_missing() {
    let keys = keys_with("remote-forward:127.0.0.1:1-1000,exec:backup");
    let server = keys.server(&[]);
    for (args, rule) in [
        (["-R", "127.0.0.1:2000:a:80"], "needs remote-forward:127.0.0.1:2000"),
        (["-R", "*:900:a:80"], "needs remote-forward:*:900"),
        (["-R", "localhost:900:a:80"], "needs remote-forward:localhost:900"),
        (["-R", "/run/x.sock:a:80"], "needs remote-forward:/run/x.sock"),
        (["--exec", "restore"], "needs exec:restore"),
    ] {
        let (code, said) = ended(&keys, &server, &args);
        let expected = if args[0] == "--exec" { 255 } else { 5 };
        assert!(code == Some(expected) && said.contains(rule), "{args:?}: {code:?}: {said}");
    }
}

#[test]
fn a_line_without_such_rules_permits_no_channels_at_all() {
    let keys = keys_with("message");
    let server = keys.server(&[]);
    for args in
        [["-L", "127.0.0.1:0:a:80"], ["-R", "1:a:80"], ["-D", "127.0.0.1:0"], ["--exec", "x"]]
    {
        let (code, said) = ended(&keys, &server, &args);
        let words = "this key has no rule for forwards or commands: permit in its line of \
                     authorized_clients needs forward:HOST:PORT, remote-forward:BIND:PORT or exec:NAME";
        let expected = if args[0] == "--exec" { 255 } else { 5 };
        assert!(code == Some(expected) && said.contains(words), "{args:?}: {code:?}: {said}");
    }
}

#[test]
fn a_psk_alone_permits_no_channels() {
    let keys = keys_with(HERE);
    let psk = keys.path("psk");
    let server = keys.server(&["--psk", &psk]);
    for (args, code) in
        [(["-L", "127.0.0.1:0:a:80"], 5), (["--exec", "x"], 255), (["-W", "127.0.0.1:80"], 5)]
    {
        let mut command = crate::support::vpn();
        let port = server.port.to_string();
        command.args(["client", "127.0.0.1", "--port", &port, "--psk", &psk, "--accept-new"]);
        command.args(["--known-servers", &keys.path("known")]).args(args);
        let ended = crate::support::finish(command, b"");
        let words = "a PSK alone permits no forwards and no commands";
        assert!(ended.code == Some(code) && ended.stderr.contains(words), "{args:?}: {ended:?}");
    }
}

#[test]
fn a_line_bounds_the_channels_that_are_there_at_once() {
    let keys = Keys::new();
    keys.authorize(&format!("permit=\"{HERE}\" max-channels=2"));
    let server = keys.server(&[]);
    let target = Listening::new();
    // Each carrier is a session with channels of its own.
    let more = ["-D", "127.0.0.1:0", "--carriers", "1"];
    let (client, near) = local_forward(&keys, server.port, &target, &more);
    let proxy = listens(&client);
    let mut pairs: Vec<_> = (0..2).map(|_| (near.connect(), target.accept())).collect();
    near.resets();
    client.log.until("there are too many channels");
    assert_eq!(socks_reply(&proxy, "127.0.0.1", port_of(&target)), 1);
    for (near, far) in &mut pairs {
        near.says(b"x");
        far.hears(b"x");
    }
    // The place of a channel that is over is free again.
    let (mut one, mut other) = pairs.pop().unwrap();
    one.ends();
    other.ends();
    assert_eq!((one.hears_all(), other.hears_all()), (vec![], vec![]));
    let (mut near, mut far) = (near.connect(), target.accept());
    far.says(b"y");
    near.hears(b"y");
}

#[test]
fn refusals_have_their_status() {
    let keys = keys_with(&format!("{HERE},exec:nothing"));
    let server = keys.server(&[]);
    let (gone, there) = (port_of(&Listening::new()), Listening::new());
    let cases = [
        ("forward", there.place().to_string(), None),
        ("forward", format!("127.0.0.1:{gone}"), Some(OpenStatus::Refused)),
        ("forward", "127.0.0.2:80".to_owned(), Some(OpenStatus::NotPermitted)),
        ("forward", "no target".to_owned(), Some(OpenStatus::NotPermitted)),
        ("forward", String::new(), Some(OpenStatus::NotPermitted)),
        ("exec", "nothing".to_owned(), Some(OpenStatus::NoSuchName)),
        ("exec", "else".to_owned(), Some(OpenStatus::NotPermitted)),
        ("accepted", String::new(), Some(OpenStatus::UnknownKind)),
        ("udp", "127.0.0.1:53".to_owned(), Some(OpenStatus::UnknownKind)),
    ];
    runtime().block_on(async {
        let connection = channels_of(&keys, &server).await;
        let channels = Multiplexer::new(Role::Client, ChannelLimits::default());
        let driving = tokio::spawn({
            let channels = channels.clone();
            async move { drive(connection, &channels).await }
        });
        for (kind, argument, expected) in cases {
            let channel = channels.open(kind, argument.as_bytes()).unwrap();
            let refused = channel.opened().await.err().map(|refused| refused.status);
            assert_eq!(refused, expected, "{kind} {argument}");
        }
        channels.stop();
        driving.await.unwrap().unwrap();
    });
    // The reset of the one channel that was opened.
    drop(there.accept());
}
