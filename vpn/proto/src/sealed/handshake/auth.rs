//! ServerAuth and ClientAuth: `kind 1 | public key 32 | signature 64 | Finished MAC 32`.

use ed25519_dalek::{Signature, VerifyingKey};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::identity::{Identity, PeerIdentity};
use crate::role::Role;
use crate::sealed::error::SealedError;
use crate::sealed::schedule::TrafficSecret;
use crate::sealed::transcript::Transcript;
use crate::sealed::wire::{FRAME_HEADER, Reader, frame, framed, unframed};

/// No key: the PSK authenticates. Public key and signature are zero.
const KIND_PSK: u8 = 0;
/// An Ed25519 key (RFC 8032).
const KIND_ED25519: u8 = 1;
/// The size of the body in bytes.
const BODY: usize = 1 + 32 + 64 + 32;
/// The end of the public key in a frame.
const TO_KEY: usize = FRAME_HEADER + 1 + 32;
/// The end of the signature in a frame.
const TO_SIGNATURE: usize = TO_KEY + 64;

/// The type of the frame of a role.
fn frame_type(role: Role) -> u8 {
    match role {
        Role::Client => frame::CLIENT_AUTH,
        Role::Server => frame::SERVER_AUTH,
    }
}

/// The text that a role signs, in the form of TLS 1.3 (RFC 8446 §4.4.3).
fn signed_text(role: Role, transcript: &[u8; 32]) -> Vec<u8> {
    let context: &[u8] = match role {
        Role::Client => b"vpn sealed1 client auth",
        Role::Server => b"vpn sealed1 server auth",
    };
    [&[0x20; 64], context, &[0], transcript].concat()
}

/// Makes the frame that authenticates this side. The transcript ends before it.
pub(super) fn prove(
    role: Role,
    identity: Option<&Identity>,
    secret: &TrafficSecret,
    transcript: &Transcript,
) -> Vec<u8> {
    let mut frame = framed(frame_type(role), &[0; BODY]);
    if let Some(identity) = identity {
        frame[FRAME_HEADER] = KIND_ED25519;
        frame[FRAME_HEADER + 1..TO_KEY].copy_from_slice(&identity.public_key());
        let signed = signed_text(role, &transcript.hash_with(&frame[..TO_KEY]));
        frame[TO_KEY..TO_SIGNATURE].copy_from_slice(&identity.sign(&signed));
    }
    let mac = finished(secret, &transcript.hash_with(&frame[..TO_SIGNATURE]));
    frame[TO_SIGNATURE..].copy_from_slice(&mac);
    frame
}

/// Verifies the frame of the peer. It does all checks even if one fails, so the time does not show
/// which one failed.
pub(super) fn verify(
    role: Role,
    frame: &[u8],
    secret: &TrafficSecret,
    transcript: &Transcript,
) -> Result<PeerIdentity, SealedError> {
    let body = unframed(frame_type(role), frame)?;
    if body.len() != BODY {
        return Err(SealedError::Malformed("length of an authentication"));
    }
    let mut reader = Reader::new(body);
    let (kind, key) = (reader.u8()?, reader.array::<32>()?);
    let (signature, mac) = (reader.array::<64>()?, reader.array::<32>()?);
    let signed = signed_text(role, &transcript.hash_with(&frame[..TO_KEY]));
    let is_signed = is_signed(&key, &signature, &signed);
    let expected = finished(secret, &transcript.hash_with(&frame[..TO_SIGNATURE]));
    let is_finished = bool::from(expected.ct_eq(&mac));
    let peer = match kind {
        KIND_ED25519 => PeerIdentity::Key(key),
        KIND_PSK if key == [0; 32] && signature == [0; 64] => PeerIdentity::PskOnly,
        _ => return Err(SealedError::Malformed("kind of an authentication")),
    };
    if !is_finished {
        return Err(SealedError::Authentication("the Finished MAC is not that of the transcript"));
    }
    if matches!(peer, PeerIdentity::Key(_)) && !is_signed {
        return Err(SealedError::Authentication("the signature is not that of the key"));
    }
    Ok(peer)
}

/// Verifies an Ed25519 signature strictly (RFC 8032 §5.1.7): no points of small order, only
/// canonical encodings, no cofactor. If the key is not a point, the same work is done with the base
/// point.
fn is_signed(key: &[u8; 32], signature: &[u8; 64], text: &[u8]) -> bool {
    /// The base point of RFC 8032 §5.1: y = 4/5, little-endian.
    const GENERATOR: [u8; 32] = {
        let mut bytes = [0x66; 32];
        bytes[0] = 0x58;
        bytes
    };
    let signature = Signature::from_bytes(signature);
    let (key, is_point) = match VerifyingKey::from_bytes(key) {
        Ok(key) => (Ok(key), true),
        Err(_) => (VerifyingKey::from_bytes(&GENERATOR), false),
    };
    key.is_ok_and(|key| key.verify_strict(text, &signature).is_ok()) && is_point
}

/// `HMAC-SHA256(finished key, transcript)`.
fn finished(secret: &TrafficSecret, transcript: &[u8; 32]) -> [u8; 32] {
    let key = secret.finished_key();
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_slice()).expect("HMAC takes any key");
    mac.update(transcript);
    mac.finalize().into_bytes().into()
}
