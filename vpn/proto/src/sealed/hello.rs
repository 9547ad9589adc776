//! ClientHello, ServerHello and Reject (PROTOCOL.md §4.2).

use hmac::{Hmac, KeyInit, Mac};
use rand::CryptoRng;
use sha2::Sha256;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::super::negotiate::{EnabledSuite, SuiteId};
use super::error::SealedError;
use super::kex::Kex;
use super::schedule::{Psk, gate_key};
use super::wire::{FRAME_HEADER, PREFACE, Reader, frame, put_long, put_short, read_fields};

const MAX_KEX: usize = 8;
const MAX_SUITES: usize = 32;
const MAX_NAME: usize = 32;
const GATE: usize = 32;
/// A random extension of this kind keeps servers used to what they do not know.
const GREASE: u16 = 0x0a0a;
/// What separates one grease type from the next: 0A0Ah, 1A1Ah, … FAFAh.
const GREASE_STEP: u16 = 0x1010;

/// The name of a suite with a key size on the wire: `aes-256-cbc`.
pub fn suite_name(id: SuiteId) -> String {
    format!("{}-{}-cbc", id.suite.name().to_ascii_lowercase(), id.size.bits())
}

/// All suites enabled, in the order of preference: longest key first, but 64-bit blocks below all
/// others; among equals the order of the configuration.
pub(super) fn ranked(enabled: &[EnabledSuite]) -> Vec<SuiteId> {
    let mut ids: Vec<SuiteId> = enabled
        .iter()
        .flat_map(|e| e.sizes.iter().map(|&size| SuiteId { suite: e.suite, size }))
        .collect();
    ids.sort_by_key(|id| (id.suite.block_size() <= 8, std::cmp::Reverse(id.size)));
    ids
}

/// A client's first message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHello {
    /// The whole message, preface included.
    pub bytes: Vec<u8>,
    /// Its random value, by which key logs know a session.
    pub random: [u8; 32],
    /// Key exchanges by name, in the client's order.
    pub kex: Vec<String>,
    /// Suites by name.
    pub suites: Vec<String>,
    /// Which of the key exchanges the share is for.
    pub kex_index: u8,
    /// The share.
    pub share: Vec<u8>,
    /// The gate at its end.
    pub gate: [u8; GATE],
}

/// What keys the gate of a ClientHello.
#[derive(Clone, Debug)]
pub(super) enum GateKey<'a> {
    Psk(&'a Psk),
    ServerKey(&'a [u8; 32]),
    /// First contact: random bytes.
    Nothing,
}

impl ClientHello {
    pub(super) fn encode(
        kex: &[Kex],
        suites: &[SuiteId],
        pair: (Kex, &[u8]),
        gate: &GateKey<'_>,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Self, SealedError> {
        let mut random = [0; 32];
        rng.fill_bytes(&mut random);
        let index = kex.iter().position(|k| *k == pair.0).ok_or(SealedError::Internal)?;
        let kex_index = u8::try_from(index).map_err(|_| SealedError::Internal)?;
        let kex: Vec<String> = kex.iter().map(|k| k.name().to_owned()).collect();
        let suites: Vec<String> =
            suites.iter().take(MAX_SUITES).map(|id| suite_name(*id)).collect();
        let mut body = random.to_vec();
        put_names(&mut body, &kex);
        put_names(&mut body, &suites);
        body.push(kex_index);
        put_long(&mut body, pair.1);
        let mut grease = [0; 2];
        rng.fill_bytes(&mut grease);
        let mut filling = vec![0; usize::from(grease[1] % 17)];
        rng.fill_bytes(&mut filling);
        let kind = GREASE + GREASE_STEP * u16::from(grease[0] % 16);
        let mut extensions = kind.to_be_bytes().to_vec();
        put_long(&mut extensions, &filling);
        put_long(&mut body, &extensions);
        let mut bytes = with_preface(frame::CLIENT_HELLO, &body, GATE);
        let gate = match gate {
            GateKey::Psk(psk) => gate_tag(psk.as_bytes(), "psk", &bytes),
            GateKey::ServerKey(key) => gate_tag(key.as_slice(), "pub", &bytes),
            GateKey::Nothing => {
                let mut random = [0; GATE];
                rng.fill_bytes(&mut random);
                random
            }
        };
        bytes.extend_from_slice(&gate);
        Ok(Self { bytes, random, kex, suites, kex_index, share: pair.1.to_vec(), gate })
    }

    /// Reads a whole message, preface included.
    ///
    /// # Errors
    ///
    /// If it is not to the letter of the specification.
    pub fn parse(bytes: &[u8]) -> Result<Self, SealedError> {
        let body = body_of(frame::CLIENT_HELLO, bytes)?;
        let (fields, gate) =
            body.split_last_chunk::<GATE>().ok_or(SealedError::Malformed("no gate"))?;
        let mut reader = Reader::new(fields);
        let random = reader.array()?;
        let kex = read_names(&mut reader, MAX_KEX)?;
        let suites = read_names(&mut reader, MAX_SUITES)?;
        let kex_index = reader.u8()?;
        if usize::from(kex_index) >= kex.len() {
            return Err(SealedError::Malformed("index of the key exchange"));
        }
        let share = reader.long()?.to_vec();
        read_fields(reader.long()?)?;
        reader.finish()?;
        let bytes = bytes.to_vec();
        Ok(Self { bytes, random, kex, suites, kex_index, share, gate: *gate })
    }

    /// Compares the gate with that of our key and of every PSK, all of them, in constant time.
    ///
    /// Whether one matches, and the PSK that does, if it is one.
    pub(super) fn check_gate(
        &self,
        key: Option<&[u8; 32]>,
        psks: &[Psk],
    ) -> (Choice, Option<usize>) {
        let signed = &self.bytes[..self.bytes.len() - GATE];
        let mut matches = Choice::from(0);
        let mut selected = 0u32;
        if let Some(key) = key {
            matches |= gate_tag(key, "pub", signed).ct_eq(&self.gate);
        }
        for (number, psk) in (1u32..).zip(psks) {
            let fits = gate_tag(psk.as_bytes(), "psk", signed).ct_eq(&self.gate);
            selected.conditional_assign(&number, fits);
            matches |= fits;
        }
        (matches, (selected as usize).checked_sub(1))
    }
}

/// `gate = HMAC-SHA256(gate_key, all preceding bytes)`.
fn gate_tag(ikm: &[u8], info: &str, bytes: &[u8]) -> [u8; GATE] {
    let key = gate_key(ikm, info);
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_slice()).expect("HMAC takes any key");
    mac.update(bytes);
    mac.finalize().into_bytes().into()
}

/// A server's first message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerHello {
    /// The whole message, preface included.
    pub bytes: Vec<u8>,
    /// Its random value.
    pub random: [u8; 32],
    /// The index of the key exchange in the client's list.
    pub kex_index: u8,
    /// The index of the suite in the client's list.
    pub suite_index: u8,
    /// The share.
    pub share: Vec<u8>,
}

impl ServerHello {
    pub(super) fn encode(random: [u8; 32], kex_index: u8, suite_index: u8, share: &[u8]) -> Self {
        let mut body = random.to_vec();
        body.extend_from_slice(&[kex_index, suite_index]);
        put_long(&mut body, share);
        put_long(&mut body, &[]);
        let bytes = with_preface(frame::SERVER_HELLO, &body, 0);
        Self { bytes, random, kex_index, suite_index, share: share.to_vec() }
    }

    fn parse(bytes: &[u8], body: &[u8]) -> Result<Self, SealedError> {
        let mut reader = Reader::new(body);
        let random = reader.array()?;
        let (kex_index, suite_index) = (reader.u8()?, reader.u8()?);
        let share = reader.long()?.to_vec();
        read_fields(reader.long()?)?;
        reader.finish()?;
        Ok(Self { bytes: bytes.to_vec(), random, kex_index, suite_index, share })
    }
}

/// Why a server does not answer with a ServerHello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reject {
    /// No suite or no key exchange in common.
    NoCommonSuite {
        /// The server's key exchanges.
        kex: Vec<String>,
        /// The server's suites.
        suites: Vec<String>,
    },
    /// The share was for another key exchange than the one the server takes.
    KexRetry {
        /// The server's key exchanges.
        kex: Vec<String>,
        /// The server's suites.
        suites: Vec<String>,
    },
    /// The server has no room.
    Busy,
}

impl Reject {
    /// The whole message, preface included.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        let (code, lists) = match self {
            Self::NoCommonSuite { kex, suites } => (1, Some((kex, suites))),
            Self::KexRetry { kex, suites } => (2, Some((kex, suites))),
            Self::Busy => (3, None),
        };
        body.push(code);
        if let Some((kex, suites)) = lists {
            put_names(&mut body, kex);
            put_names(&mut body, suites);
        }
        with_preface(frame::REJECT, &body, 0)
    }

    fn parse(body: &[u8]) -> Result<Self, SealedError> {
        let mut reader = Reader::new(body);
        let reject = match reader.u8()? {
            code @ (1 | 2) => {
                let kex = read_names(&mut reader, MAX_KEX)?;
                let suites = read_names(&mut reader, MAX_SUITES)?;
                match code {
                    1 => Self::NoCommonSuite { kex, suites },
                    _ => Self::KexRetry { kex, suites },
                }
            }
            3 => Self::Busy,
            _ => return Err(SealedError::Malformed("code of a Reject")),
        };
        reader.finish()?;
        Ok(reject)
    }
}

/// What a server's first message is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ServerFirst {
    Hello(ServerHello),
    Reject(Reject),
}

impl ServerFirst {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, SealedError> {
        match bytes.get(PREFACE.len()) {
            Some(&frame::REJECT) => {
                Ok(Self::Reject(Reject::parse(body_of(frame::REJECT, bytes)?)?))
            }
            _ => {
                let body = body_of(frame::SERVER_HELLO, bytes)?;
                Ok(Self::Hello(ServerHello::parse(bytes, body)?))
            }
        }
    }
}

/// Preface, header and body; the length counts `more` bytes that will follow.
fn with_preface(kind: u8, body: &[u8], more: usize) -> Vec<u8> {
    let length = u32::try_from(body.len() + more).unwrap_or(u32::MAX).to_be_bytes();
    let mut bytes = PREFACE.to_vec();
    bytes.push(kind);
    bytes.extend_from_slice(&length[1..]);
    bytes.extend_from_slice(body);
    bytes
}

fn body_of(kind: u8, bytes: &[u8]) -> Result<&[u8], SealedError> {
    let frame = bytes.strip_prefix(&PREFACE).ok_or(SealedError::Malformed("preface"))?;
    if frame.len() < FRAME_HEADER || bytes.len() > super::wire::HANDSHAKE_LIMIT {
        return Err(SealedError::Malformed("length"));
    }
    super::wire::unframed(kind, frame)
}

fn put_names(to: &mut Vec<u8>, names: &[String]) {
    to.push(u8::try_from(names.len()).unwrap_or(u8::MAX));
    for name in names {
        put_short(to, name.as_bytes());
    }
}

/// Reads a list of 1 to `most` names, each of them once.
fn read_names(reader: &mut Reader<'_>, most: usize) -> Result<Vec<String>, SealedError> {
    let count = usize::from(reader.u8()?);
    if !(1..=most).contains(&count) {
        return Err(SealedError::Malformed("count of names"));
    }
    let mut names: Vec<String> = Vec::with_capacity(count);
    for _ in 0..count {
        let name = reader.short()?;
        let is_name_byte =
            |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"@.-".contains(b);
        if !(1..=MAX_NAME).contains(&name.len()) || !name.iter().all(is_name_byte) {
            return Err(SealedError::Malformed("name"));
        }
        let name: String = name.iter().copied().map(char::from).collect();
        if names.contains(&name) {
            return Err(SealedError::Malformed("a name occurs twice"));
        }
        names.push(name);
    }
    Ok(names)
}
