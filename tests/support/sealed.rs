//! Sealed sessions over sockets, by the library on both sides.

use std::sync::Arc;
use std::time::Instant;

use tokio::net::TcpStream;
use vpn::net::{
    AcceptContext, DhPool, HandshakeContext, ReplayCache, SealedConnection, SealedIoError, Source,
    accept_sealed, connect_sealed,
};
use vpn_proto::EnabledSuite;
use vpn_proto::sealed::{
    ClientConfig, Decision, Identity, Kex, Limits, PeerIdentity, Ready, ServerConfig,
};
use vpn_suite::{KeySize, Registry};

use super::DEADLINE;

/// AES with 256 bits.
pub(crate) fn aes256_only() -> Arc<[EnabledSuite]> {
    let suite = Registry::linked().unwrap().find("AES").unwrap();
    let sizes = vec![KeySize::from_bits(256).unwrap()];
    vec![EnabledSuite { suite, wire_name: suite.name(), sizes }].into()
}

/// Two sides that know each other and have every key exchange.
pub(crate) fn configs(limits: Limits) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let (ours, theirs) = (Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32]));
    let client = ClientConfig {
        enabled: aes256_only(),
        kex: Kex::ALL.to_vec(),
        identity: Some(ours),
        server_key: Some(theirs.public_key()),
        psk: None,
        limits,
    };
    let server = ServerConfig {
        enabled: aes256_only(),
        kex: Kex::ALL.to_vec(),
        identity: Some(theirs),
        psks: Vec::new(),
        is_gate_required: true,
        limits,
    };
    (Arc::new(client), Arc::new(server))
}

/// What sessions run on.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

pub(crate) async fn connected(
    stream: TcpStream,
    config: Arc<ClientConfig>,
) -> (SealedConnection, Ready) {
    connected_by(Kex::X25519MlKem768, &DhPool::new(1), stream, config).await
}

pub(crate) async fn connected_by(
    kex: Kex,
    pool: &DhPool,
    stream: TcpStream,
    config: Arc<ClientConfig>,
) -> (SealedConnection, Ready) {
    let deadline = Instant::now() + DEADLINE;
    let place = HandshakeContext { pool, source: Source::SELF, deadline };
    let connected =
        connect_sealed::<SealedIoError>(stream, config, kex, place, |_| Ok(()), &|_| {});
    connected.await.unwrap()
}

pub(crate) async fn accepted(stream: TcpStream, config: Arc<ServerConfig>) -> SealedConnection {
    accepted_by(&DhPool::new(1), stream, config).await
}

pub(crate) async fn accepted_by(
    pool: &DhPool,
    stream: TcpStream,
    config: Arc<ServerConfig>,
) -> SealedConnection {
    let replays = ReplayCache::default();
    let deadline = Instant::now() + DEADLINE;
    let place = HandshakeContext { pool, source: Source::SELF, deadline };
    let accept = AcceptContext { replays: &replays, queue_limit: 64, admission: None };
    let decide = async |_: PeerIdentity| Decision::Admit(Ready::default());
    let accepted = accept_sealed(stream, config, place, accept, async |_| {}, decide, &|_| {});
    accepted.await.unwrap().0
}
