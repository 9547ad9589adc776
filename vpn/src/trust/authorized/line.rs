//! The parser of a line of `authorized_clients`: options and a key.

use super::grant::Grant;
use super::names::ServiceNames;
use super::permit::Permit;
use crate::net::Network;
use crate::trust::format::{is_key_type, split_word};
use crate::trust::keys::PublicKey;

/// The options of a line.
const OPTIONS: [&str; 5] = ["permit", "from", "expires", "max-sessions", "max-channels"];
/// The options of OpenSSH's authorized_keys (sshd(8)), and what to do about them.
const OPENSSH_OPTIONS: [(&str, &str); 21] = [
    ("agent-forwarding", "take it out"),
    ("cert-authority", "take the line out"),
    ("command", "take it out"),
    ("environment", "take it out"),
    ("expiry-time", "write expires=\"YYYY-MM-DD\""),
    ("no-agent-forwarding", "take it out"),
    ("no-port-forwarding", "take it out"),
    ("no-pty", "take it out"),
    ("no-touch-required", "take it out"),
    ("no-user-rc", "take it out"),
    ("no-x11-forwarding", "take it out"),
    ("permitlisten", "write permit=\"remote-forward:BIND:PORTS\""),
    ("permitopen", "write permit=\"forward:HOST:PORTS\""),
    ("port-forwarding", "take it out"),
    ("principals", "take it out"),
    ("pty", "take it out"),
    ("restrict", "take it out"),
    ("tunnel", "take it out"),
    ("user-rc", "take it out"),
    ("verify-required", "take it out"),
    ("x11-forwarding", "take it out"),
];

/// A client's key and what the client may do.
#[derive(Debug)]
pub(super) struct Line {
    /// The Ed25519 public key of the client.
    pub(super) key: [u8; 32],
    /// What the client may do.
    pub(super) grant: Grant,
    /// The networks that the client may come from. Empty means all.
    pub(super) from: Vec<Network>,
    /// When the line expires, in seconds since 1970-01-01, UTC.
    pub(super) expires: Option<u64>,
}

impl Line {
    /// Reads a line. `services` are the names that `permit` may have. The error is the message for the
    /// user.
    pub(super) fn parse(line: &str, services: &ServiceNames) -> Result<Self, String> {
        if line.starts_with("-----BEGIN") {
            return Err("it is a private key; list the text of its .pub file".to_owned());
        }
        let grant = Grant::usual(services);
        let mut entry = Self { key: [0; 32], grant, from: Vec::new(), expires: None };
        let mut seen: Vec<String> = Vec::new();
        let mut rest = line;
        while !is_key_type(split_word(rest).0) {
            let (name, value, tail) = split_option(rest)?;
            let name = name.to_ascii_lowercase();
            if seen.contains(&name) {
                return Err(format!("the option '{name}' is given twice; keep one"));
            }
            let Some(value) = value else { return Err(unknown_option(&name)) };
            entry.set(&name, value, services)?;
            seen.push(name);
            rest = tail;
        }
        let key = PublicKey::read(rest)?;
        entry.key = key.bytes;
        entry.grant.comment = key.comment;
        Ok(entry)
    }

    /// Applies an option.
    fn set(&mut self, name: &str, value: &str, services: &ServiceNames) -> Result<(), String> {
        match name {
            "permit" => self.grant.permit = Permit::parse(value, services)?,
            "from" => self.from = parse_networks(value)?,
            "expires" => {
                let time = seconds_since_1970(value.trim());
                let wrong = || format!("'{value}' is no date; write YYYY-MM-DD");
                self.expires = Some(time.ok_or_else(wrong)?);
            }
            "max-channels" => self.grant.max_channels = Some(parse_number(name, value)?),
            "max-sessions" => self.grant.max_sessions = Some(parse_number(name, value)?),
            other => return Err(unknown_option(other)),
        }
        Ok(())
    }
}

/// The message about an option that does not exist or has no value.
fn unknown_option(name: &str) -> String {
    match OPENSSH_OPTIONS.iter().find(|(known, _)| *known == name) {
        Some((_, remedy)) => format!("ssh's option '{name}' has no meaning here; {remedy}"),
        None => {
            format!("unknown option '{name}' (possible: {})", OPTIONS.join(", "))
        }
    }
}

fn parse_number(name: &str, value: &str) -> Result<usize, String> {
    value.trim().parse().map_err(|_| format!("{name}: '{value}' is no number"))
}

/// Reads the networks of `from`, separated by commas.
fn parse_networks(value: &str) -> Result<Vec<Network>, String> {
    let network = |text: &str| match text.trim() {
        mapped if mapped.to_ascii_lowercase().starts_with("::ffff:") => {
            Err(format!("'{mapped}': write the IPv4 address itself"))
        }
        text => Network::parse(text)
            .ok_or_else(|| format!("'{text}' is no address or network, such as 10.0.0.0/8")),
    };
    value.split(',').map(network).collect()
}

/// Takes an option off the beginning of a line: `name`, `name=value` or `name="value"`. Returns the
/// name, the value and the rest of the line. Blanks, tabs and commas separate options.
fn split_option(line: &str) -> Result<(&str, Option<&str>, &str), String> {
    let end = line.find([' ', '\t', ',', '=']).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if name.is_empty() || !name.chars().all(is_name) || (rest.is_empty() && name.len() > 32) {
        return Err("expected [OPTIONS] ssh-ed25519 KEY".to_owned());
    }
    let (value, rest) = match rest.strip_prefix('=') {
        None if rest.trim().is_empty()
            && !OPENSSH_OPTIONS.iter().any(|(known, _)| *known == name) =>
        {
            return Err("expected [OPTIONS] ssh-ed25519 KEY".to_owned());
        }
        None => (None, rest),
        Some(rest) => match rest.strip_prefix('"') {
            Some(rest) => {
                let (value, rest) = rest.split_once('"').ok_or("a quote is not closed")?;
                (Some(value), rest)
            }
            None => {
                let end = rest.find([' ', '\t', ',']).unwrap_or(rest.len());
                let (value, rest) = rest.split_at(end);
                (Some(value), rest)
            }
        },
    };
    Ok((name, value, rest.trim_start_matches([' ', '\t', ','])))
}

/// The beginning of a day `YYYY-MM-DD` in UTC, in seconds since 1970-01-01. `None` if there is no such
/// day.
fn seconds_since_1970(date: &str) -> Option<u64> {
    let mut parts = date.split('-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() || !(1970..=9999).contains(&year) || !(1..=12).contains(&month) {
        return None;
    }
    let is_leap = |y: u64| y.is_multiple_of(4) && (!y.is_multiple_of(100) || y.is_multiple_of(400));
    let length = |m: u64| match m {
        2 => 28 + u64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if !(1..=length(month)).contains(&day) {
        return None;
    }
    let years: u64 = (1970..year).map(|y| 365 + u64::from(is_leap(y))).sum();
    let months: u64 = (1..month).map(length).sum();
    Some((years + months + day - 1) * 86_400)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> ServiceNames {
        ServiceNames::new("message", ["message", "pipe"])
    }

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f me@here";

    #[test]
    fn a_line_has_a_key_and_options() {
        let line = Line::parse(KEY, &known()).unwrap();
        assert_eq!((line.key[31], line.grant.comment.as_str()), (31, "me@here"));
        let permit = &line.grant.permit;
        assert!(permit.permits("message") && !permit.permits("pipe"));
        assert_eq!(line.grant.max_channels, None);
        let options = "permit=\"message,exec:backup\" from=\"10.0.0.0/8,::1\" \
                       expires=\"2027-01-01\" max-sessions=4 max-channels=7 ";
        let line = Line::parse(&format!("{options}{KEY}"), &known()).unwrap();
        assert_eq!(line.grant.permit.to_string(), "message,exec:backup");
        assert_eq!(line.grant.max_channels, Some(7));
        assert_eq!((line.grant.max_sessions, line.expires), (Some(4), Some(1_798_761_600)));
        assert!(line.from[0].contains("10.1.2.3".parse().unwrap()));
        assert!(!line.from[0].contains("11.1.2.3".parse().unwrap()));
        assert!(line.from[1].contains("::1".parse().unwrap()));
    }

    #[test]
    fn blanks_and_tabs_separate_as_in_openssh() {
        let tabs = KEY.replace(' ', "\t \t");
        for options in [
            "permit=\"message, pipe\"\t",
            "permit=\" message ,pipe \",from=\"127.0.0.1, ::1\" \t",
            "Permit=\"message,pipe\",  max-sessions=3\t",
        ] {
            let line = Line::parse(&format!("{options}{tabs}"), &known()).unwrap();
            assert_eq!(line.grant.permit.to_string(), "message,pipe", "{options}");
            assert_eq!(line.grant.comment, "me@here");
        }
    }

    #[test]
    fn wrong_lines_say_what_is_wrong() {
        for (line, problem) in [
            ("hello", "expected [OPTIONS]"),
            ("ssh-rsa AAAA", "an RSA key; only ssh-ed25519 works here"),
            ("ecdsa-sha2-nistp256 AAAA", "an ecdsa key; only ssh-ed25519 works here"),
            ("sk-ssh-ed25519@openssh.com AAAA", "a key of a security token"),
            ("ssh-ed25519", "the key is cut off"),
            ("ssh-ed25519 AAAA", "the key is cut off or damaged"),
            (&format!("speed=3 {KEY}"), "unknown option 'speed'"),
            (&format!("no-pty {KEY}"), "ssh's option 'no-pty' has no meaning here"),
            (&format!("restrict,command=\"x\" {KEY}"), "ssh's option 'restrict'"),
            (&format!("expiry-time=\"20270101\" {KEY}"), "write expires="),
            (&format!("expires=\"2027-02-30\" {KEY}"), "'2027-02-30' is no date"),
            (&format!("from=\"10.0.0.0/33\" {KEY}"), "'10.0.0.0/33' is no address"),
            (&format!("from=\"\" {KEY}"), "'' is no address"),
            (&format!("from=\"::ffff:10.0.0.1\" {KEY}"), "write the IPv4 address itself"),
            (&format!("permit=\"message {KEY}"), "a quote is not closed"),
            (&format!("permit=\"pipes\" {KEY}"), "'pipes' is no service (possible: message, pipe)"),
            (&format!("permit=\"\" {KEY}"), "permit names no service"),
            (&format!("permit=\"message,,pipe\" {KEY}"), "'' is no service"),
            (&format!("permit=\"exec:\" {KEY}"), "'exec:' needs a command"),
            (&format!("max-channels=many {KEY}"), "max-channels: 'many' is no number"),
            (&format!("max-sessions=many {KEY}"), "'many' is no number"),
            (&format!("expires=2027-01-01 expires=2028-01-01 {KEY}"), "'expires' is given twice"),
            (&format!("from=10.0.0.1,FROM=10.0.0.2 {KEY}"), "'from' is given twice"),
        ] {
            let got = Line::parse(line, &known()).unwrap_err();
            assert!(got.contains(problem), "{line}: {got}");
        }
    }

    #[test]
    fn dates_are_days_since_1970() {
        assert_eq!(seconds_since_1970("1970-01-01"), Some(0));
        assert_eq!(seconds_since_1970("2000-03-01"), Some(951_868_800));
        assert_eq!(seconds_since_1970("2024-02-29"), Some(1_709_164_800));
        for wrong in ["2023-02-29", "2024-13-01", "2024-00-10", "2024-1", "x", "2024-01-01-1"] {
            assert_eq!(seconds_since_1970(wrong), None, "{wrong}");
        }
    }
}
