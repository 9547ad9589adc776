//! The library: a cut channel is an error and never an end, and an error says who has to act.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use vpn::{Blame, Channel, Client, Error, Identity, Peer, Psk, Server};
use zeroize::Zeroizing;

use crate::support::{TempDir, set_mode};

/// Longer than anything here takes.
pub(super) const DEADLINE: Duration = Duration::from_secs(120);

/// A server in this process that hands its channels to the test.
pub(super) struct Served {
    address: String,
    key: vpn::PublicKey,
    pub(super) channels: mpsc::UnboundedReceiver<(Channel, oneshot::Sender<()>)>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), Error>>,
}

impl Served {
    /// Lets the holder of this key in.
    pub(super) async fn to(client: &Identity) -> Self {
        let identity = Identity::generate();
        let key = identity.public_key();
        let server = Server::bind("127.0.0.1:0", "test").await.unwrap();
        let address = format!("127.0.0.1:{}", server.port());
        let server = server.identity(identity).allow(client.public_key());
        let (sender, channels) = mpsc::unbounded_channel();
        let handle = move |channel| {
            let (done, over) = oneshot::channel();
            // The test may be over.
            let _ = sender.send((channel, done));
            async move { drop(over.await) }
        };
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(server.serve(handle, async { drop(stopped.await) }));
        Self { address, key, channels, stop, serving }
    }

    pub(super) fn client(&self, identity: &Identity) -> Client {
        let client = Client::new(&self.address).unwrap().identity(identity.clone());
        client.server_key(self.key.clone())
    }

    /// Both ends of a channel, and what ends the server's handler.
    async fn open(&mut self, identity: &Identity) -> (Channel, Channel, oneshot::Sender<()>) {
        let client = self.client(identity);
        let opened = timeout(DEADLINE, client.open("test")).await.unwrap().unwrap();
        let (served, done) = timeout(DEADLINE, self.channels.recv()).await.unwrap().unwrap();
        (opened, served, done)
    }

    pub(super) async fn end(self) {
        drop(self.stop);
        timeout(DEADLINE, self.serving).await.unwrap().unwrap().unwrap();
    }
}

pub(super) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async { timeout(DEADLINE, test).await.unwrap() });
    runtime.shutdown_background();
}

#[test]
fn both_sides_finish_when_each_has_everything() {
    run(async {
        let identity = Identity::generate();
        let mut served = Served::to(&identity).await;
        let (mut client, mut server, done) = served.open(&identity).await;
        assert_eq!(server.peer(), &Peer::Key(identity.public_key()));
        assert_eq!(client.peer(), &Peer::Key(served.key.clone()));
        // More than any buffer on the way.
        let sent: Vec<u8> = (0..=255).cycle().take(3 << 20).collect();
        let expected = sent.clone();
        let serving = tokio::spawn(async move {
            let mut got = Vec::new();
            server.read_to_end(&mut got).await.unwrap();
            server.write_all(b"all of it").await.unwrap();
            server.finish().await.unwrap();
            drop(done);
            got
        });
        client.write_all(&sent).await.unwrap();
        client.shutdown().await.unwrap();
        let mut reply = String::new();
        client.read_to_string(&mut reply).await.unwrap();
        assert_eq!(reply, "all of it");
        client.finish().await.unwrap();
        assert!(serving.await.unwrap() == expected);
        served.end().await;
    });
}

#[test]
fn a_dropped_channel_is_an_error_at_the_other_end() {
    run(async {
        let identity = Identity::generate();
        let mut served = Served::to(&identity).await;
        for is_server_dropped in [false, true] {
            let (client, server, done) = served.open(&identity).await;
            let (mut dropped, mut left) =
                if is_server_dropped { (server, client) } else { (client, server) };
            dropped.write_all(b"half of").await.unwrap();
            drop(dropped);
            let mut got = Vec::new();
            let error = left.read_to_end(&mut got).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted, "{error}");
            assert!(left.finish().await.is_err());
            drop(done);
        }
        served.end().await;
    });
}

#[test]
fn finish_says_why_the_peer_does_not_have_everything() {
    run(async {
        let identity = Identity::generate();
        let mut served = Served::to(&identity).await;
        let (mut client, server, done) = served.open(&identity).await;
        client.write_all(b"lost").await.unwrap();
        drop(server);
        let error = client.finish().await.unwrap_err();
        assert_eq!(error.blame(), Blame::Peer);
        assert!(error.to_string().contains("not everything was handed over"), "{error}");
        drop(done);
        served.end().await;
    });
}

#[test]
fn a_channel_that_is_dropped_behind_its_own_end_is_cut_all_the_same() {
    run(async {
        let identity = Identity::generate();
        let mut served = Served::to(&identity).await;
        let (mut client, mut server, done) = served.open(&identity).await;
        client.shutdown().await.unwrap();
        assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
        // The reply that the server could still send would be lost.
        drop(client);
        assert!(server.finish().await.is_err());
        drop(done);
        served.end().await;
    });
}

#[test]
fn both_halves_of_a_channel_hear_of_its_failure() {
    run(async {
        let identity = Identity::generate();
        let mut served = Served::to(&identity).await;
        let (client, server, done) = served.open(&identity).await;
        let (mut reader, mut writer) = tokio::io::split(client);
        let reading = tokio::spawn(async move { reader.read_to_end(&mut Vec::new()).await });
        let writing = tokio::spawn(async move {
            loop {
                writer.write_all(&[7; 1000]).await?;
            }
            #[expect(unreachable_code, reason = "names the type of the task's result")]
            Ok::<(), io::Error>(())
        });
        drop(server);
        assert!(reading.await.unwrap().is_err());
        assert!(writing.await.unwrap().is_err());
        drop(done);
        served.end().await;
    });
}

#[test]
fn the_policy_of_the_sealed_profile_holds_in_the_library() {
    run(async {
        let identity = Identity::generate();
        let served = Served::to(&identity).await;
        let folder = TempDir::new();
        let blowfish = "[[supported_cipher]]\nname = \"Blowfish\"\nkeys = [448]\n";
        let client = |name: &str, text: &str| {
            let path = folder.file(name, text);
            set_mode(&path, 0o600);
            served.client(&identity).config(path).unwrap()
        };
        // Its blocks have 64 bits.
        let error = client("small.toml", blowfish).open("test").await.unwrap_err();
        assert_eq!(error.blame(), Blame::Usage, "{error}");
        // Allowed here, and not on the server.
        let allowed = format!("{blowfish}[sealed]\nallow_64bit = true\n");
        let error = client("allowed.toml", &allowed).open("test").await.unwrap_err();
        assert_eq!(error.blame(), Blame::Negotiation, "{error}");
        // Others could have written whom to trust.
        let path = folder.file("open.toml", "[sealed]\nallow_64bit = true\n");
        set_mode(&path, 0o666);
        let error = served.client(&identity).config(path).unwrap_err();
        assert_eq!(error.blame(), Blame::Usage, "{error}");
        served.end().await;
    });
}

#[test]
fn bytes_that_nobody_read_are_no_success() {
    run(async {
        let identity = Identity::generate();
        let mut served = Served::to(&identity).await;
        let (client, mut server, done) = served.open(&identity).await;
        server.write_all(b"unread").await.unwrap();
        server.shutdown().await.unwrap();
        let error = client.finish().await.unwrap_err();
        assert_eq!(error.blame(), Blame::Usage, "{error}");
        assert!(server.finish().await.is_err());
        drop(done);
        served.end().await;
    });
}

#[test]
fn a_server_that_stops_cuts_its_channels() {
    run(async {
        let identity = Identity::generate();
        let mut served = Served::to(&identity).await;
        let (mut client, server, done) = served.open(&identity).await;
        served.end().await;
        let error = client.read(&mut [0]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted, "{error}");
        drop((server, done));
    });
}

#[test]
fn errors_say_who_has_to_act() {
    run(async {
        let identity = Identity::generate();
        let served = Served::to(&identity).await;
        let known = || Client::new(&served.address).unwrap().server_key(served.key.clone());
        let blame = async |client: Client, service: &'static str| {
            client.open(service).await.unwrap_err().blame()
        };
        // What the caller forgot.
        assert_eq!(blame(known(), "test").await, Blame::Usage);
        let nobody_known = Client::new(&served.address).unwrap().identity(identity.clone());
        assert_eq!(blame(nobody_known.clone(), "test").await, Blame::Usage);
        assert_eq!(Client::new("two words").unwrap_err().blame(), Blame::Usage);
        // Another server than expected.
        let other = Identity::generate().public_key();
        assert_eq!(blame(nobody_known.server_key(other), "test").await, Blame::ServerKey);
        // A client that is not let in, and a service that is not there.
        assert_eq!(blame(known().identity(Identity::generate()), "test").await, Blame::Denied);
        assert_eq!(blame(known().identity(identity.clone()), "other").await, Blame::Denied);
        served.end().await;
        // A port where nobody listens any more.
        let gone = Client::new("127.0.0.1:1").unwrap().identity(identity);
        assert_eq!(
            blame(gone.server_key(Identity::generate().public_key()), "test").await,
            Blame::Network
        );
    });
}

#[test]
fn a_server_that_nobody_could_use_does_not_start() {
    run(async {
        let bind = async || Server::bind("127.0.0.1:0", "test").await.unwrap();
        let serve = async |server: Server| {
            server.serve(|_| async {}, std::future::pending()).await.unwrap_err().blame()
        };
        assert_eq!(serve(bind().await).await, Blame::Usage);
        assert_eq!(serve(bind().await.identity(Identity::generate())).await, Blame::Usage);
        assert_eq!(Server::bind("127.0.0.1:0", "no name").await.unwrap_err().blame(), Blame::Usage);
    });
}

#[test]
fn a_psk_is_enough_for_both_sides() {
    run(async {
        let psk = Psk::from_bytes(Zeroizing::new(vec![7; 32])).unwrap();
        assert!(Psk::from_bytes(Zeroizing::new(vec![7; 31])).is_err());
        let server = Server::bind("127.0.0.1:0", "test").await.unwrap().psk(psk.clone());
        let address = format!("127.0.0.1:{}", server.port());
        let handle = |channel: Channel| async {
            assert_eq!(channel.peer(), &Peer::Psk);
            // The client says whether it worked.
            let _ = channel.finish().await;
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(server.serve(handle, async { drop(stopped.await) }));
        let channel = Client::new(&address).unwrap().psk(psk).open("test").await.unwrap();
        assert_eq!(channel.peer(), &Peer::Psk);
        channel.finish().await.unwrap();
        drop(stop);
        serving.await.unwrap().unwrap();
    });
}
