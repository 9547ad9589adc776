//! `server_cipher.toml` as a whole: the list of its tables, and how the file is read.

use std::path::Path;
use std::sync::Arc;

use vpn_suite::Registry;

use super::ciphers::Ciphers;
use super::classic::ClassicTable;
use super::exec::ExecTable;
use super::limits::LimitsTable;
use super::problem::{ConfigError, Fault, Problem};
use super::sealed::SealedTable;
use super::section::{Context, Overrides, Section};
use super::server::ServerTable;
use super::source::{BUILT_IN, DEFAULT_PATH, Source};
use super::table::{RawTable, parse};
use crate::files::{self, FileError, FileProblem, Role, shown};
use vpn_proto::classic::{ClassicParams, Telling, Timing};

/// Makes [`Settings`] from the list of tables. The tables are read in the order of the list.
macro_rules! settings {
    ($($(#[$doc:meta])+ $field:ident: $table:ty,)+) => {
        /// A checked configuration of server and client.
        #[derive(Clone, Debug)]
        pub struct Settings {
            /// Where the configuration comes from.
            pub source: Source,
            $($(#[$doc])+ pub $field: $table,)+
            /// Why the values that decide about access cannot be trusted: other users could have
            /// written the file. `None` if the file is safe or has no such values.
            pub distrust: Option<FileError>,
        }

        /// The names of all tables.
        const NAMES: &[&str] = &[$(<$table>::NAME,)+];

        /// Whether the file may have several tables of a name.
        fn is_list(name: &str) -> bool {
            $((<$table>::IS_LIST && name == <$table>::NAME))||+
        }

        impl Settings {
            fn read(file: &mut RawTable<'_>, context: &Context<'_>) -> Result<Self, Fault> {
                Ok(Self {
                    source: context.source.clone(),
                    $($field: <$table>::read(file, context)?,)+
                    distrust: None,
                })
            }

            fn needs_trust(&self) -> bool {
                $(self.$field.needs_trust())||+
            }
        }

        /// The tables and their keys.
        #[cfg(test)]
        const KEYS: &[(&str, &[&str])] = &[$((<$table>::NAME, <$table>::KEYS),)+];
    };
}

settings! {
    /// The tables `[[supported_cipher]]`.
    ciphers: Ciphers,
    /// The table `[classic]`.
    classic: ClassicTable,
    /// The table `[sealed]`.
    sealed: SealedTable,
    /// The table `[server]`.
    server: ServerTable,
    /// The table `[limits]`.
    limits: LimitsTable,
    /// The tables `[exec.NAME]`.
    exec: ExecTable,
}

impl Settings {
    /// Reads the file `path`. Without a path, reads [`DEFAULT_PATH`] if that exists, and the built-in
    /// default otherwise.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the file cannot be read or a line is wrong.
    pub fn load(
        path: Option<&Path>,
        registry: &Registry,
        overrides: &Overrides,
    ) -> Result<Self, ConfigError> {
        if let Some(path) = path {
            return Self::from_file(path, registry, overrides);
        }
        match Self::from_file(Path::new(DEFAULT_PATH), registry, overrides) {
            Err(ConfigError::File(error)) if error.problem == FileProblem::Missing => {
                let folder = std::env::current_dir().unwrap_or_default();
                log::info!("no {DEFAULT_PATH} in {}: using the built-in default", shown(&folder));
                Self::parse(BUILT_IN, Source::BuiltIn, registry, overrides)
            }
            loaded => loaded,
        }
    }

    /// The built-in configuration. Ciphers that are not linked are left out.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Problem`] if none of its ciphers is linked.
    pub fn built_in(registry: &Registry) -> Result<Self, ConfigError> {
        Self::parse(BUILT_IN, Source::BuiltIn, registry, &Overrides::default())
    }

    fn from_file(
        path: &Path,
        registry: &Registry,
        overrides: &Overrides,
    ) -> Result<Self, ConfigError> {
        let contents = files::read(path, Role::Config)?;
        let text = contents
            .text()
            .map_err(|error| ConfigError::at(path, error.line, Problem::NotText(error)))?;
        log::debug!("configuration: {}", shown(path));
        let source = Source::File(path.to_owned());
        let mut settings = Self::parse(text, source, registry, overrides)?;
        if settings.needs_trust() {
            let distrust =
                |problem| FileError { role: Role::Config, path: path.to_owned(), problem };
            settings.distrust = contents.trust.err().map(distrust);
        }
        Ok(settings)
    }

    /// Reads the text of a configuration. `source` is where the text comes from. `registry` has the
    /// ciphers that this program is linked with. `overrides` replaces values of the text.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Problem`] if a line is wrong.
    pub fn parse(
        text: &str,
        source: Source,
        registry: &Registry,
        overrides: &Overrides,
    ) -> Result<Self, ConfigError> {
        let context = Context { text, source: &source, registry, overrides };
        let lists: Vec<&str> = NAMES.iter().copied().filter(|name| is_list(name)).collect();
        parse(text, NAMES, &lists)
            .and_then(|mut file| Self::read(&mut file, &context))
            .map_err(|fault| fault.in_file(source.path(), text))
    }

    /// Says how to enable a suite of the sealed profile, such as `aes-256-cbc`. The answer names the
    /// line of the file to change, if the file lists the cipher.
    pub fn how_to_enable(&self, suite: &str) -> String {
        self.ciphers.how_to_enable(suite, &self.source)
    }

    /// The time limits of classic sessions, from `[classic]` and `[limits]`.
    pub fn timing(&self) -> Timing {
        let mut timing = Timing::default();
        if let Some(quiet) = self.classic.quiet {
            timing.quiet = quiet;
            timing.settled = timing.settled.min(quiet);
        }
        if let Some(message) = self.limits.message {
            timing.message = message;
        }
        timing
    }

    /// The parameters of a classic handshake, for client and server.
    pub fn classic_params(&self) -> ClassicParams {
        ClassicParams {
            enabled: Arc::clone(&self.ciphers.enabled),
            plan: self.classic.plan,
            timing: self.timing(),
            message_limit: self.limits.net.message,
            telling: Telling::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    // rustc links only crates that are named.
    use vpn_suites as _;

    // A key that is known and not read would be ignored silently. A date is an error for every key.
    #[test]
    fn every_known_key_is_read() {
        let registry = Registry::linked().unwrap();
        let parse = |text: &str| {
            let source = Source::File("c.toml".into());
            Settings::parse(text, source, &registry, &Overrides::default())
        };
        let cipher = ["name = 'AES'\n", "keys = [128]\n"];
        for (table, keys) in KEYS {
            for key in *keys {
                let text = match is_list(table) {
                    // The other key has to be there, too.
                    true => {
                        let others = cipher.iter().filter(|line| !line.starts_with(key));
                        let others: String = others.copied().collect();
                        format!("[[{table}]]\n{others}{key} = 2026-01-01\n")
                    }
                    false => format!(
                        "[[supported_cipher]]\n{}[{table}]\n{key} = 2026-01-01\n",
                        cipher.concat()
                    ),
                };
                let error = parse(&text).expect_err(key).to_string();
                assert!(error.contains(&format!(": {key} ")), "{table}.{key}: {error}");
            }
        }
    }
}
