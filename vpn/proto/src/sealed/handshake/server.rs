//! The handshake of the server: [`Gated`], [`ServerFlightSent`], then a session.

use std::sync::Arc;

use rand::CryptoRng;
use subtle::Choice;

use super::auth;
use super::identity::{Identity, PeerIdentity};
use super::ready::Ready;
use crate::role::Role;
use crate::sealed::alert::Alert;
use crate::sealed::error::SealedError;
use crate::sealed::hello::{ClientHello, Reject, ServerHello};
use crate::sealed::kex::{Kex, KexKeyPair, KexSecret};
use crate::sealed::psk::Psk;
use crate::sealed::record::{ALERT_PAD, HANDSHAKE_PAD, RecordOpener, RecordSealer, content};
use crate::sealed::schedule::HandshakeSecrets;
use crate::sealed::session::{Keys, Limits, Session};
use crate::sealed::suites::{ranked, suite_name};
use crate::sealed::transcript::Transcript;
use crate::suite::{EnabledSuite, SuiteId};

/// The configuration of a server.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The enabled suites.
    pub enabled: Arc<[EnabledSuite]>,
    /// The enabled key exchanges.
    pub kex: Vec<Kex>,
    /// The identity of this side. A server without an identity needs PSKs.
    pub identity: Option<Identity>,
    /// The PSKs.
    pub psks: Vec<Psk>,
    /// Whether to answer only a ClientHello with a matching gate.
    pub is_gate_required: bool,
    /// The limits of the session.
    pub limits: Limits,
}

/// The decision about an authenticated client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Admit the client.
    Admit(Ready),
    /// Refuse the client. The reason is for the log only.
    Deny(&'static str),
}

/// A failed handshake of a server, and the answer to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason, for the log.
    pub error: SealedError,
    /// The bytes to send before closing. `None` if the server closes without an answer.
    pub answer: Option<Vec<u8>>,
}

impl From<SealedError> for Refusal {
    fn from(error: SealedError) -> Self {
        Self { error, answer: None }
    }
}

/// A ClientHello has passed the gate, and suite and key exchange are chosen. No costly computation
/// was done yet.
#[derive(Debug)]
pub struct Gated {
    config: Arc<ServerConfig>,
    hello: ClientHello,
    knows_us: bool,
    psk: Option<usize>,
    kex: Kex,
    id: SuiteId,
    suite_index: u8,
}

impl Gated {
    /// Handles a complete ClientHello.
    ///
    /// # Errors
    ///
    /// The reason, and the answer to send.
    pub fn on_hello(config: Arc<ServerConfig>, bytes: &[u8]) -> Result<Self, Refusal> {
        Self::on_fresh_hello(config, bytes, |_| true)
    }

    /// Handles a ClientHello as [`Gated::on_hello`] does. If its gate matches, `is_fresh` must say
    /// whether the gate is new. A repeated gate is from a recorded ClientHello, and gets no answer.
    ///
    /// # Errors
    ///
    /// As [`Gated::on_hello`], and [`SealedError::Replayed`] for a repeated gate.
    pub fn on_fresh_hello(
        config: Arc<ServerConfig>,
        bytes: &[u8],
        is_fresh: impl FnOnce(&[u8; 32]) -> bool,
    ) -> Result<Self, Refusal> {
        let hello = ClientHello::parse(bytes)?;
        let key = config.identity.as_ref().map(Identity::public_key);
        let (matches, psk) = hello.check_gate(key.as_ref(), &config.psks);
        if bool::from(matches) && !is_fresh(&hello.gate) {
            return Err(SealedError::Replayed.into());
        }
        // One condition only: with two, the time could show whether an optional gate matches.
        let is_required = Choice::from(u8::from(config.is_gate_required));
        if bool::from(is_required & !matches) {
            return Err(SealedError::Gate.into());
        }
        if psk.is_none() && config.identity.is_none() {
            // The server cannot authenticate itself to this client.
            return Err(SealedError::Authentication("no PSK matches").into());
        }
        // The first key exchange of the client that is enabled here. Its share may be for another
        // one.
        let ours = |name: &String| Kex::from_name(name).filter(|kex| config.kex.contains(kex));
        let first = hello.kex.iter().enumerate().find_map(|(i, name)| Some((i, ours(name)?)));
        let Some((position, kex)) = first else {
            return Err(nothing_in_common(&config, "key exchange", &hello.kex));
        };
        // Our best suite that the client has.
        let suite = ranked(&config.enabled).into_iter().find_map(|id| {
            let name = suite_name(id);
            Some((id, hello.suites.iter().position(|theirs| *theirs == name)?))
        });
        let Some((id, suite_index)) = suite else {
            return Err(nothing_in_common(&config, "cipher suite", &hello.suites));
        };
        if position != usize::from(hello.kex_index) {
            let (kex, suites) = own_names(&config);
            let (theirs, offered) = (hello.kex.join(", "), hello.suites.join(", "));
            let error = SealedError::KexRetry { theirs, suites: offered };
            return Err(Refusal { error, answer: Some(Reject::KexRetry { kex, suites }.encode()) });
        }
        let suite_index = u8::try_from(suite_index).map_err(|_| SealedError::Internal)?;
        let knows_us = bool::from(matches);
        Ok(Self { config, hello, knows_us, psk, kex, id, suite_index })
    }

    /// Whether the gate matches: the client knows our key or a PSK.
    pub fn knows_us(&self) -> bool {
        self.knows_us
    }

    /// The chosen suite.
    pub fn suite(&self) -> SuiteId {
        self.id
    }

    /// The chosen key exchange.
    pub fn kex(&self) -> Kex {
        self.kex
    }

    /// Does the key exchange and authenticates this side. Returns the next state and the bytes to
    /// send.
    ///
    /// # Errors
    ///
    /// If the share of the client cannot be used. Then close without an answer.
    pub fn respond(
        self,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<(ServerFlightSent, Vec<u8>), SealedError> {
        self.respond_with_pair(None, rng)
    }

    /// Responds as [`Gated::respond`] does, with a key pair for [`Gated::kex`] that was made in
    /// advance.
    ///
    /// # Errors
    ///
    /// As [`Gated::respond`].
    pub fn respond_with_pair(
        self,
        pair: Option<KexKeyPair>,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<(ServerFlightSent, Vec<u8>), SealedError> {
        let (share, secret) = match pair {
            Some(pair) => self.kex.respond_with_pair(pair, &self.hello.share, rng)?,
            None => self.kex.respond(&self.hello.share, rng)?,
        };
        let mut random = [0; 32];
        rng.fill_bytes(&mut random);
        self.danger_respond_with(random, &share, &secret)
    }

    /// Responds as [`Gated::respond`] does, with given values. For the replay of recorded sessions.
    ///
    /// # Errors
    ///
    /// As [`Gated::respond`].
    pub fn danger_respond_with(
        self,
        random: [u8; 32],
        share: &[u8],
        secret: &KexSecret,
    ) -> Result<(ServerFlightSent, Vec<u8>), SealedError> {
        let answer = ServerHello::encode(random, self.hello.kex_index, self.suite_index, share);
        let mut transcript = Transcript::default();
        transcript.add(&self.hello.bytes);
        transcript.add(&answer.bytes);
        let psk = self.psk.and_then(|number| self.config.psks.get(number));
        let secrets = HandshakeSecrets::new(psk, secret, &transcript.hash());
        let identity = self.config.identity.as_ref();
        let frame = auth::prove(Role::Server, identity, &secrets.server, &transcript);
        let mut sealer = RecordSealer::new(secrets.server.record_keys(self.id)?);
        let opener = RecordOpener::new(secrets.client.record_keys(self.id)?);
        let mut flight = answer.bytes;
        flight.extend(sealer.seal(content::HANDSHAKE, &frame, HANDSHAKE_PAD)?);
        transcript.add(&frame);
        let (config, id, kex, random) = (self.config, self.id, self.kex, self.hello.random);
        let has_psk = self.psk.is_some();
        let state =
            ServerFlightSent { config, id, kex, has_psk, random, transcript, secrets, opener };
        Ok((state, flight))
    }
}

/// The names of our key exchanges and suites, for a Reject.
fn own_names(config: &ServerConfig) -> (Vec<String>, Vec<String>) {
    let suites = ranked(&config.enabled).into_iter().map(suite_name).collect();
    (config.kex.iter().map(|kex| kex.name().to_owned()).collect(), suites)
}

/// The refusal of a client that has nothing in common with this side.
fn nothing_in_common(config: &ServerConfig, what: &'static str, theirs: &[String]) -> Refusal {
    let (kex, suites) = own_names(config);
    let ours = if what == "cipher suite" { &suites } else { &kex };
    let (theirs, ours) = (theirs.join(", "), ours.join(", "));
    let error = SealedError::NothingInCommon { what, theirs, ours };
    Refusal { error, answer: Some(Reject::NoCommonSuite { kex, suites }.encode()) }
}

/// ServerHello and ServerAuth were sent. The server waits for ClientAuth.
#[derive(Debug)]
pub struct ServerFlightSent {
    config: Arc<ServerConfig>,
    id: SuiteId,
    kex: Kex,
    has_psk: bool,
    random: [u8; 32],
    transcript: Transcript,
    secrets: HandshakeSecrets,
    opener: RecordOpener,
}

impl ServerFlightSent {
    /// The client random and the two traffic secrets of the handshake, client first, for a key log.
    pub fn key_log(&self) -> ([u8; 32], [&[u8; 32]; 2]) {
        (self.random, [self.secrets.client.as_bytes(), self.secrets.server.as_bytes()])
    }

    /// Handles the record of ClientAuth. `decide` admits or refuses the client. Returns the
    /// session, the identity of the client, and the record to send.
    ///
    /// # Errors
    ///
    /// The reason, and the answer to send. The answer is the same for every failed authentication.
    pub fn on_record(
        self,
        record: &[u8],
        decide: impl FnOnce(PeerIdentity) -> Decision,
    ) -> Result<(Session, PeerIdentity, Vec<u8>), Refusal> {
        let proof = self.verify(record)?;
        match proof.client() {
            Some(client) => proof.answer(decide(client)),
            None => proof.answer(Decision::Deny("it has proved nothing")),
        }
    }

    /// Verifies the record of ClientAuth. A wrong proof is refused by [`ClientProof::answer`], because
    /// every refusal has the same answer.
    ///
    /// # Errors
    ///
    /// If the record is no ClientAuth.
    pub fn verify(mut self, record: &[u8]) -> Result<ClientProof, Refusal> {
        let frame = self.opener.open(record)?.into_handshake()?;
        let client = auth::verify(Role::Client, &frame, &self.secrets.client, &self.transcript);
        let client = match client {
            Ok(PeerIdentity::PskOnly) if !self.has_psk => Err("it shows no key"),
            Ok(client) => Ok(client),
            Err(SealedError::Authentication(reason)) => Err(reason),
            Err(error) => return Err(error.into()),
        };
        self.transcript.add(&frame);
        Ok(ClientProof { state: self, client })
    }
}

/// ClientAuth was verified. The server decides about the client.
#[derive(Debug)]
pub struct ClientProof {
    state: ServerFlightSent,
    /// The identity, or why the proof is wrong.
    client: Result<PeerIdentity, &'static str>,
}

impl ClientProof {
    /// The identity that the client has proved, if it has.
    pub fn client(&self) -> Option<PeerIdentity> {
        self.client.ok()
    }

    /// Answers the client. Returns the session, the identity of the client, and the record to send. A
    /// client without a proof is refused in any case.
    ///
    /// # Errors
    ///
    /// The reason, and the answer to send. The answer is the same for every failed authentication.
    pub fn answer(self, decision: Decision) -> Result<(Session, PeerIdentity, Vec<u8>), Refusal> {
        let ServerFlightSent { config, id, kex, transcript, secrets, .. } = self.state;
        let transcript = transcript.hash();
        let keys = Keys::new(id, kex, secrets.into_session(&transcript));
        let mut sealer = RecordSealer::new(keys.secrets.server.record_keys(id)?);
        let verdict = self.client.and_then(|client| match decision {
            Decision::Admit(ready) => Ok((client, ready)),
            Decision::Deny(reason) => Err(reason),
        });
        let (client, ready) = match verdict {
            Ok(admitted) => admitted,
            Err(reason) => {
                let alert = Alert::AccessDenied.encode();
                let answer = sealer.seal(content::ALERT, &alert, ALERT_PAD)?;
                let error = SealedError::Authentication(reason);
                return Err(Refusal { error, answer: Some(answer) });
            }
        };
        let record = sealer.seal(content::HANDSHAKE, &ready.encode(), HANDSHAKE_PAD)?;
        let opener = RecordOpener::new(keys.secrets.client.record_keys(id)?);
        let limits = config.limits;
        let session = Session::new(Role::Server, keys, sealer, opener, limits, transcript);
        Ok((session, client, record))
    }
}
