//! Cipher block chaining (NIST SP 800-38A §6.2). The caller keeps the chaining value.

use std::any::type_name;
use std::fmt;
use std::iter;

use ::cbc::Decryptor;
use cipher::zeroize::ZeroizeOnDrop;
use cipher::{
    Array, Block, BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockSizeUser,
    InnerIvInit, IvState, KeyInit,
};

use crate::lanes::{Chain, EncryptLanes};
use crate::{KeySizes, SuiteError};

/// A keyed cipher that encrypts in CBC mode.
///
/// Its only state is the key. Each call takes the chaining value and replaces it by the next one.
/// So a caller can chain from message to message, or use a new IV for each record, with the same
/// key.
pub trait CbcEncryptor: Send {
    /// Encrypts whole blocks in place and stores the next chaining value in `iv`.
    ///
    /// `blocks` may be empty. `iv` then stays as it is.
    ///
    /// # Errors
    ///
    /// [`SuiteError::IvLength`] unless `iv` is one block long, [`SuiteError::Misaligned`] unless
    /// `blocks` is a whole number of blocks. On an error both buffers stay as they are.
    fn encrypt(&self, iv: &mut [u8], blocks: &mut [u8]) -> Result<(), SuiteError>;

    /// Encrypts independent lanes, each like [`encrypt`](Self::encrypt).
    ///
    /// The blocks of one chain cannot be encrypted in parallel, but several chains can. So an
    /// implementation can interleave lanes and be faster than with one call for each.
    ///
    /// # Errors
    ///
    /// The error of `encrypt` for the first invalid lane, which stays as it is. Each other lane is
    /// either encrypted or stays as it is.
    fn encrypt_lanes(&self, lanes: &mut [Lane<'_>]) -> Result<(), SuiteError> {
        lanes.iter_mut().try_for_each(|lane| self.encrypt(lane.iv, lane.blocks))
    }

    /// Returns the name of the code in use, for tables of speeds.
    fn kernel(&self) -> &'static str {
        "generic"
    }
}

/// A keyed cipher that decrypts in CBC mode, the counterpart of [`CbcEncryptor`].
///
/// Authenticate data before you decrypt it. The result of decrypting altered blocks can be an
/// oracle for an attacker.
pub trait CbcDecryptor: Send {
    /// Decrypts whole blocks in place and stores the next chaining value in `iv`.
    ///
    /// `blocks` may be empty. `iv` then stays as it is.
    ///
    /// # Errors
    ///
    /// [`SuiteError::IvLength`] unless `iv` is one block long, [`SuiteError::Misaligned`] unless
    /// `blocks` is a whole number of blocks. On an error both buffers stay as they are.
    fn decrypt(&self, iv: &mut [u8], blocks: &mut [u8]) -> Result<(), SuiteError>;

    /// Decrypts independent lanes, each like [`decrypt`](Self::decrypt).
    ///
    /// # Errors
    ///
    /// The error of `decrypt` for the first invalid lane, which stays as it is. Each other lane is
    /// either decrypted or stays as it is.
    fn decrypt_lanes(&self, lanes: &mut [Lane<'_>]) -> Result<(), SuiteError> {
        lanes.iter_mut().try_for_each(|lane| self.decrypt(lane.iv, lane.blocks))
    }

    /// Returns the name of the code in use, for tables of speeds.
    fn kernel(&self) -> &'static str {
        "generic"
    }
}

/// A keyed cipher for both directions.
///
/// A `Box<dyn CbcCipher>` coerces to a `Box<dyn CbcEncryptor>` and to a `Box<dyn CbcDecryptor>`.
pub trait CbcCipher: CbcEncryptor + CbcDecryptor {}

impl<T: CbcEncryptor + CbcDecryptor> CbcCipher for T {}

/// A chaining value and its blocks. Lanes are independent of each other.
pub struct Lane<'a> {
    /// The chaining value, one block long. It is replaced by the next one.
    pub iv: &'a mut [u8],
    /// Whole blocks, which are encrypted or decrypted in place.
    pub blocks: &'a mut [u8],
}

/// A RustCrypto block cipher as a [`CbcEncryptor`] and [`CbcDecryptor`].
///
/// The cipher is keyed once and wiped on drop. It must implement [`ZeroizeOnDrop`]; RustCrypto's
/// crates do so with the feature `zeroize`.
pub struct Cbc<C> {
    cipher: C,
}

impl<C> Cbc<C>
where
    C: KeyInit + BlockCipherEncrypt + BlockCipherDecrypt + ZeroizeOnDrop,
{
    /// Keys the cipher.
    ///
    /// # Errors
    ///
    /// [`SuiteError::KeyLength`] if the cipher does not accept a key of this length. This error
    /// names the cipher's type and default key size. [`check_key_length`](crate::check_key_length)
    /// returns an error that names the suite and all its sizes.
    pub fn new(key: &[u8]) -> Result<Self, SuiteError> {
        let cipher = C::new_from_slice(key).map_err(|_| {
            let bits = u32::try_from(C::key_size().saturating_mul(8)).unwrap_or(u32::MAX);
            SuiteError::KeyLength {
                suite: short_type_name::<C>(),
                got: key.len(),
                expected: KeySizes::Range { min: bits, max: bits, step: 8 },
            }
        })?;
        Ok(Self { cipher })
    }

    /// Keys the cipher and boxes it. This is the [`Keyed`](crate::Keyed) function of a block
    /// cipher.
    ///
    /// # Errors
    ///
    /// The errors of [`new`](Self::new).
    pub fn boxed(key: &[u8]) -> Result<Box<dyn CbcCipher>, SuiteError>
    where
        C: Send + 'static,
    {
        Ok(Box::new(Self::new(key)?))
    }
}

impl<C> From<C> for Cbc<C>
where
    C: BlockCipherEncrypt + BlockCipherDecrypt + ZeroizeOnDrop,
{
    /// Wraps a keyed cipher.
    fn from(cipher: C) -> Self {
        Self { cipher }
    }
}

impl<C> CbcEncryptor for Cbc<C>
where
    C: BlockCipherEncrypt + Send,
{
    fn encrypt(&self, iv: &mut [u8], blocks: &mut [u8]) -> Result<(), SuiteError> {
        let (iv, blocks) = as_blocks::<C>(iv, blocks)?;
        let chains = iter::once(Chain { iv, blocks });
        self.cipher.encrypt_with_backend(EncryptLanes::new(chains));
        Ok(())
    }

    fn encrypt_lanes(&self, lanes: &mut [Lane<'_>]) -> Result<(), SuiteError> {
        // An invalid lane is found before any lane is changed.
        for lane in lanes.iter_mut() {
            as_blocks::<C>(lane.iv, lane.blocks)?;
        }
        let chains = lanes.iter_mut().filter_map(|lane| {
            as_blocks::<C>(lane.iv, lane.blocks).ok().map(|(iv, blocks)| Chain { iv, blocks })
        });
        self.cipher.encrypt_with_backend(EncryptLanes::new(chains));
        Ok(())
    }
}

impl<C> CbcDecryptor for Cbc<C>
where
    C: BlockCipherDecrypt + Send,
{
    fn decrypt(&self, iv: &mut [u8], blocks: &mut [u8]) -> Result<(), SuiteError> {
        let (iv, blocks) = as_blocks::<C>(iv, blocks)?;
        let mut mode = Decryptor::inner_iv_init(&self.cipher, iv);
        mode.decrypt_blocks(blocks);
        *iv = mode.iv_state();
        Ok(())
    }
}

/// Shows the cipher's type, never the key.
impl<C> fmt::Debug for Cbc<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cbc<{}>", short_type_name::<C>())
    }
}

/// Shows lengths, never the data.
impl fmt::Debug for Lane<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane")
            .field("iv", &self.iv.len())
            .field("blocks", &self.blocks.len())
            .finish()
    }
}

/// Shows the direction, never the key.
impl fmt::Debug for dyn CbcEncryptor + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CbcEncryptor")
    }
}

/// Shows the direction, never the key.
impl fmt::Debug for dyn CbcDecryptor + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CbcDecryptor")
    }
}

/// Checks both lengths and returns the same bytes as blocks.
fn as_blocks<'a, C: BlockSizeUser>(
    iv: &'a mut [u8],
    blocks: &'a mut [u8],
) -> Result<(&'a mut Block<C>, &'a mut [Block<C>]), SuiteError> {
    let (block_size, got, len) = (C::block_size(), iv.len(), blocks.len());
    let iv = Array::slice_as_mut_array(iv).ok_or(SuiteError::IvLength { got, block_size })?;
    match Array::slice_as_chunks_mut(blocks) {
        (blocks, []) => Ok((iv, blocks)),
        _ => Err(SuiteError::Misaligned { len, block_size }),
    }
}

/// Returns `Blowfish` for `blowfish::Blowfish<byteorder::BigEndian>`.
fn short_type_name<C>() -> &'static str {
    let path = type_name::<C>();
    let path = path.split_once('<').map_or(path, |(head, _)| head);
    path.rsplit_once("::").map_or(path, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Toy = Cbc<aes::Aes128>;

    #[test]
    fn wrong_key_length_is_refused_without_asking_a_suite() {
        let expected = KeySizes::Range { min: 128, max: 128, step: 8 };
        let error = SuiteError::KeyLength { suite: "Aes128", got: 17, expected };
        assert_eq!(Toy::new(&[0; 17]).unwrap_err(), error);
    }

    #[test]
    fn debug_shows_neither_key_nor_data() {
        let cipher = Toy::new(&[0x41; 16]).unwrap();
        assert_eq!(format!("{cipher:?}"), "Cbc<Aes128>");
        assert_eq!(format!("{:?}", &cipher as &dyn CbcEncryptor), "CbcEncryptor");
        assert_eq!(format!("{:?}", &cipher as &dyn CbcDecryptor), "CbcDecryptor");
        let lane = Lane { iv: &mut [0x41; 16], blocks: &mut [0x41; 32] };
        assert_eq!(format!("{lane:?}"), "Lane { iv: 16, blocks: 32 }");
    }

    #[test]
    fn lane_at_fault_leaves_all_alone() {
        let cipher = Toy::new(&[1; 16]).unwrap();
        let (mut iv, mut blocks) = ([2; 16], [3; 32]);
        let (mut bad_iv, mut bad_blocks) = ([2; 16], [3; 33]);
        let mut lanes = [
            Lane { iv: &mut iv, blocks: &mut blocks },
            Lane { iv: &mut bad_iv, blocks: &mut bad_blocks },
        ];
        let error = SuiteError::Misaligned { len: 33, block_size: 16 };
        assert_eq!(cipher.encrypt_lanes(&mut lanes), Err(error));
        assert_eq!((bad_iv, bad_blocks), ([2; 16], [3; 33]));
        assert_eq!((iv, blocks), ([2; 16], [3; 32]));
    }

    #[test]
    fn type_names_are_short() {
        assert_eq!(short_type_name::<aes::Aes128>(), "Aes128");
        assert_eq!(short_type_name::<Option<aes::Aes128>>(), "Option");
        assert_eq!(short_type_name::<u8>(), "u8");
    }
}
