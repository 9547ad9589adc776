//! The identity of a side: an Ed25519 key, or a key that both sides share.

use std::io;
use std::path::Path;
use std::str::FromStr;

use rand::Rng;
use zeroize::Zeroizing;

use super::error::Error;
use crate::session::Blame;
use crate::trust::{Pin, PublicKey, fingerprint, read_identity, read_psk};
use vpn_proto::sealed;

/// The Ed25519 key pair of a side. It is wiped on drop, and `Debug` does not show it.
///
/// # Examples
///
/// ```
/// let identity = vpn::Identity::generate();
/// assert!(identity.public_key().fingerprint().starts_with("SHA256:"));
/// ```
#[derive(Clone, Debug)]
pub struct Identity(pub(super) sealed::Identity);

impl Identity {
    /// Makes a fresh key pair with the randomness of the operating system.
    pub fn generate() -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rand::rng().fill_bytes(seed.as_mut_slice());
        Self(sealed::Identity::from_seed(&seed))
    }

    /// Reads a private key in OpenSSH's format (`vpn keygen` and `ssh-keygen -t ed25519` make
    /// them).
    ///
    /// # Errors
    ///
    /// If the file cannot be read, others may read it, it is not such a key, or it has a
    /// passphrase.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Error> {
        let nobody =
            || Err(io::Error::other("there is nobody to ask: use Identity::load_with_passphrase"));
        Ok(Self(read_identity(path.as_ref(), nobody)?))
    }

    /// The same as [`Identity::load`], for a key with a passphrase.
    ///
    /// # Errors
    ///
    /// The same as [`Identity::load`], or if the passphrase is wrong.
    pub fn load_with_passphrase(path: impl AsRef<Path>, passphrase: &str) -> Result<Self, Error> {
        Ok(Self(read_identity(path.as_ref(), || Ok(passphrase.to_owned()))?))
    }

    /// The public key.
    pub fn public_key(&self) -> PublicKey {
        PublicKey { bytes: self.0.public_key(), comment: String::new() }
    }
}

impl PublicKey {
    /// The fingerprint, as `ssh-keygen -l` shows it: `SHA256:` and 43 characters.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.bytes)
    }
}

impl FromStr for PublicKey {
    type Err = Error;

    /// Reads the text of a `.pub` file.
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::read(text.trim()).map_err(|words| Error::new(Blame::Usage, words))
    }
}

impl FromStr for Pin {
    type Err = Error;

    /// Reads a fingerprint, `SHA256:…`, or the text of a `.pub` file.
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text).map_err(|words| Error::new(Blame::Usage, words))
    }
}

impl From<PublicKey> for Pin {
    fn from(key: PublicKey) -> Self {
        Self::Key(key.bytes)
    }
}

/// A key that both sides have before they connect. It is wiped on drop, and `Debug` does not show
/// it.
#[derive(Clone, Debug)]
pub struct Psk(pub(super) sealed::Psk);

impl Psk {
    /// Makes a PSK of 32 or more raw bytes.
    ///
    /// # Errors
    ///
    /// If there are fewer bytes, or if all of them are zero.
    pub fn from_bytes(bytes: Zeroizing<Vec<u8>>) -> Result<Self, Error> {
        let psk = sealed::Psk::new(bytes).map(Self);
        psk.ok_or_else(|| Error::new(Blame::Usage, "a PSK has 32 bytes or more, not all zero"))
    }

    /// Reads a PSK from a file with its bytes in hexadecimal.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, if others may read it, or if it has another form.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Error> {
        Ok(Self(read_psk(path.as_ref())?))
    }
}
