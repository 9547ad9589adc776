//! Messages for errors of the system.

use std::error::Error;
use std::fmt;
use std::io;

use vpn_proto::Printable;

/// The message of a system error, such as `no such file or directory`. It has no error number and
/// begins in lower case.
#[derive(Clone, Copy, Debug)]
pub struct Reason<'a>(pub &'a io::Error);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&clause(&self.0.to_string()))
    }
}

/// An error message as it stands behind a colon. The first letter is in lower case, unless the word
/// begins with several capitals. The text ends before the number of a system error.
pub fn clause(text: &str) -> String {
    let text = text.find(OS_ERROR).map_or(text, |at| &text[..at]);
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(first), Some(second)) if !second.is_uppercase() => {
            first.to_lowercase().chain([second]).chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}

/// An error with its causes, joined by colons.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {}", clause(&next.to_string()));
        cause = next.source();
    }
    text
}

/// The text that the standard library puts between the message and the number of a system error.
const OS_ERROR: &str = " (os error ";

/// A message in one line. Control characters are escaped, and the numbers of system errors are left
/// out. It is for messages that come from other libraries.
pub fn one_line(text: &str) -> String {
    let mut rest = text;
    let mut clean = String::with_capacity(text.len());
    while let Some(at) = rest.find(OS_ERROR) {
        clean.push_str(&rest[..at]);
        let behind = &rest[at + OS_ERROR.len()..];
        rest = behind.find(')').map_or("", |end| &behind[end + 1..]);
    }
    clean.push_str(rest);
    Printable(clean.as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_no_number_and_begin_in_lower_case() {
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
