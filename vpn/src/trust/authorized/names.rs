//! The names of the services that a program has.

/// Services that have rules of their own in `permit`, which say more than the name.
const WITH_RULES: [&str; 5] = ["channels", "exec", "forward", "remote-forward", "tun"];

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

    /// The service of a line without `permit`.
    pub(super) fn usual(&self) -> &str {
        &self.usual
    }

    /// Whether `permit` may have this name alone, without a target.
    pub(super) fn is_plain(&self, name: &str) -> bool {
        self.plain().any(|plain| plain == name)
    }

    /// The names that `permit` may have alone, separated by commas, for messages.
    pub(super) fn listed(&self) -> String {
        self.plain().collect::<Vec<_>>().join(", ")
    }

    fn plain(&self) -> impl Iterator<Item = &str> {
        let others = self.others.iter().map(String::as_str);
        let others = others.filter(|name| !WITH_RULES.contains(name));
        std::iter::once(self.usual.as_str()).chain(others)
    }
}
