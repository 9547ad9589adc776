//! `authorized_clients`: who may come in, and what for; lines like those of OpenSSH.
//!
//! `permit="message,exec:backup" from="10.0.0.0/8" expires="2027-01-01" max-sessions=4
//! ssh-ed25519 AAAA… comment`
//!
//! At the start every line has to be right. Afterwards a line that is wrong is skipped, and the log
//! says which: one slip of an editor must not shut everybody out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::timeout;

use super::IdentityError;
use super::keys::{PublicKey, other_kind};
use super::known::word;
use crate::files::{self, Contents, FileError, FileProblem, Role, Stamp, text_of};
use crate::net::Network;
use crate::net::limits::SESSIONS_OF_A_KEY;

/// How long a client waits for the disk with the list.
const DEADLINE: Duration = Duration::from_secs(2);
/// No more faults than this are logged of one state of the file.
const FAULTS: usize = 20;
/// Names of services for later, by themselves and with a target (PROTOCOL.md §4.8).
const RESERVED: [&str; 1] = ["tun"];
const RESERVED_WITH_TARGET: [&str; 4] = ["exec:", "forward:", "remote-forward:", "tun:"];
/// Options of OpenSSH's authorized_keys, and what to do about them.
const OF_SSH: [(&str, &str); 21] = [
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
    ("permitlisten", "take it out"),
    ("permitopen", "take it out"),
    ("port-forwarding", "take it out"),
    ("principals", "take it out"),
    ("pty", "take it out"),
    ("restrict", "take it out"),
    ("tunnel", "take it out"),
    ("user-rc", "take it out"),
    ("verify-required", "take it out"),
    ("x11-forwarding", "take it out"),
];

/// The file; changes to it count for the next client.
#[derive(Clone, Debug)]
pub struct AuthorizedClients(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    services: ServiceNames,
    state: Mutex<State>,
    /// One look at the file at a time.
    turn: tokio::sync::Mutex<()>,
    /// A look has begun and not ended.
    is_reading: AtomicBool,
}

#[derive(Debug)]
struct State {
    list: Arc<ClientList>,
    stamp: Stamp,
    /// Whether a change would show in the stamp.
    is_settled: bool,
    /// What the log was told last, so that strangers cannot fill it.
    trouble: Option<FileError>,
}

/// The clients of the file at one time.
#[derive(Debug, Default)]
pub struct ClientList(HashMap<[u8; 32], Vec<Line>>);

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

/// The services of a program, as `permit` names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceNames {
    usual: String,
    others: Vec<String>,
}

impl ServiceNames {
    /// These services. A client whose line does not say may use the usual one.
    pub fn new<'a>(usual: &str, others: impl IntoIterator<Item = &'a str>) -> Self {
        let others = others.into_iter().filter(|name| *name != usual).map(str::to_owned);
        Self { usual: usual.to_owned(), others: others.collect() }
    }

    fn contains(&self, name: &str) -> bool {
        self.usual == name || self.others.iter().any(|other| other == name)
    }

    /// All names, for messages.
    fn listed(&self) -> String {
        let names = std::iter::once(&self.usual).chain(&self.others);
        names.map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}

impl Grant {
    /// What a client may do whose line does not say.
    pub fn usual(services: &ServiceNames) -> Self {
        Self {
            permit: vec![services.usual.clone()],
            max_sessions: Some(SESSIONS_OF_A_KEY),
            comment: String::new(),
        }
    }

    /// Whether a service may be opened.
    pub fn permits(&self, service: &str) -> bool {
        self.permit.iter().any(|p| p == service)
    }
}

#[derive(Debug)]
struct Line {
    grant: Grant,
    from: Vec<Network>,
    expires: Option<u64>,
}

impl AuthorizedClients {
    /// The file at this path, which is read now to see that every line is right. Its lines may permit
    /// these services.
    ///
    /// # Errors
    ///
    /// If it cannot be read, others could write it, or a line is wrong.
    pub fn open(path: &Path, services: ServiceNames) -> Result<Self, IdentityError> {
        let now = SystemTime::now();
        let contents = files::read(path, Role::AuthorizedClients)?;
        if let Err(error) = text_of(&contents.bytes)
            && error.is_utf16
        {
            return Err(IdentityError::line(path, error.line, error));
        }
        let (list, faults) = ClientList::parse(&contents.bytes, &services);
        if let Some((line, problem)) = faults.into_iter().next() {
            return Err(IdentityError::line(path, line, problem));
        }
        if list.0.is_empty() {
            log::warn!("{}: nobody is listed, so no key is let in", files::shown(path));
        }
        let state = State {
            list: Arc::new(list),
            is_settled: contents.stamp.is_settled(now),
            stamp: contents.stamp,
            trouble: None,
        };
        Ok(Self(Arc::new(Shared {
            path: path.to_owned(),
            services,
            state: Mutex::new(state),
            turn: tokio::sync::Mutex::default(),
            is_reading: AtomicBool::new(false),
        })))
    }

    /// The clients that the file lists now. It is read only if it has changed, away from the threads
    /// that move bytes. `None` if it cannot be read, or others could have written it: nobody is let
    /// in then, and the log says why.
    pub async fn current(&self) -> Option<Arc<ClientList>> {
        let shared = &self.0;
        let _turn = shared.turn.lock().await;
        if shared.is_reading.swap(true, Ordering::AcqRel) {
            // The last look is stuck, and one is enough.
            return None;
        }
        let reader = shared.clone();
        let looking = tokio::task::spawn_blocking(move || {
            let looked = reader.look();
            reader.is_reading.store(false, Ordering::Release);
            looked
        });
        let (now, contents) = match timeout(DEADLINE, looking).await {
            Ok(Ok(Looked::Known(list))) => return Some(list),
            Ok(Ok(Looked::Changed(now, contents))) => (now, contents),
            Ok(Ok(Looked::Unusable)) => return None,
            Ok(Err(_)) => {
                // It failed, and so has ended.
                shared.is_reading.store(false, Ordering::Release);
                return None;
            }
            Err(_) => {
                shared.complain(&FileError::new(
                    Role::AuthorizedClients,
                    &shared.path,
                    FileProblem::TimedOut,
                ));
                return None;
            }
        };
        // The deadline is for the disk. A long list takes its time, and its length is bounded.
        let parser = shared.clone();
        tokio::task::spawn_blocking(move || parser.take_in(now, &contents)).await.ok()
    }
}

/// What a look at the file brought.
enum Looked {
    /// It has changed: when it was looked at, and what it says.
    Changed(SystemTime, Contents),
    /// It is as it was.
    Known(Arc<ClientList>),
    /// It cannot be used; the log says why.
    Unusable,
}

impl Shared {
    fn look(&self) -> Looked {
        let now = SystemTime::now();
        let seen = match files::look_here(&self.path, Role::AuthorizedClients) {
            Ok(stamp) => stamp,
            Err(error) => {
                self.complain(&error);
                return Looked::Unusable;
            }
        };
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.is_settled && state.stamp == seen {
                state.trouble = None;
                return Looked::Known(state.list.clone());
            }
        }
        match files::read_here(&self.path, Role::AuthorizedClients) {
            Ok(contents) => Looked::Changed(now, contents),
            Err(error) => {
                self.complain(&error);
                Looked::Unusable
            }
        }
    }

    fn take_in(&self, now: SystemTime, contents: &Contents) -> Arc<ClientList> {
        let (list, faults) = ClientList::parse(&contents.bytes, &self.services);
        let list = Arc::new(list);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.stamp != contents.stamp {
            self.report(&faults);
        }
        *state = State {
            list: list.clone(),
            is_settled: contents.stamp.is_settled(now),
            stamp: contents.stamp.clone(),
            trouble: None,
        };
        list
    }

    fn report(&self, faults: &[(usize, String)]) {
        for (line, problem) in faults.iter().take(FAULTS) {
            let error = IdentityError::line(&self.path, *line, problem);
            log::warn!("{error}; this line is skipped");
        }
        if faults.len() > FAULTS {
            let more = faults.len() - FAULTS;
            log::warn!("{}: {more} more lines are skipped", files::shown(&self.path));
        }
    }

    /// Says once what keeps everybody out.
    fn complain(&self, error: &FileError) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.trouble.as_ref() != Some(error) {
            log::error!("{error}; nobody is let in by a key");
            state.trouble = Some(error.clone());
        }
    }
}

impl ClientList {
    /// A list of these keys, which may all do the same.
    pub fn of(keys: impl IntoIterator<Item = [u8; 32]>, grant: &Grant) -> Self {
        let line = || Line { grant: grant.clone(), from: Vec::new(), expires: None };
        Self(keys.into_iter().map(|key| (key, vec![line()])).collect())
    }

    /// Reads all lines that are right, and says which are not.
    fn parse(bytes: &[u8], services: &ServiceNames) -> (Self, Vec<(usize, String)>) {
        let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
        let (mut clients, mut faults) = (HashMap::<_, Vec<Line>>::new(), Vec::new());
        for (number, line) in (1..).zip(bytes.split(|b| *b == b'\n')) {
            // A comment may be in whatever encoding.
            let line = String::from_utf8_lossy(line);
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match parse(line, services) {
                Ok((key, line)) => clients.entry(key).or_default().push(line),
                Err(problem) => faults.push((number, problem)),
            }
        }
        (Self(clients), faults)
    }

    /// What the holder of this key may do from this address: what the first of its lines says that
    /// lets it in.
    ///
    /// # Errors
    ///
    /// Why it may do nothing, for our log.
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

fn parse(line: &str, known: &ServiceNames) -> Result<([u8; 32], Line), String> {
    let mut entry = Line { grant: Grant::usual(known), from: Vec::new(), expires: None };
    let mut seen: Vec<String> = Vec::new();
    let mut rest = line;
    if line.starts_with("-----BEGIN") {
        return Err("it is a private key; list the text of its .pub file".to_owned());
    }
    loop {
        let first = word(rest).0;
        if first.starts_with("ssh-ed25519") || other_kind(first).is_some() {
            break;
        }
        let (name, value, tail) = option(rest)?;
        let name = name.to_ascii_lowercase();
        if seen.contains(&name) {
            return Err(format!("the option '{name}' is given twice; keep one"));
        }
        let Some(value) = value else {
            return Err(unknown(&name));
        };
        match name.as_str() {
            "permit" => entry.grant.permit = permitted(value, known)?,
            "from" => entry.from = networks(value)?,
            "expires" => {
                let end = seconds_of(value.trim());
                let form = || format!("'{value}' is no date; write YYYY-MM-DD");
                entry.expires = Some(end.ok_or_else(form)?);
            }
            "max-sessions" => {
                let count = value.trim().parse();
                let form = || format!("max-sessions: '{value}' is no number");
                entry.grant.max_sessions = Some(count.map_err(|_| form())?);
            }
            other => return Err(unknown(other)),
        }
        seen.push(name);
        rest = tail;
    }
    let key = PublicKey::read(rest)?;
    entry.grant.comment = key.comment;
    Ok((key.bytes, entry))
}

fn unknown(name: &str) -> String {
    match OF_SSH.iter().find(|(known, _)| *known == name) {
        Some((_, remedy)) => format!("ssh's option '{name}' has no meaning here; {remedy}"),
        None => {
            format!("unknown option '{name}' (possible: permit, from, expires, max-sessions)")
        }
    }
}

fn permitted(value: &str, known: &ServiceNames) -> Result<Vec<String>, String> {
    let list: Vec<&str> = value.split(',').map(str::trim).collect();
    if list.iter().all(|service| service.is_empty()) {
        return Err(format!("permit names no service (possible: {})", known.listed()));
    }
    let is_known = |service: &str| {
        let is_reserved = |prefix| service.strip_prefix(prefix).is_some_and(|t| !t.is_empty());
        known.contains(service)
            || RESERVED.contains(&service)
            || RESERVED_WITH_TARGET.into_iter().any(is_reserved)
    };
    match list.iter().find(|service| !is_known(service)) {
        Some(other) => Err(format!("'{other}' is no service (possible: {})", known.listed())),
        None => Ok(list.into_iter().map(str::to_owned).collect()),
    }
}

fn networks(value: &str) -> Result<Vec<Network>, String> {
    let network = |text: &str| match text.trim() {
        mapped if mapped.to_ascii_lowercase().starts_with("::ffff:") => {
            Err(format!("'{mapped}': write the IPv4 address itself"))
        }
        text => Network::parse(text)
            .ok_or_else(|| format!("'{text}' is no address or network, such as 10.0.0.0/8")),
    };
    value.split(',').map(network).collect()
}

/// Takes `name`, `name=value` or `name="value"` and what separates it from the next off a line.
fn option(line: &str) -> Result<(&str, Option<&str>, &str), String> {
    let end = line.find([' ', '\t', ',', '=']).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if name.is_empty() || !name.chars().all(is_name) || (rest.is_empty() && name.len() > 32) {
        return Err("expected [OPTIONS] ssh-ed25519 KEY".to_owned());
    }
    let (value, rest) = match rest.strip_prefix('=') {
        None if rest.trim().is_empty() && !OF_SSH.iter().any(|(known, _)| *known == name) => {
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

    fn known() -> ServiceNames {
        ServiceNames::new("message", ["message", "pipe"])
    }

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f me@here";

    #[test]
    fn lines_say_who_and_what_for() {
        let (key, line) = parse(KEY, &known()).unwrap();
        assert_eq!((key[31], line.grant.comment.as_str()), (31, "me@here"));
        assert!(line.grant.permits("message") && !line.grant.permits("pipe"));
        let options = "permit=\"message,exec:backup\" from=\"10.0.0.0/8,::1\" \
                       expires=\"2027-01-01\" max-sessions=4 ";
        let (_, line) = parse(&format!("{options}{KEY}"), &known()).unwrap();
        assert_eq!(line.grant.permit, ["message", "exec:backup"]);
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
            let (_, line) = parse(&format!("{options}{tabs}"), &known()).unwrap();
            assert_eq!(line.grant.permit, ["message", "pipe"], "{options}");
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
            (&format!("permit=\"exec:\" {KEY}"), "'exec:' is no service"),
            (&format!("max-sessions=many {KEY}"), "'many' is no number"),
            (&format!("expires=2027-01-01 expires=2028-01-01 {KEY}"), "'expires' is given twice"),
            (&format!("from=10.0.0.1,FROM=10.0.0.2 {KEY}"), "'from' is given twice"),
        ] {
            let got = parse(line, &known()).unwrap_err();
            assert!(got.contains(problem), "{line}: {got}");
        }
    }

    #[test]
    fn a_later_line_of_the_same_key_counts_too() {
        let here = "127.0.0.1".parse().unwrap();
        let text = format!(
            "expires=2020-01-01 {KEY}\nnonsense\nfrom=10.0.0.0/8 {KEY}\npermit=\"pipe\" {KEY}\n"
        );
        let (list, faults) = ClientList::parse(text.as_bytes(), &known());
        let key = PublicKey::parse(KEY).unwrap().bytes;
        assert_eq!(list.grant(&key, here).unwrap().permit, ["pipe"]);
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].0, 2);
        assert_eq!(list.grant(&[1; 32], here), Err("its key is unknown"));
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
