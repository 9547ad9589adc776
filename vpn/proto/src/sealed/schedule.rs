//! The key schedule (PROTOCOL.md §4.4): HKDF-SHA256 (RFC 5869) in the form of TLS 1.3 (RFC 8446
//! §7.1).

use std::fmt;

use hkdf::Hkdf;
use sha2::Sha256;
use vpn_suite::CipherSuite;
use zeroize::Zeroizing;

use super::error::SealedError;
use super::kex::KexSecret;
use super::psk::Psk;
use super::record::RecordKeys;
use super::suites::suite_name;
use crate::suite::SuiteId;

/// A secret of the schedule. Wiped on drop.
pub(super) type Secret = Zeroizing<[u8; 32]>;

/// HKDF-Extract (RFC 5869 §2.2).
fn extract(salt: &[u8], ikm: &[u8]) -> Secret {
    Zeroizing::new(Hkdf::<Sha256>::extract(Some(salt), ikm).0.into())
}

/// `EL` of PROTOCOL.md §4.4: HKDF-Expand (RFC 5869 §2.3) with a label and a context.
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

/// [`expand_label`] with an output of `N` bytes.
fn derive<const N: usize>(secret: &[u8; 32], label: &str, context: &[u8]) -> Zeroizing<[u8; N]> {
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

/// The secrets of a handshake. Wiped on drop.
pub(super) struct HandshakeSecrets {
    secret: Secret,
    pub(super) client: TrafficSecret,
    pub(super) server: TrafficSecret,
}

impl HandshakeSecrets {
    pub(super) fn new(psk: Option<&Psk>, exchanged: &KexSecret, th2: &[u8; 32]) -> Self {
        let early = extract(&[0; 32], psk.map_or(&[0; 32], Psk::as_bytes));
        let salt = derive::<32>(&early, "derived", b"");
        let secret = extract(salt.as_slice(), exchanged.as_bytes());
        let client = TrafficSecret(derive(&secret, "c hs", th2));
        let server = TrafficSecret(derive(&secret, "s hs", th2));
        Self { secret, client, server }
    }

    /// Derives the secrets of the session.
    pub(super) fn into_session(self, th4: &[u8; 32]) -> SessionSecrets {
        let salt = derive::<32>(&self.secret, "derived", b"");
        SessionSecrets::derive(extract(salt.as_slice(), &[0; 32]), th4)
    }
}

/// The secrets of a session, up to its next key exchange. Wiped on drop.
pub(super) struct SessionSecrets {
    master: Secret,
    pub(super) client: TrafficSecret,
    pub(super) server: TrafficSecret,
    pub(super) exporter: Secret,
    pub(super) id: [u8; 16],
}

impl SessionSecrets {
    fn derive(master: Secret, transcript: &[u8; 32]) -> Self {
        Self {
            client: TrafficSecret(derive(&master, "c ap", transcript)),
            server: TrafficSecret(derive(&master, "s ap", transcript)),
            exporter: derive(&master, "exporter", transcript),
            id: *derive(&master, "sid", transcript),
            master,
        }
    }

    /// The secrets after a new key exchange.
    pub(super) fn renewed(&self, exchanged: &KexSecret, transcript: &[u8; 32]) -> Self {
        let salt = derive::<32>(&self.master, "rekey", transcript);
        Self::derive(extract(salt.as_slice(), exchanged.as_bytes()), transcript)
    }
}

/// The traffic secret of one direction and epoch. Wiped on drop.
#[derive(Clone)]
pub struct TrafficSecret(Secret);

impl TrafficSecret {
    /// Makes a traffic secret from its bytes. For tests with known answers.
    pub fn danger_from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for key logs and for tests.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Derives the keys of records.
    ///
    /// # Errors
    ///
    /// If the suite refuses a derived key as weak.
    pub fn record_keys(&self, id: SuiteId) -> Result<RecordKeys, SealedError> {
        let mut key = Zeroizing::new(vec![0; id.size.bytes()]);
        expand_label(&self.0, &format!("key {}", suite_name(id)), b"", &mut key);
        let mut iv_key = Zeroizing::new(vec![0; id.size.bytes()]);
        expand_label(&self.0, "iv", b"", &mut iv_key);
        let mac = derive(&self.0, "mac", b"");
        RecordKeys::new(id.suite as &dyn CipherSuite, &key, &iv_key, &mac)
    }

    /// The key of the Finished MAC.
    pub(super) fn finished_key(&self) -> Secret {
        derive(&self.0, "fin", b"")
    }

    /// The traffic secret of the next epoch.
    #[must_use]
    pub fn next(&self) -> Self {
        Self(derive(&self.0, "upd", b""))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::aes256;

    #[test]
    fn debug_shows_no_secret() {
        let secrets = HandshakeSecrets::new(None, &KexSecret::danger_from_bytes(&[1]), &[2; 32]);
        assert_eq!(format!("{secrets:?}"), "HandshakeSecrets(..)");
        assert_eq!(format!("{:?}", secrets.client), "TrafficSecret(..)");
        let keys = secrets.client.record_keys(aes256()).unwrap();
        assert_eq!(format!("{keys:?}"), "RecordKeys(..)");
        assert_eq!(format!("{:?}", secrets.into_session(&[3; 32])), "SessionSecrets(..)");
    }

    #[test]
    fn all_secrets_differ_and_depend_on_the_psk() {
        let exchanged = KexSecret::danger_from_bytes(&[1]);
        let psk = Psk::new(vec![5; 32].into()).unwrap();
        let plain = HandshakeSecrets::new(None, &exchanged, &[2; 32]);
        let mixed = HandshakeSecrets::new(Some(&psk), &exchanged, &[2; 32]);
        let session = plain.into_session(&[3; 32]);
        let renewed = session.renewed(&exchanged, &[4; 32]);
        let all = [
            *mixed.client.as_bytes(),
            *mixed.server.as_bytes(),
            *session.client.as_bytes(),
            *session.server.as_bytes(),
            *session.exporter,
            *renewed.client.as_bytes(),
            *renewed.server.as_bytes(),
            *session.client.next().as_bytes(),
            *session.client.finished_key(),
            *gate_key(&[1; 32], "psk"),
            *gate_key(&[1; 32], "pub"),
        ];
        for (at, secret) in all.iter().enumerate() {
            assert!(!all[..at].contains(secret));
        }
    }
}
