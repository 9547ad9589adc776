//! What a client may do.

use crate::net::limits::SESSIONS_OF_A_KEY;

/// What a client may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The services that the client may open, with their targets.
    pub permit: Vec<String>,
    /// The greatest number of sessions that the client may have at once.
    pub max_sessions: Option<usize>,
    /// The comment of its line.
    pub comment: String,
}

impl Grant {
    /// The grant of a client whose line has no options.
    pub fn usual(services: &ServiceNames) -> Self {
        Self {
            permit: vec![services.usual.clone()],
            max_sessions: Some(SESSIONS_OF_A_KEY),
            comment: String::new(),
        }
    }

    /// Whether the client may open this service.
    pub fn permits(&self, service: &str) -> bool {
        self.permit.iter().any(|p| p == service)
    }
}

/// The names of the services that a program has. The option `permit` takes these names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceNames {
    usual: String,
    others: Vec<String>,
}

impl ServiceNames {
    /// Takes the names. A client may open the service `usual` if its line has no option `permit`.
    pub fn new<'a>(usual: &str, others: impl IntoIterator<Item = &'a str>) -> Self {
        let others = others.into_iter().filter(|name| *name != usual).map(str::to_owned);
        Self { usual: usual.to_owned(), others: others.collect() }
    }

    /// Whether this is the name of a service.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.usual == name || self.others.iter().any(|other| other == name)
    }

    /// All names, separated by commas, for messages.
    pub(super) fn listed(&self) -> String {
        let names = std::iter::once(&self.usual).chain(&self.others);
        names.map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}
