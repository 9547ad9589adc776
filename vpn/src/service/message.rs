//! The message service: a text is answered with the same text reversed.

/// Reverses a text by Unicode scalar value, and what is not UTF-8 by byte.
///
/// # Examples
///
/// ```
/// assert_eq!(vpn::service::reversed("héllo".as_bytes()), "olléh".as_bytes());
/// assert_eq!(vpn::service::reversed(b"a\xff"), b"\xffa");
/// ```
pub fn reversed(text: &[u8]) -> Vec<u8> {
    match str::from_utf8(text) {
        Ok(text) => text.chars().rev().collect::<String>().into_bytes(),
        Err(_) => text.iter().rev().copied().collect(),
    }
}
