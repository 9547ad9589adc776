//! The client's side: HelloSent, AwaitServerAuth, ServerVerified, AuthSent, then a session.

use std::sync::Arc;

use rand::CryptoRng;

use super::super::super::negotiate::{EnabledSuite, SuiteId};
use super::super::alert::Alert;
use super::super::error::SealedError;
use super::super::hello::{ClientHello, GateKey, Reject, ServerFirst, ranked, suite_name};
use super::super::kex::{Kex, KexKeyPair};
use super::super::record::{RecordOpener, RecordSealer, content};
use super::super::schedule::{HandshakeSecrets, Psk};
use super::super::session::{Keys, Limits, Session};
use super::super::transcript::Transcript;
use super::super::wire::{Reader, frame, read_fields, unframed};
use super::auth::{self, Side};
use super::{ALERT_PAD, HANDSHAKE_PAD, Identity, PeerIdentity, Ready};

/// What a client needs to know.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The suites enabled.
    pub enabled: Arc<[EnabledSuite]>,
    /// The key exchanges enabled, best first.
    pub kex: Vec<Kex>,
    /// Who we are.
    pub identity: Option<Identity>,
    /// The server's public key, if it is known.
    pub server_key: Option<[u8; 32]>,
    /// The key that both sides were given.
    pub psk: Option<Psk>,
    /// Limits of the session.
    pub limits: Limits,
}

/// A ClientHello was sent.
#[derive(Debug)]
pub struct HelloSent {
    config: Arc<ClientConfig>,
    pair: KexKeyPair,
    /// What the names of our list mean here.
    suites: Vec<Option<SuiteId>>,
    hello: ClientHello,
}

impl HelloSent {
    /// Starts with a share for `kex`: the state, and the ClientHello to send.
    ///
    /// # Errors
    ///
    /// If `kex` is not one of the configuration's.
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
            (None, None) => GateKey::Nothing,
        };
        let share = (kex, pair.share());
        let hello = ClientHello::encode(&config.kex, &suites, share, &gate, rng)?;
        let bytes = hello.bytes.clone();
        let suites = suites.into_iter().map(Some).collect();
        Ok((Self { config, pair, suites, hello }, bytes))
    }

    /// Takes up a ClientHello that was sent, for replaying recorded sessions.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn danger_replay(
        config: Arc<ClientConfig>,
        pair: KexKeyPair,
        hello: &[u8],
    ) -> Result<Self, SealedError> {
        let hello = ClientHello::parse(hello)?;
        let known = ranked(&config.enabled);
        // In the order of the recorded list, by which the answer counts.
        let find = |name: &String| known.iter().copied().find(|id| suite_name(*id) == *name);
        let suites = hello.suites.iter().map(find).collect();
        Ok(Self { config, pair, suites, hello })
    }

    /// Takes the server's first message.
    ///
    /// # Errors
    ///
    /// [`SealedError::KexRetry`] if another connection with another share may succeed.
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

/// The server's share is there; what follows is encrypted.
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

    /// Our random value and the secrets of the handshake, the client's first, for a key log.
    pub fn key_log(&self) -> ([u8; 32], [&[u8; 32]; 2]) {
        (self.random, [self.secrets.client.as_bytes(), self.secrets.server.as_bytes()])
    }

    /// Takes the server's record.
    ///
    /// # Errors
    ///
    /// If the server is not who it says it is, or not the one expected.
    pub fn on_record(mut self, record: &[u8]) -> Result<ServerVerified, SealedError> {
        let has_psk = self.config.psk.is_some();
        // Keys that do not agree are most often a PSK that the server has not.
        let not_accepted = |error| match error {
            SealedError::BadRecord | SealedError::Authentication(_) if has_psk => {
                SealedError::PskNotAccepted
            }
            error => error,
        };
        let opened = self.opener.open(record).map_err(not_accepted)?;
        if opened.content != content::HANDSHAKE {
            let (expected, got) = (content::HANDSHAKE, opened.content);
            return Err(SealedError::Unexpected { expected, got });
        }
        let frame = opened.payload;
        let server = auth::verify(Side::Server, &frame, &self.secrets.server, &self.transcript);
        let server = server.map_err(not_accepted)?;
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

/// The server has proved who it is; whether that is who we want is the caller's to say.
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
    /// Who the server is.
    pub fn server(&self) -> PeerIdentity {
        self.server
    }

    /// Shows who we are: the next state, and the record to send.
    ///
    /// # Errors
    ///
    /// If a suite refuses a derived key.
    pub fn accept(mut self) -> Result<(AuthSent, Vec<u8>), SealedError> {
        let identity = self.config.identity.as_ref();
        let frame = auth::prove(Side::Client, identity, &self.secrets.client, &self.transcript);
        let record = self.sealer.seal(content::HANDSHAKE, &frame, HANDSHAKE_PAD)?;
        self.transcript.add(&frame);
        let transcript = self.transcript.hash();
        let keys = Keys::new(self.id, self.kex, self.secrets.into_session(&transcript));
        let opener = RecordOpener::new(keys.secrets.server.record_keys(self.id)?);
        let limits = self.config.limits;
        Ok((AuthSent { keys, opener, limits, transcript }, record))
    }

    /// Turns away: the alert to send.
    ///
    /// # Errors
    ///
    /// If sealing fails.
    pub fn refuse(mut self, alert: Alert) -> Result<Vec<u8>, SealedError> {
        self.sealer.seal(content::ALERT, &alert.encode(), ALERT_PAD)
    }
}

/// Our proof was sent; the server's Ready or refusal is to come.
#[derive(Debug)]
pub struct AuthSent {
    keys: Keys,
    opener: RecordOpener,
    limits: Limits,
    transcript: [u8; 32],
}

impl AuthSent {
    /// The secrets of the session for a key log, the client's first.
    pub fn key_log(&self) -> [&[u8; 32]; 2] {
        [self.keys.secrets.client.as_bytes(), self.keys.secrets.server.as_bytes()]
    }

    /// The hash of the whole handshake.
    pub fn transcript(&self) -> [u8; 32] {
        self.transcript
    }

    /// Takes the server's record: the session.
    ///
    /// # Errors
    ///
    /// [`SealedError::Alert`] if the server turns us away.
    pub fn on_record(mut self, record: &[u8]) -> Result<(Session, Ready), SealedError> {
        let opened = self.opener.open(record)?;
        match opened.content {
            content::HANDSHAKE => {}
            content::ALERT => {
                let alert = Alert::decode(&opened.payload);
                return Err(alert.map_or(SealedError::Malformed("alert"), SealedError::Alert));
            }
            got => return Err(SealedError::Unexpected { expected: content::HANDSHAKE, got }),
        }
        let ready = parse_ready(unframed(frame::READY, &opened.payload)?)?;
        let session = Session::client(self.keys, self.opener, self.limits, self.transcript)?;
        Ok((session, ready))
    }
}

fn parse_ready(body: &[u8]) -> Result<Ready, SealedError> {
    let number = |data: &[u8]| {
        let mut reader = Reader::new(data);
        let number = reader.u32()?;
        reader.finish()?;
        Ok::<_, SealedError>(number)
    };
    let mut reader = Reader::new(body);
    if reader.u8()? != 0 {
        return Err(SealedError::Malformed("status of Ready"));
    }
    let mut ready = Ready::default();
    for (kind, data) in read_fields(reader.rest())? {
        match kind {
            1 => ready.keepalive = Some(number(data)?),
            2 => ready.largest_message = Some(number(data)?),
            3 => {
                let text = str::from_utf8(data).map_err(|_| SealedError::Malformed("services"))?;
                ready.services = Some(text.to_owned());
            }
            _ => {}
        }
    }
    Ok(ready)
}
