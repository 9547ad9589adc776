//! The text of a reply, in all forms (PROTOCOL.md §3.5).

/// The prefix of a reply in the programs of 2020.
pub const REPLY_PREFIX: &str = "Server says: ";

/// Removes prefix, padding and line end from a reply. The part that equals `expected` is not
/// removed.
pub(super) fn strip_reply<'a>(raw: &'a [u8], expected: &[u8]) -> &'a [u8] {
    if raw == expected {
        return raw;
    }
    let nul = |bytes: &'a [u8]| {
        let start = bytes.iter().position(|&b| b != 0).unwrap_or(bytes.len());
        let end = bytes.iter().rposition(|&b| b != 0).map_or(start, |last| last + 1);
        &bytes[start..end]
    };
    let shown = nul(raw);
    let shown = shown.strip_prefix(REPLY_PREFIX.as_bytes()).map_or(shown, nul);
    if shown == expected {
        return shown;
    }
    let shown = shown.strip_suffix(b"\n").unwrap_or(shown);
    shown.strip_suffix(b"\r").unwrap_or(shown)
}

/// Whether a prefix before this reply can only come from the server.
pub(super) fn is_prefixed(expected: &[u8]) -> bool {
    !expected.starts_with(REPLY_PREFIX.as_bytes())
}

/// Whether this is the text of a refusal.
pub(super) fn is_refusal(raw: &[u8]) -> bool {
    let text = raw.trim_ascii_end();
    text == b"Bad HMAC" || text.starts_with(b"Expected ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read_in_every_form() {
        for raw in [
            &b"Server says: olleh\0\0\0\0\0\0\0\0\0\0\0"[..],
            b"Server says: olleh",
            b"olleh",
            b"olleh\n",
            b"olleh\r\n",
        ] {
            assert_eq!(strip_reply(raw, b"olleh"), b"olleh");
        }
        assert_eq!(strip_reply(b"Server says: ", b""), b"");
        // The reversed text starts with the prefix.
        assert_eq!(strip_reply(b"Server says: x", b"Server says: x"), b"Server says: x");
        // The reversed text ends with a line feed.
        assert_eq!(strip_reply(b"a\n", b"a\n"), b"a\n");
    }

    #[test]
    fn texts_of_refusals_are_known() {
        assert!(is_refusal(b"Bad HMAC\n"));
        assert!(is_refusal(b"Expected an HMAC within 65536 bytes"));
        assert!(!is_refusal(b"CAMH daB"));
    }
}
