//! The contents of `authorized_clients`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use super::grant::Grant;
use super::line::Line;
use super::names::ServiceNames;

/// The clients that the file lists, by their keys.
#[derive(Debug, Default)]
pub struct ClientList(HashMap<[u8; 32], Vec<Line>>);

impl ClientList {
    /// A list of clients with these keys and the same grant. They may come from every network.
    pub fn of(keys: impl IntoIterator<Item = [u8; 32]>, grant: &Grant) -> Self {
        let line = |key| Line { key, grant: grant.clone(), from: Vec::new(), expires: None };
        Self(keys.into_iter().map(|key| (key, vec![line(key)])).collect())
    }

    /// Reads all lines. Returns the list of the right lines, and for each wrong line its number, from
    /// 1, and a message.
    pub(super) fn parse(bytes: &[u8], services: &ServiceNames) -> (Self, Vec<(usize, String)>) {
        let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
        let (mut clients, mut faults) = (HashMap::<_, Vec<Line>>::new(), Vec::new());
        for (number, line) in (1..).zip(bytes.split(|b| *b == b'\n')) {
            // A comment may have any encoding.
            let line = String::from_utf8_lossy(line);
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match Line::parse(line, services) {
                Ok(line) => clients.entry(line.key).or_default().push(line),
                Err(problem) => faults.push((number, problem)),
            }
        }
        (Self(clients), faults)
    }

    /// Whether no client is listed.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a client with this key and address may do. The first line that lets the client in counts.
    ///
    /// # Errors
    ///
    /// The reason why the client may do nothing, for the log of the server.
    pub fn grant(&self, key: &[u8; 32], from: IpAddr) -> Result<Grant, &'static str> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let mut reason = "its key is unknown";
        for line in self.0.get(key).into_iter().flatten() {
            if line.expires.is_some_and(|end| now >= end) {
                reason = "its key has expired";
            } else if !line.from.is_empty() && !line.from.iter().any(|n| n.contains(from)) {
                reason = "it comes from an address that its key is not for";
            } else {
                return Ok(line.grant.clone());
            }
        }
        Err(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::{Permit, PublicKey};

    fn known() -> ServiceNames {
        ServiceNames::new("message", ["message", "pipe"])
    }

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f me@here";

    #[test]
    fn a_later_line_of_the_same_key_counts_too() {
        let here = "127.0.0.1".parse().unwrap();
        let text = format!(
            "expires=2020-01-01 {KEY}\nnonsense\nfrom=10.0.0.0/8 {KEY}\npermit=\"pipe\" {KEY}\n"
        );
        let (list, faults) = ClientList::parse(text.as_bytes(), &known());
        let key = PublicKey::parse(KEY).unwrap().bytes;
        assert_eq!(list.grant(&key, here).unwrap().permit, Permit::service("pipe"));
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].0, 2);
        assert_eq!(list.grant(&[1; 32], here), Err("its key is unknown"));
    }
}
