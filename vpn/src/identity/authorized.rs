//! `authorized_clients`: who may come in, and what for; lines like those of OpenSSH.
//!
//! `permit="message,exec:backup" from="10.0.0.0/8" expires="2027-01-01" max-sessions=4
//! ssh-ed25519 AAAA… comment`

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::keys::PublicKey;
use super::{IdentityError, check_mode};
use crate::net::Network;
use crate::net::limits::SESSIONS_OF_A_KEY;

/// The file; it is read anew for every client.
#[derive(Clone, Debug)]
pub struct AuthorizedClients {
    path: PathBuf,
}

/// What a client may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The services it may open, with their targets.
    pub permit: Vec<String>,
    /// How many sessions it may have at once.
    pub max_sessions: Option<usize>,
    /// The comment of its line.
    pub comment: String,
}

impl Default for Grant {
    fn default() -> Self {
        Self {
            permit: vec!["message".to_owned()],
            max_sessions: Some(SESSIONS_OF_A_KEY),
            comment: String::new(),
        }
    }
}

impl Grant {
    /// Whether a service may be opened.
    pub fn permits(&self, service: &str) -> bool {
        self.permit.iter().any(|p| p == service)
    }
}

#[derive(Debug)]
struct Line {
    key: [u8; 32],
    grant: Grant,
    from: Vec<Network>,
    expires: Option<u64>,
}

impl AuthorizedClients {
    /// The file at this path, which is read once now to see that it can be.
    ///
    /// # Errors
    ///
    /// If it cannot be read, others could write it, or a line is wrong.
    pub fn open(path: &Path) -> Result<Self, IdentityError> {
        let file = Self { path: path.to_owned() };
        file.read()?;
        Ok(file)
    }

    /// What the holder of this key may do from this address.
    ///
    /// # Errors
    ///
    /// Why it may do nothing, for our log.
    pub fn grant(&self, key: &[u8; 32], from: IpAddr) -> Result<Grant, &'static str> {
        let lines = self.read().map_err(|error| {
            log::error!("{error}");
            "the list of authorized clients cannot be read"
        })?;
        let line = lines.into_iter().find(|line| line.key == *key).ok_or("its key is unknown")?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        if line.expires.is_some_and(|end| now >= end) {
            return Err("its key has expired");
        }
        if !line.from.is_empty() && !line.from.iter().any(|n| n.contains(from)) {
            return Err("it comes from an address that its key is not for");
        }
        Ok(line.grant)
    }

    fn read(&self) -> Result<Vec<Line>, IdentityError> {
        check_mode(&self.path, 0o022, "writable", "644")?;
        let text = std::fs::read_to_string(&self.path).map_err(IdentityError::io(&self.path))?;
        let is_entry = |line: &&str| !line.is_empty() && !line.starts_with('#');
        let lines = (1..).zip(text.lines().map(str::trim)).filter(|(_, line)| is_entry(line));
        lines
            .map(|(number, line)| {
                parse(line).map_err(|problem| IdentityError::Line {
                    path: self.path.clone(),
                    line: number,
                    problem,
                })
            })
            .collect()
    }
}

fn parse(line: &str) -> Result<Line, String> {
    let mut entry = Line { key: [0; 32], grant: Grant::default(), from: Vec::new(), expires: None };
    let mut rest = line;
    while !rest.starts_with("ssh-") {
        let (name, value, tail) = option(rest)?;
        match name {
            "permit" => entry.grant.permit = value.split(',').map(str::to_owned).collect(),
            "from" => {
                let networks = value.split(',').map(|text| {
                    Network::parse(text).ok_or_else(|| format!("'{text}' is no address or network"))
                });
                entry.from = networks.collect::<Result<_, _>>()?;
            }
            "expires" => {
                let end = seconds_of(value).ok_or_else(|| format!("'{value}' is no date"))?;
                entry.expires = Some(end);
            }
            "max-sessions" => {
                let count = value.parse().map_err(|_| format!("'{value}' is no number"))?;
                entry.grant.max_sessions = Some(count);
            }
            other => {
                return Err(format!(
                    "unknown option '{other}' (possible: permit, from, expires, max-sessions)"
                ));
            }
        }
        rest = tail;
    }
    let key = PublicKey::parse(rest).ok_or("expected [OPTIONS] ssh-ed25519 KEY")?;
    entry.key = key.bytes;
    entry.grant.comment = key.comment;
    Ok(entry)
}

/// Takes `name=value` or `name="value"` and what separates it from the next off a line.
fn option(line: &str) -> Result<(&str, &str, &str), String> {
    let form = || "expected [OPTIONS] ssh-ed25519 KEY".to_owned();
    let (name, rest) = line.split_once('=').ok_or_else(form)?;
    let (value, rest) = match rest.strip_prefix('"') {
        Some(rest) => rest.split_once('"').ok_or_else(|| "a quote is not closed".to_owned())?,
        None => {
            let end = rest.find([' ', ',']).ok_or_else(form)?;
            rest.split_at(end)
        }
    };
    Ok((name, value, rest.trim_start_matches([' ', ','])))
}

/// The beginning of a day `YYYY-MM-DD`, UTC, in seconds since 1970.
fn seconds_of(date: &str) -> Option<u64> {
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

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f me@here";

    #[test]
    fn lines_say_who_and_what_for() {
        let line = parse(KEY).unwrap();
        assert_eq!((line.key[31], line.grant.comment.as_str()), (31, "me@here"));
        assert!(line.grant.permits("message") && !line.grant.permits("pipe"));
        let options = "permit=\"message,exec:backup\" from=\"10.0.0.0/8,::1\" \
                       expires=\"2027-01-01\" max-sessions=4 ";
        let line = parse(&format!("{options}{KEY}")).unwrap();
        assert_eq!(line.grant.permit, ["message", "exec:backup"]);
        assert_eq!((line.grant.max_sessions, line.expires), (Some(4), Some(1_798_761_600)));
        assert!(line.from[0].contains("10.1.2.3".parse().unwrap()));
        assert!(!line.from[0].contains("11.1.2.3".parse().unwrap()));
        assert!(line.from[1].contains("::1".parse().unwrap()));
    }

    #[test]
    fn wrong_lines_say_what_is_wrong() {
        for (line, problem) in [
            ("hello", "expected [OPTIONS]"),
            ("ssh-rsa AAAA", "expected [OPTIONS]"),
            (&format!("speed=3 {KEY}"), "unknown option 'speed'"),
            (&format!("expires=\"2027-02-30\" {KEY}"), "'2027-02-30' is no date"),
            (&format!("from=\"10.0.0.0/33\" {KEY}"), "'10.0.0.0/33' is no address"),
            (&format!("permit=\"message {KEY}"), "a quote is not closed"),
            (&format!("max-sessions=many {KEY}"), "'many' is no number"),
        ] {
            let got = parse(line).unwrap_err();
            assert!(got.contains(problem), "{line}: {got}");
        }
    }

    #[test]
    fn dates_are_days_since_1970() {
        assert_eq!(seconds_of("1970-01-01"), Some(0));
        assert_eq!(seconds_of("2000-03-01"), Some(951_868_800));
        assert_eq!(seconds_of("2024-02-29"), Some(1_709_164_800));
        for wrong in ["2023-02-29", "2024-13-01", "2024-00-10", "2024-1", "x", "2024-01-01-1"] {
            assert_eq!(seconds_of(wrong), None, "{wrong}");
        }
    }
}
