//! The library: a session has many channels, each with its own ends, and ends with the last of them.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::time::timeout;
use vpn::{Blame, Channel, Identity, Session};

use super::channels_are_never_cut_silently::{DEADLINE, Served, run};

/// A server, and a session with it.
async fn connected() -> (Served, Session) {
    let identity = Identity::generate();
    let served = Served::to(&identity).await;
    let session = timeout(DEADLINE, served.client(&identity).connect()).await.unwrap().unwrap();
    (served, session)
}

/// Both ends of a channel, and what ends the server's handler.
async fn open(served: &mut Served, session: &Session) -> (Channel, Channel, oneshot::Sender<()>) {
    let opened = timeout(DEADLINE, session.open("test")).await.unwrap().unwrap();
    let (far, done) = timeout(DEADLINE, served.channels.recv()).await.unwrap().unwrap();
    (opened, far, done)
}

#[test]
fn channels_go_on_beside_each_other_and_finish_one_by_one() {
    run(async {
        let (mut served, session) = connected().await;
        let mut ends = Vec::new();
        for number in 0..50u8 {
            let (near, mut far, done) = open(&mut served, &session).await;
            // Each far end sends its number, more than a window of it, behind what it hears.
            let serving = tokio::spawn(async move {
                let mut heard = Vec::new();
                far.read_to_end(&mut heard).await.unwrap();
                far.write_all(&vec![number; 200_000]).await.unwrap();
                far.finish().await.unwrap();
                drop(done);
                heard
            });
            ends.push((near, number, serving));
        }
        // The last one first: none waits for an earlier one.
        for (mut near, number, serving) in ends.into_iter().rev() {
            near.write_all(&vec![!number; 100_000]).await.unwrap();
            near.shutdown().await.unwrap();
            let mut heard = Vec::new();
            near.read_to_end(&mut heard).await.unwrap();
            assert!(heard == vec![number; 200_000], "{} bytes of {number}", heard.len());
            near.finish().await.unwrap();
            assert!(serving.await.unwrap() == vec![!number; 100_000]);
        }
        drop(session);
        served.end().await;
    });
}

#[test]
fn a_channel_that_is_dropped_early_is_reset_and_others_go_on() {
    run(async {
        let (mut served, session) = connected().await;
        let (near, mut far, _done) = open(&mut served, &session).await;
        let (mut other, mut other_far, _other_done) = open(&mut served, &session).await;
        drop(near);
        let error = far.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        other.write_all(b"on").await.unwrap();
        let mut heard = [0; 2];
        other_far.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, *b"on");
    });
}

#[test]
fn a_channel_that_is_dropped_behind_both_ends_loses_nothing() {
    run(async {
        let (mut served, session) = connected().await;
        let (mut near, mut far, _done) = open(&mut served, &session).await;
        far.shutdown().await.unwrap();
        assert_eq!(near.read(&mut [0]).await.unwrap(), 0);
        // It stays in the queue of the channel: the far end has read nothing yet.
        near.write_all(&[7; 60_000]).await.unwrap();
        near.shutdown().await.unwrap();
        drop(near);
        drop(session);
        let mut heard = Vec::new();
        far.read_to_end(&mut heard).await.unwrap();
        assert!(heard == [7; 60_000], "{} bytes", heard.len());
        far.finish().await.unwrap();
    });
}

#[test]
fn a_session_ends_with_its_last_handle_and_channel() {
    run(async {
        let (mut served, session) = connected().await;
        let (mut near, mut far, done) = open(&mut served, &session).await;
        drop(session);
        // The channel holds the session.
        near.write_all(b"last").await.unwrap();
        near.shutdown().await.unwrap();
        let mut heard = String::new();
        far.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "last");
        let (near, far) = tokio::join!(near.finish(), far.finish());
        near.unwrap();
        far.unwrap();
        drop(done);
        // Nothing is left that the server would have to cut.
        served.end().await;
    });
}

#[test]
fn refusals_say_who_has_to_act() {
    run(async {
        let (_served, session) = connected().await;
        for (service, blame, words) in [
            ("other", Blame::Denied, "there is no service 'other'"),
            ("forward", Blame::Denied, "there is no service 'forward'"),
            ("Other", Blame::Usage, "has 1 to 32 of the characters"),
            ("", Blame::Usage, "has 1 to 32 of the characters"),
        ] {
            let error = session.open(service).await.unwrap_err();
            assert_eq!(error.blame(), blame, "{service}: {error}");
            assert!(error.to_string().contains(words), "{service}: {error}");
        }
    });
}
