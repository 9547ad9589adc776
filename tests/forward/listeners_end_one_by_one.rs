//! A client may end a listener at the server. Its address is free then, and everything else goes on.

use tokio::io::{copy, split};
use vpn::net::{Multiplexer, Request, drive};
use vpn_proto::classic::Role;
use vpn_proto::sealed::{Answer, ChannelLimits, OpenStatus, Question};

use super::{channels_of, server_listens};
use crate::support::sealed::runtime;
use crate::support::{Keys, Listening, Place, Running, Socket};

/// Asks the server. Returns the number of the question, and the answer.
async fn ask(channels: &Multiplexer, question: Question) -> (u32, Answer) {
    let mut asked = 0;
    let answer = channels.ask_with(question, |number| asked = number).await.unwrap();
    (asked, answer)
}

async fn listen(channels: &Multiplexer, at: &str) -> (u32, Place) {
    let (number, answer) = ask(channels, Question::Listen(at.to_owned())).await;
    let Answer::Listening { port } = answer else { panic!("{answer:?}") };
    (number, Place::parse(&format!("127.0.0.1:{port}")))
}

/// Echoes on all connections to the listeners.
async fn echo(channels: Multiplexer) {
    while let Some(request) = channels.next_request().await {
        let Request::Channel { channel, .. } = request else { panic!("{request:?}") };
        channel.accept().unwrap();
        tokio::spawn(async move {
            let (mut reader, mut writer) = split(channel);
            copy(&mut reader, &mut writer).await
        });
    }
}

fn echoes(near: &mut Socket, words: &[u8]) {
    near.says(words);
    near.hears(words);
}

#[test]
fn a_listener_ends_and_leaves_connections_and_other_listeners_alone() {
    let keys = Keys::new();
    let (ours, theirs) = (keys.read("client.pub"), keys.read("stranger.pub"));
    let permit = "permit=\"remote-forward:127.0.0.1:*\"";
    keys.folder.file("authorized", format!("{permit} {ours}{permit} {theirs}"));
    let server = keys.server(&[]);
    let runtime = runtime();
    let channels = Multiplexer::new(Role::Client, ChannelLimits::default());
    let driven = channels.clone();
    let connection = runtime.block_on(channels_of(&keys, &server));
    let driving = runtime.spawn(async move { drive(connection, &driven).await });
    runtime.spawn(echo(channels.clone()));

    // Several ask for the same text, and the system chooses a port for each.
    let any = "127.0.0.1:0";
    let (first, second) =
        runtime.block_on(async { (listen(&channels, any).await, listen(&channels, any).await) });
    let forward = format!("{any}:{}", Listening::new().echo());
    let command = keys.client_command("stranger", server.port, &["-R", &forward]);
    let other = Running::start(command);
    let others = server_listens(&other);
    let mut accepted = first.1.connect();
    echoes(&mut accepted, b"before");

    let unlisten = |number| runtime.block_on(ask(&channels, Question::Unlisten(number))).1;
    assert_eq!(unlisten(first.0), Answer::Unlistened(None));
    assert!(first.1.try_connect().is_err());
    assert_eq!(unlisten(first.0), Answer::Unlistened(Some(OpenStatus::NoSuchName)));
    assert_eq!(unlisten(99), Answer::Unlistened(Some(OpenStatus::NoSuchName)));
    // What was accepted goes on, and so do the others.
    echoes(&mut accepted, b"behind");
    echoes(&mut second.1.connect(), b"second");
    echoes(&mut others.connect(), b"other");
    // The address is free at once.
    let again = runtime.block_on(listen(&channels, &first.1.to_string()));
    assert_eq!(again.1, first.1);
    echoes(&mut again.1.connect(), b"again");

    channels.stop();
    runtime.block_on(driving).unwrap().unwrap();
    accepted.is_reset();
    runtime.shutdown_background();
}

#[test]
fn a_session_listens_at_so_many_addresses_at_once() {
    let keys = super::keys_with("remote-forward:127.0.0.1:*");
    let server = keys.server(&[]);
    let runtime = runtime();
    let channels = Multiplexer::new(Role::Client, ChannelLimits::default());
    let driven = channels.clone();
    let connection = runtime.block_on(channels_of(&keys, &server));
    runtime.spawn(async move { drive(connection, &driven).await });
    runtime.block_on(async {
        let mut numbers = Vec::new();
        for _ in 0..64 {
            numbers.push(listen(&channels, "127.0.0.1:0").await.0);
        }
        let (_, answer) = ask(&channels, Question::Listen("127.0.0.1:0".to_owned())).await;
        assert!(
            matches!(answer, Answer::NotListening { status: OpenStatus::TooMany, .. }),
            "{answer:?}"
        );
        ask(&channels, Question::Unlisten(numbers[7])).await;
        listen(&channels, "127.0.0.1:0").await;
    });
    runtime.shutdown_background();
}
