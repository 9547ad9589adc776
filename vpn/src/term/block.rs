//! The blocks of lines that `--explain` prints.

use zeroize::Zeroizing;

/// The ANSI colour codes of the kinds of lines.
pub(super) mod colour {
    pub(in crate::term) const ADVICE: &str = "1;35";
    pub(in crate::term) const FAILURE: &str = "1;31";
    pub(in crate::term) const SECRET: &str = "31";
    pub(in crate::term) const TO_CLIENT: &str = "1;32";
    pub(in crate::term) const TO_SERVER: &str = "1;36";
    pub(in crate::term) const WEAKNESS: &str = "33";
}

/// Lines that belong together. They are printed at once, so that no other session prints between
/// them.
pub(super) struct Block {
    pub(super) text: Zeroizing<String>,
    pub(super) has_colour: bool,
}

impl Block {
    /// Returns a text in a colour, if colours are on.
    pub(super) fn painted(&self, colour: &str, text: &str) -> String {
        if self.has_colour { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Adds a line.
    pub(super) fn line(&mut self, text: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(text);
    }

    /// Adds an indented line: a word, and a text about it.
    pub(super) fn item(&mut self, word: &str, text: &str) {
        self.line(&format!("     {word:<10} {text}"));
    }

    /// Adds an indented line in a colour.
    pub(super) fn coloured_item(&mut self, colour: &str, word: &str, text: &str) {
        let line = self.painted(colour, &format!("{word:<10} {text}"));
        self.line(&format!("     {line}"));
    }
}
