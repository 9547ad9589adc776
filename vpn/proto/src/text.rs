//! Text from a peer in a form that is safe on a terminal.

use std::fmt;

/// Displays text from a peer. Characters that move the cursor, hide text or reorder text are
/// escaped.
///
/// Control characters, bidirectional overrides, line separators and invisible characters appear as
/// `\n`, `\x1b` or `\u{202e}`. Bytes that are not UTF-8 appear as `\xff`. All other characters of
/// all scripts do not change.
///
/// # Examples
///
/// ```
/// use vpn_proto::Printable;
/// assert_eq!(Printable(b"caf\xc3\xa9 \x1b[2J\xff").to_string(), "café \\x1b[2J\\xff");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Printable<'a>(pub &'a [u8]);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            let mut clean = 0;
            let text = chunk.valid();
            for (at, c) in text.char_indices() {
                if is_harmless(c) {
                    continue;
                }
                f.write_str(&text[clean..at])?;
                clean = at + c.len_utf8();
                match c {
                    '\n' => f.write_str("\\n")?,
                    '\r' => f.write_str("\\r")?,
                    '\t' => f.write_str("\\t")?,
                    c if u32::from(c) < 0x80 => write!(f, "\\x{:02x}", u32::from(c))?,
                    c => write!(f, "\\u{{{:x}}}", u32::from(c))?,
                }
            }
            f.write_str(&text[clean..])?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

fn is_harmless(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' // soft hyphen, Arabic letter mark, Mongolian separator
            | '\u{200b}' | '\u{200e}' | '\u{200f}' // zero width space, direction marks
            | '\u{2028}'..='\u{202e}' // line and paragraph separators, embeddings, overrides
            | '\u{2060}'..='\u{206f}' // invisible operators, isolates
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' // byte order mark, interlinear annotation
            | '\u{e0000}'..='\u{e007f}') // tags
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bytes: &[u8]) -> String {
        Printable(bytes).to_string()
    }

    #[test]
    fn scripts_stay_as_they_are() {
        for text in ["héllo", "日本語", "שלום", "e\u{301}a", "👩\u{200d}🚀", ""] {
            assert_eq!(shown(text.as_bytes()), text);
        }
    }

    #[test]
    fn characters_that_move_the_cursor_are_escaped() {
        assert_eq!(shown(b"a\r\nb\tc\x07\x1b]0;x\x07"), "a\\r\\nb\\tc\\x07\\x1b]0;x\\x07");
        assert_eq!(shown("\u{9b}31m\u{202e}x".as_bytes()), "\\u{9b}31m\\u{202e}x");
        assert_eq!(shown(b"\0\x7f"), "\\x00\\x7f");
    }

    #[test]
    fn broken_utf8_shows_as_bytes() {
        assert_eq!(shown(b"a\xc3(\xff"), "a\\xc3(\\xff");
    }
}
