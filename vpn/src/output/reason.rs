//! The system's errors in words for people.

use std::fmt;
use std::io;

use vpn_proto::Printable;

/// The system's reason, without its error number and with a small first letter: `no such file or
/// directory`.
#[derive(Clone, Copy, Debug)]
pub struct Reason<'a>(pub &'a io::Error);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&small(&self.0.to_string()))
    }
}

/// The words of an error as they stand behind a colon: with a small first letter, unless more
/// capitals follow, and without the number of a system's error.
pub fn small(text: &str) -> String {
    let text = text.find(NUMBER).map_or(text, |at| &text[..at]);
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(first), Some(second)) if !second.is_uppercase() => {
            first.to_lowercase().chain([second]).chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}

/// What the standard library puts behind the system's words.
const NUMBER: &str = " (os error ";

/// A message for people as one line: control characters are escaped, and the numbers of the
/// system's errors are left out. A last resort for text that came through other libraries.
pub fn one_line(text: &str) -> String {
    let mut rest = text;
    let mut clean = String::with_capacity(text.len());
    while let Some(at) = rest.find(NUMBER) {
        clean.push_str(&rest[..at]);
        let behind = &rest[at + NUMBER.len()..];
        rest = behind.find(')').map_or("", |end| &behind[end + 1..]);
    }
    clean.push_str(rest);
    Printable(clean.as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_no_number_and_a_small_first_letter() {
        let reason = |number| Reason(&io::Error::from_raw_os_error(number)).to_string();
        assert_eq!(reason(98), "address already in use");
        assert_eq!(reason(28), "no space left on device");
        assert_eq!(Reason(&io::Error::other("IPv6 is off")).to_string(), "IPv6 is off");
    }

    #[test]
    fn numbers_and_control_characters_do_not_reach_a_terminal() {
        let full = io::Error::from_raw_os_error(28);
        let text = format!("a: {full}; b: {full}\x1b[2J\n");
        assert_eq!(
            one_line(&text),
            "a: No space left on device; b: No space left on device\\x1b[2J\\n"
        );
        assert_eq!(one_line("cut (os error 5"), "cut");
    }
}
