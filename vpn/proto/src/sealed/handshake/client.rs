//! The handshake of the client: [`HelloSent`], [`AwaitServerAuth`], [`ServerVerified`],
//! [`AuthSent`], then a session.

use std::sync::Arc;

use rand::CryptoRng;

use super::auth;
use super::identity::{Identity, PeerIdentity};
use super::ready::Ready;
use crate::role::Role;
use crate::sealed::alert::Alert;
use crate::sealed::error::SealedError;
use crate::sealed::hello::{ClientHello, GateKey, Reject, ServerFirst};
use crate::sealed::kex::{Kex, KexKeyPair};
use crate::sealed::psk::Psk;
use crate::sealed::record::{ALERT_PAD, HANDSHAKE_PAD, RecordOpener, RecordSealer, content};
use crate::sealed::schedule::HandshakeSecrets;
use crate::sealed::session::{Keys, Limits, Session};
use crate::sealed::suites::{ranked, suite_name};
use crate::sealed::transcript::Transcript;
use crate::suite::{EnabledSuite, SuiteId};

/// The configuration of a client.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The enabled suites.
    pub enabled: Arc<[EnabledSuite]>,
    /// The enabled key exchanges, best first.
    pub kex: Vec<Kex>,
    /// The identity of this side, if it has one.
    pub identity: Option<Identity>,
    /// The public key of the server, if it is known.
    pub server_key: Option<[u8; 32]>,
    /// The PSK, if there is one.
    pub psk: Option<Psk>,
    /// The limits of the session.
    pub limits: Limits,
}

/// The ClientHello was sent. The client waits for the first message of the server.
#[derive(Debug)]
pub struct HelloSent {
    config: Arc<ClientConfig>,
    pair: KexKeyPair,
    /// The suites of our list, in its order. `None` for a name that is not enabled.
    suites: Vec<Option<SuiteId>>,
    hello: ClientHello,
}

impl HelloSent {
    /// Starts a handshake with a share for `kex`. Returns the state and the ClientHello to send.
    ///
    /// # Errors
    ///
    /// If `kex` is not in the configuration.
    pub fn start(
        config: Arc<ClientConfig>,
        kex: Kex,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<(Self, Vec<u8>), SealedError> {
        let pair = KexKeyPair::generate(kex, rng);
        let suites = ranked(&config.enabled);
        let gate = match (&config.psk, &config.server_key) {
            (Some(psk), _) => GateKey::Psk(psk),
            (None, Some(key)) => GateKey::ServerKey(key),
            (None, None) => GateKey::Unknown,
        };
        let share = (kex, pair.share());
        let hello = ClientHello::encode(&config.kex, &suites, share, &gate, rng)?;
        let bytes = hello.bytes.clone();
        let suites = suites.into_iter().map(Some).collect();
        Ok((Self { config, pair, suites, hello }, bytes))
    }

    /// Continues after a ClientHello that was sent before. For the replay of recorded sessions.
    ///
    /// # Errors
    ///
    /// If the ClientHello has the wrong form.
    pub fn danger_replay(
        config: Arc<ClientConfig>,
        pair: KexKeyPair,
        hello: &[u8],
    ) -> Result<Self, SealedError> {
        let hello = ClientHello::parse(hello)?;
        let known = ranked(&config.enabled);
        // The answer has an index into the recorded list, so its order counts.
        let find = |name: &String| known.iter().copied().find(|id| suite_name(*id) == *name);
        let suites = hello.suites.iter().map(find).collect();
        Ok(Self { config, pair, suites, hello })
    }

    /// Handles the first message of the server: a ServerHello or a Reject.
    ///
    /// # Errors
    ///
    /// [`SealedError::KexRetry`] if a new connection with a share for another key exchange may
    /// succeed.
    pub fn on_first(self, bytes: &[u8]) -> Result<AwaitServerAuth, SealedError> {
        let server = match ServerFirst::parse(bytes)? {
            ServerFirst::Hello(server) => server,
            ServerFirst::Reject(reject) => return Err(self.rejected(reject)),
        };
        if server.kex_index != self.hello.kex_index {
            return Err(SealedError::Malformed("the key exchange is not that of our share"));
        }
        let id = self.suites.get(usize::from(server.suite_index)).copied().flatten();
        let id = id.ok_or(SealedError::Malformed("index of the suite"))?;
        let mut transcript = Transcript::default();
        transcript.add(&self.hello.bytes);
        transcript.add(&server.bytes);
        let kex = self.pair.kex();
        let exchanged = self.pair.finish(&server.share)?;
        let psk = self.config.psk.as_ref();
        let secrets = HandshakeSecrets::new(psk, &exchanged, &transcript.hash());
        let opener = RecordOpener::new(secrets.server.record_keys(id)?);
        let (config, random) = (self.config, self.hello.random);
        Ok(AwaitServerAuth { config, id, kex, random, transcript, secrets, opener })
    }

    /// The error for a Reject.
    fn rejected(&self, reject: Reject) -> SealedError {
        match reject {
            Reject::Busy => SealedError::Busy,
            Reject::KexRetry { kex, suites } => {
                SealedError::KexRetry { theirs: kex.join(", "), suites: suites.join(", ") }
            }
            Reject::NoCommonSuite { kex, suites } => {
                let has_kex = kex.iter().any(|name| self.hello.kex.contains(name));
                let (what, theirs, ours) = if has_kex {
                    ("cipher suite", suites, &self.hello.suites)
                } else {
                    ("key exchange", kex, &self.hello.kex)
                };
                let (theirs, ours) = (theirs.join(", "), ours.join(", "));
                SealedError::NothingInCommon { what, theirs, ours }
            }
        }
    }
}

/// The ServerHello was received. The client waits for ServerAuth, the first encrypted message.
#[derive(Debug)]
pub struct AwaitServerAuth {
    config: Arc<ClientConfig>,
    id: SuiteId,
    kex: Kex,
    random: [u8; 32],
    transcript: Transcript,
    secrets: HandshakeSecrets,
    opener: RecordOpener,
}

impl AwaitServerAuth {
    /// The suite that the server chose.
    pub fn suite(&self) -> SuiteId {
        self.id
    }

    /// The client random and the two traffic secrets of the handshake, client first, for a key log.
    pub fn key_log(&self) -> ([u8; 32], [&[u8; 32]; 2]) {
        (self.random, [self.secrets.client.as_bytes(), self.secrets.server.as_bytes()])
    }

    /// Handles the record of ServerAuth.
    ///
    /// # Errors
    ///
    /// If the server is not authenticated, or is not the expected one.
    pub fn on_record(mut self, record: &[u8]) -> Result<ServerVerified, SealedError> {
        let has_psk = self.config.psk.is_some();
        // If the two sides have different keys, the server most likely does not have the PSK.
        let psk_error = |error| match error {
            SealedError::BadRecord | SealedError::Authentication(_) if has_psk => {
                SealedError::PskNotAccepted
            }
            error => error,
        };
        let opened = self.opener.open(record).map_err(psk_error)?;
        if opened.content != content::HANDSHAKE {
            let (expected, got) = (content::HANDSHAKE, opened.content);
            return Err(SealedError::Unexpected { expected, got });
        }
        let frame = opened.payload;
        let server = auth::verify(Role::Server, &frame, &self.secrets.server, &self.transcript);
        let server = server.map_err(psk_error)?;
        match (server, &self.config.server_key) {
            (PeerIdentity::Key(key), Some(expected)) if key != *expected => {
                return Err(SealedError::ServerKey { got: key });
            }
            (PeerIdentity::PskOnly, known) if known.is_some() || !has_psk => {
                return Err(SealedError::Authentication("the server shows no key"));
            }
            _ => {}
        }
        self.transcript.add(&frame);
        let sealer = RecordSealer::new(self.secrets.client.record_keys(self.id)?);
        let Self { config, id, kex, transcript, secrets, .. } = self;
        Ok(ServerVerified { config, id, kex, transcript, secrets, sealer, server })
    }
}

/// The server is authenticated. The caller decides whether to accept this server.
#[derive(Debug)]
pub struct ServerVerified {
    config: Arc<ClientConfig>,
    id: SuiteId,
    kex: Kex,
    transcript: Transcript,
    secrets: HandshakeSecrets,
    sealer: RecordSealer,
    server: PeerIdentity,
}

impl ServerVerified {
    /// The identity of the server.
    pub fn server(&self) -> PeerIdentity {
        self.server
    }

    /// Accepts the server and authenticates this side. Returns the next state and the record to
    /// send.
    ///
    /// # Errors
    ///
    /// If a suite refuses a derived key.
    pub fn accept(mut self) -> Result<(AuthSent, Vec<u8>), SealedError> {
        let identity = self.config.identity.as_ref();
        let frame = auth::prove(Role::Client, identity, &self.secrets.client, &self.transcript);
        let record = self.sealer.seal(content::HANDSHAKE, &frame, HANDSHAKE_PAD)?;
        self.transcript.add(&frame);
        let transcript = self.transcript.hash();
        let keys = Keys::new(self.id, self.kex, self.secrets.into_session(&transcript));
        let opener = RecordOpener::new(keys.secrets.server.record_keys(self.id)?);
        let limits = self.config.limits;
        Ok((AuthSent { keys, opener, limits, transcript }, record))
    }

    /// Refuses the server. Returns the record of the alert to send.
    ///
    /// # Errors
    ///
    /// If the suite fails.
    pub fn refuse(mut self, alert: Alert) -> Result<Vec<u8>, SealedError> {
        self.sealer.seal(content::ALERT, &alert.encode(), ALERT_PAD)
    }
}

/// ClientAuth was sent. The client waits for Ready or an alert.
#[derive(Debug)]
pub struct AuthSent {
    keys: Keys,
    opener: RecordOpener,
    limits: Limits,
    transcript: [u8; 32],
}

impl AuthSent {
    /// The two traffic secrets of the session, client first, for a key log.
    pub fn key_log(&self) -> [&[u8; 32]; 2] {
        [self.keys.secrets.client.as_bytes(), self.keys.secrets.server.as_bytes()]
    }

    /// The hash of all handshake messages.
    pub fn transcript(&self) -> [u8; 32] {
        self.transcript
    }

    /// Handles the record of Ready. Returns the session and the content of Ready.
    ///
    /// # Errors
    ///
    /// [`SealedError::Alert`] if the server refuses this client.
    pub fn on_record(mut self, record: &[u8]) -> Result<(Session, Ready), SealedError> {
        let ready = Ready::parse(&self.opener.open(record)?.into_handshake()?)?;
        let Self { keys, opener, limits, transcript } = self;
        let sealer = RecordSealer::new(keys.secrets.client.record_keys(keys.id)?);
        let session = Session::new(Role::Client, keys, sealer, opener, limits, transcript);
        Ok((session, ready))
    }
}
