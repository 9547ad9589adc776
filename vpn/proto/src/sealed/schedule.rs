//! The key schedule (PROTOCOL.md §4.4): HKDF-SHA256 in the shape of TLS 1.3 (RFC 8446 §7.1).

use std::fmt;

use hkdf::Hkdf;
use sha2::Sha256;
use vpn_suite::CipherSuite;
use zeroize::Zeroizing;

use super::super::negotiate::SuiteId;
use super::error::SealedError;
use super::hello::suite_name;
use super::kex::KexSecret;
use super::record::RecordKeys;

/// A secret of the schedule. Wiped on drop.
pub(super) type Secret = Zeroizing<[u8; 32]>;

/// A key that both sides were given beforehand, at least 32 bytes. Wiped on drop.
#[derive(Clone)]
pub struct Psk(Zeroizing<Vec<u8>>);

impl Psk {
    /// The fewest bytes of a PSK.
    pub const MIN_BYTES: usize = 32;

    /// Takes raw bytes. `None` if they are too few, or all zero.
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Option<Self> {
        let is_usable = bytes.len() >= Self::MIN_BYTES && bytes.iter().any(|b| *b != 0);
        is_usable.then_some(Self(bytes))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Psk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Psk(..)")
    }
}

/// HKDF-Extract.
fn extract(salt: &[u8], ikm: &[u8]) -> Secret {
    Zeroizing::new(Hkdf::<Sha256>::extract(Some(salt), ikm).0.into())
}

/// `EL` of the specification: HKDF-Expand with a label and a context.
fn expand_label(secret: &[u8; 32], label: &str, context: &[u8], out: &mut [u8]) {
    const PREFIX: &str = "vpn sealed1 ";
    let length = u16::try_from(out.len()).unwrap_or(u16::MAX).to_be_bytes();
    let label_length = [u8::try_from(PREFIX.len() + label.len()).unwrap_or(u8::MAX)];
    let context_length = [u8::try_from(context.len()).unwrap_or(u8::MAX)];
    let info = [
        length.as_slice(),
        &label_length,
        PREFIX.as_bytes(),
        label.as_bytes(),
        &context_length,
        context,
    ];
    Hkdf::<Sha256>::from_prk(secret)
        .expect("a secret is as long as the hash")
        .expand_multi_info(&info, out)
        .expect("no key is longer than 255 hashes");
}

fn derived<const N: usize>(secret: &[u8; 32], label: &str, context: &[u8]) -> Zeroizing<[u8; N]> {
    let mut out = Zeroizing::new([0; N]);
    expand_label(secret, label, context, out.as_mut_slice());
    out
}

/// The gate key of a PSK or of a server's public key (PROTOCOL.md §4.2).
pub(super) fn gate_key(ikm: &[u8], info: &str) -> Secret {
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(Some(b"vpn sealed1 gate"), ikm)
        .expand(info.as_bytes(), key.as_mut_slice())
        .expect("32 bytes are one hash");
    key
}

/// What stands between the exchange and the keys of the handshake.
pub(super) struct HandshakeSecrets {
    secret: Secret,
    pub(super) client: TrafficSecret,
    pub(super) server: TrafficSecret,
}

impl HandshakeSecrets {
    pub(super) fn new(psk: Option<&Psk>, exchanged: &KexSecret, th2: &[u8; 32]) -> Self {
        let early = extract(&[0; 32], psk.map_or(&[0; 32], Psk::as_bytes));
        let salt = derived::<32>(&early, "derived", b"");
        let secret = extract(salt.as_slice(), exchanged.as_bytes());
        let client = TrafficSecret(derived(&secret, "c hs", th2));
        let server = TrafficSecret(derived(&secret, "s hs", th2));
        Self { secret, client, server }
    }

    /// Goes on to the keys of the session.
    pub(super) fn into_session(self, th4: &[u8; 32]) -> SessionSecrets {
        let salt = derived::<32>(&self.secret, "derived", b"");
        SessionSecrets::of(extract(salt.as_slice(), &[0; 32]), th4)
    }
}

/// What stands behind the keys of a session, until the next fresh exchange.
pub(super) struct SessionSecrets {
    master: Secret,
    pub(super) client: TrafficSecret,
    pub(super) server: TrafficSecret,
    pub(super) exporter: Secret,
    pub(super) id: [u8; 16],
}

impl SessionSecrets {
    fn of(master: Secret, transcript: &[u8; 32]) -> Self {
        Self {
            client: TrafficSecret(derived(&master, "c ap", transcript)),
            server: TrafficSecret(derived(&master, "s ap", transcript)),
            exporter: derived(&master, "exporter", transcript),
            id: *derived(&master, "sid", transcript),
            master,
        }
    }

    /// The secrets after a fresh exchange.
    pub(super) fn renewed(&self, exchanged: &KexSecret, transcript: &[u8; 32]) -> Self {
        let salt = derived::<32>(&self.master, "rekey", transcript);
        Self::of(extract(salt.as_slice(), exchanged.as_bytes()), transcript)
    }
}

/// The secret of one direction. Wiped on drop.
#[derive(Clone)]
pub struct TrafficSecret(Secret);

impl TrafficSecret {
    /// Takes a secret as it is, for tests with known answers.
    pub fn danger_from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for key logs and tests.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The keys of the records under it.
    ///
    /// # Errors
    ///
    /// If the suite refuses one as weak.
    pub fn record_keys(&self, id: SuiteId) -> Result<RecordKeys, SealedError> {
        let mut key = Zeroizing::new(vec![0; id.size.bytes()]);
        expand_label(&self.0, &format!("key {}", suite_name(id)), b"", &mut key);
        let mut iv_key = Zeroizing::new(vec![0; id.size.bytes()]);
        expand_label(&self.0, "iv", b"", &mut iv_key);
        let mac = derived(&self.0, "mac", b"");
        RecordKeys::new(id.suite as &dyn CipherSuite, &key, &iv_key, &mac)
    }

    /// The key of a Finished MAC.
    pub(super) fn finished_key(&self) -> Secret {
        derived(&self.0, "fin", b"")
    }

    /// The secret of the next epoch.
    #[must_use]
    pub fn next(&self) -> Self {
        Self(derived(&self.0, "upd", b""))
    }
}

impl fmt::Debug for TrafficSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TrafficSecret(..)")
    }
}

impl fmt::Debug for HandshakeSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandshakeSecrets(..)")
    }
}

impl fmt::Debug for SessionSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionSecrets(..)")
    }
}
