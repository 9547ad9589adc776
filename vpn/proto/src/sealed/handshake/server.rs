//! The server's side: Gated, ServerFlightSent, then a session.

use std::sync::Arc;

use rand::CryptoRng;
use subtle::Choice;

use super::super::super::negotiate::{EnabledSuite, SuiteId};
use super::super::alert::Alert;
use super::super::error::SealedError;
use super::super::hello::{ClientHello, Reject, ServerHello, ranked, suite_name};
use super::super::kex::{Kex, KexKeyPair, KexSecret};
use super::super::record::{RecordOpener, RecordSealer, content};
use super::super::schedule::{HandshakeSecrets, Psk};
use super::super::session::{Keys, Limits, Session};
use super::super::transcript::Transcript;
use super::super::wire::{frame, framed, put_long};
use super::auth::{self, Side};
use super::{ALERT_PAD, HANDSHAKE_PAD, Identity, PeerIdentity, Ready};

/// What a server needs to know.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The suites enabled.
    pub enabled: Arc<[EnabledSuite]>,
    /// The key exchanges enabled.
    pub kex: Vec<Kex>,
    /// Who we are; a server without an identity needs PSKs.
    pub identity: Option<Identity>,
    /// The PSKs.
    pub psks: Vec<Psk>,
    /// Whether to keep silent unless the gate of a ClientHello matches.
    pub is_gate_required: bool,
    /// Limits of the session.
    pub limits: Limits,
}

/// What a server decides about a client that has proved who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Let it in.
    Admit(Ready),
    /// Turn it away, for a reason that goes to our log alone.
    Deny(&'static str),
}

/// A handshake that ends on the server's side, and what the client hears of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why, for our log.
    pub error: SealedError,
    /// What to send before closing; `None` closes in silence.
    pub answer: Option<Vec<u8>>,
}

impl From<SealedError> for Refusal {
    fn from(error: SealedError) -> Self {
        Self { error, answer: None }
    }
}

/// A ClientHello has passed the gate, and there is something in common. Nothing costly was done.
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
    /// Takes a whole ClientHello.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and what to answer.
    pub fn on_hello(config: Arc<ServerConfig>, bytes: &[u8]) -> Result<Self, Refusal> {
        Self::on_fresh_hello(config, bytes, |_| true)
    }

    /// As [`Gated::on_hello`], and asks `is_fresh` about a gate value that matches: one that came
    /// before was recorded by somebody, who is to learn nothing from repeating it.
    ///
    /// # Errors
    ///
    /// As [`Gated::on_hello`]; [`SealedError::Replayed`] for a gate value that is not fresh.
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
        // One condition: a compiler would test first whether it matches, also where that is optional.
        let is_required = Choice::from(u8::from(config.is_gate_required));
        if bool::from(is_required & !matches) {
            return Err(SealedError::Gate.into());
        }
        if psk.is_none() && config.identity.is_none() {
            // There is nothing to show to this client.
            return Err(SealedError::Authentication("no PSK matches").into());
        }
        // The first of the client's list that we have, whatever its share is for.
        let ours = |name: &String| Kex::from_name(name).filter(|kex| config.kex.contains(kex));
        let first = hello.kex.iter().enumerate().find_map(|(i, name)| Some((i, ours(name)?)));
        let Some((position, kex)) = first else {
            return Err(nothing_in_common(&config, "key exchange", &hello.kex));
        };
        // The best of ours that the client has.
        let suite = ranked(&config.enabled).into_iter().find_map(|id| {
            let name = suite_name(id);
            Some((id, hello.suites.iter().position(|theirs| *theirs == name)?))
        });
        let Some((id, suite_index)) = suite else {
            return Err(nothing_in_common(&config, "cipher suite", &hello.suites));
        };
        if position != usize::from(hello.kex_index) {
            let (kex, suites) = lists(&config);
            let (theirs, offered) = (hello.kex.join(", "), hello.suites.join(", "));
            let error = SealedError::KexRetry { theirs, suites: offered };
            return Err(Refusal { error, answer: Some(Reject::KexRetry { kex, suites }.encode()) });
        }
        let suite_index = u8::try_from(suite_index).map_err(|_| SealedError::Internal)?;
        let knows_us = bool::from(matches);
        Ok(Self { config, hello, knows_us, psk, kex, id, suite_index })
    }

    /// Whether the gate matches: the client knows our key, or a PSK.
    pub fn knows_us(&self) -> bool {
        self.knows_us
    }

    /// The suite chosen.
    pub fn suite(&self) -> SuiteId {
        self.id
    }

    /// The key exchange chosen.
    pub fn kex(&self) -> Kex {
        self.kex
    }

    /// Does the exchange and shows who we are: the next state, and the bytes to send.
    ///
    /// # Errors
    ///
    /// If the client's share cannot be used; then close in silence.
    pub fn respond(
        self,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<(ServerFlightSent, Vec<u8>), SealedError> {
        self.respond_with_pair(None, rng)
    }

    /// As [`Gated::respond`], with a key pair made in advance if there is one for [`Gated::kex`].
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

    /// As [`Gated::respond`] with given values: for replaying recorded sessions.
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
        let frame = auth::prove(Side::Server, identity, &secrets.server, &transcript);
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

/// Our key exchanges and suites, as a Reject lists them.
fn lists(config: &ServerConfig) -> (Vec<String>, Vec<String>) {
    let suites = ranked(&config.enabled).into_iter().map(suite_name).collect();
    (config.kex.iter().map(|kex| kex.name().to_owned()).collect(), suites)
}

fn nothing_in_common(config: &ServerConfig, what: &'static str, theirs: &[String]) -> Refusal {
    let (kex, suites) = lists(config);
    let ours = if what == "cipher suite" { &suites } else { &kex };
    let (theirs, ours) = (theirs.join(", "), ours.join(", "));
    let error = SealedError::NothingInCommon { what, theirs, ours };
    Refusal { error, answer: Some(Reject::NoCommonSuite { kex, suites }.encode()) }
}

/// ServerHello and ServerAuth were sent; the client's proof is to come.
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
    /// The client's random value and the secrets of the handshake, the client's first, for a key
    /// log.
    pub fn key_log(&self) -> ([u8; 32], [&[u8; 32]; 2]) {
        (self.random, [self.secrets.client.as_bytes(), self.secrets.server.as_bytes()])
    }

    /// Takes the client's record and asks `decide` about the client: the session, who it is with,
    /// and the record to send.
    ///
    /// # Errors
    ///
    /// What failed, and the one alert that every failed authentication is answered with.
    pub fn on_record(
        mut self,
        record: &[u8],
        decide: impl FnOnce(PeerIdentity) -> Decision,
    ) -> Result<(Session, PeerIdentity, Vec<u8>), Refusal> {
        let opened = self.opener.open(record)?;
        match opened.content {
            content::HANDSHAKE => {}
            content::ALERT => {
                let alert = Alert::decode(&opened.payload);
                let error = alert.map_or(SealedError::Malformed("alert"), SealedError::Alert);
                return Err(error.into());
            }
            got => {
                return Err(SealedError::Unexpected { expected: content::HANDSHAKE, got }.into());
            }
        }
        let frame = opened.payload;
        let client = auth::verify(Side::Client, &frame, &self.secrets.client, &self.transcript);
        let verdict = match client {
            Ok(PeerIdentity::PskOnly) if !self.has_psk => Err("it shows no key"),
            Ok(client) => match decide(client) {
                Decision::Admit(ready) => Ok((client, ready)),
                Decision::Deny(reason) => Err(reason),
            },
            Err(SealedError::Authentication(reason)) => Err(reason),
            Err(error) => return Err(error.into()),
        };
        self.transcript.add(&frame);
        let transcript = self.transcript.hash();
        let keys = Keys::new(self.id, self.kex, self.secrets.into_session(&transcript));
        let mut sealer = RecordSealer::new(keys.secrets.server.record_keys(self.id)?);
        let (client, ready) = match verdict {
            Ok(admitted) => admitted,
            Err(reason) => {
                let alert = Alert::AccessDenied.encode();
                let answer = sealer.seal(content::ALERT, &alert, ALERT_PAD)?;
                let error = SealedError::Authentication(reason);
                return Err(Refusal { error, answer: Some(answer) });
            }
        };
        let ready = framed(frame::READY, &encode_ready(&ready));
        let record = sealer.seal(content::HANDSHAKE, &ready, HANDSHAKE_PAD)?;
        let session = Session::server(keys, sealer, self.config.limits, transcript)?;
        Ok((session, client, record))
    }
}

fn encode_ready(ready: &Ready) -> Vec<u8> {
    let mut body = vec![0];
    let mut field = |kind: u16, data: &[u8]| {
        body.extend_from_slice(&kind.to_be_bytes());
        put_long(&mut body, data);
    };
    if let Some(seconds) = ready.keepalive {
        field(1, &seconds.to_be_bytes());
    }
    if let Some(bytes) = ready.largest_message {
        field(2, &bytes.to_be_bytes());
    }
    if let Some(services) = &ready.services {
        field(3, services.as_bytes());
    }
    body
}
