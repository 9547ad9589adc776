//! The ports of a rule.

/// TCP ports: one, a range, or all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ports {
    /// `*`
    Any,
    /// One port.
    One(u16),
    /// From the first port to the last one, both included.
    Range(u16, u16),
}

impl Ports {
    /// Reads `22`, `8000-8100` or `*`. `None` if the text is none of them. Port 0 is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Any);
        }
        let Some((first, last)) = text.split_once('-') else { return port(text).map(Self::One) };
        let (first, last) = (port(first)?, port(last)?);
        (first <= last).then_some(Self::Range(first, last))
    }

    /// Whether this port is one of them. Port 0 never is.
    pub(super) fn contain(self, port: u16) -> bool {
        port != 0
            && match self {
                Self::Any => true,
                Self::One(own) => own == port,
                Self::Range(first, last) => (first..=last).contains(&port),
            }
    }

    /// Whether a server may listen on this port. With port 0 the system chooses.
    pub(super) fn permit_listen(self, port: u16) -> bool {
        match port {
            0 => !matches!(self, Self::One(_)),
            port => self.contain(port),
        }
    }
}

/// A port from 1 to 65535, in digits only.
fn port(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| is_number && *port != 0)
}
