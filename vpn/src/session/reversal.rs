//! The answer of a server to a text: the same text reversed (PROTOCOL.md §3.6, §4.9).

/// Reverses a text by Unicode scalar value, or by byte if it is not UTF-8.
///
/// # Examples
///
/// ```
/// assert_eq!(vpn::session::reversed("héllo".as_bytes()), "olléh".as_bytes());
/// assert_eq!(vpn::session::reversed(b"a\xff"), b"\xffa");
/// ```
pub fn reversed(text: &[u8]) -> Vec<u8> {
    match str::from_utf8(text) {
        Ok(text) => text.chars().rev().collect::<String>().into_bytes(),
        Err(_) => text.iter().rev().copied().collect(),
    }
}

/// The same as [`reversed`], but piece by piece: a long text is not in memory twice.
#[derive(Debug)]
pub(crate) struct Reversal<'a> {
    rest: &'a [u8],
    is_text: bool,
}

impl<'a> Reversal<'a> {
    pub(crate) fn of(text: &'a [u8]) -> Self {
        Self { rest: text, is_text: str::from_utf8(text).is_ok() }
    }

    /// Appends the next characters until `piece` has at most `most` bytes. Returns whether there
    /// were any characters left.
    pub(crate) fn fill(&mut self, piece: &mut Vec<u8>, most: usize) -> bool {
        let had_rest = !self.rest.is_empty();
        while let Some(last) = self.last_character()
            && piece.len() + last.len() <= most
        {
            piece.extend_from_slice(last);
            self.rest = &self.rest[..self.rest.len() - last.len()];
        }
        had_rest
    }

    fn last_character(&self) -> Option<&'a [u8]> {
        let is_inside = |byte: &u8| self.is_text && byte & 0xc0 == 0x80;
        let behind = self.rest.iter().rev().take_while(|byte| is_inside(byte)).count();
        let start = self.rest.len().checked_sub(behind + 1)?;
        Some(&self.rest[start..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn piece_by_piece_it_is_the_same() {
        for text in ["", "a", "abc", "héllo 日本 🎈", "🎈🎈🎈"] {
            for tail in [&b""[..], b"\xff", b"\x80\x80"] {
                let text = [text.as_bytes(), tail].concat();
                for most in [4, 5, 7, 100] {
                    let mut reversal = Reversal::of(&text);
                    let mut all = Vec::new();
                    let mut piece = Vec::new();
                    while reversal.fill(&mut piece, most) {
                        assert!(!piece.is_empty() && piece.len() <= most);
                        all.append(&mut piece);
                    }
                    assert_eq!(all, reversed(&text), "{text:?} {most}");
                }
            }
        }
    }
}
