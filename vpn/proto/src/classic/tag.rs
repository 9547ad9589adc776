//! The tag of a classic message: an HMAC-SHA256 as 64 lower-case hexadecimal digits.

/// The length of a tag on the wire, in hexadecimal digits.
pub const TAG_DIGITS: usize = 64;

/// Appends a tag as hexadecimal digits.
pub(super) fn encode(tag: &[u8; 32], message: &mut Vec<u8>) {
    for byte in tag {
        message.extend_from_slice(format!("{byte:02x}").as_bytes());
    }
}

/// Parses a tag. `None` if a digit is not a lower-case hexadecimal digit.
pub(super) fn decode(digits: &[u8; TAG_DIGITS]) -> Option<[u8; 32]> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut tag = [0; 32];
    for (byte, pair) in tag.iter_mut().zip(digits.as_chunks::<2>().0) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_64_lower_case_digits() {
        let tag = std::array::from_fn(|at| u8::try_from(at * 8).unwrap());
        let mut digits = Vec::new();
        encode(&tag, &mut digits);
        assert!(digits.starts_with(b"0008101820283038") && digits.ends_with(b"e0e8f0f8"));
        let digits: [u8; TAG_DIGITS] = digits.try_into().unwrap();
        assert_eq!(decode(&digits), Some(tag));
        assert_eq!(decode(&digits.map(|d| d.to_ascii_uppercase())), None);
        assert_eq!(decode(&[b'g'; TAG_DIGITS]), None);
    }
}
