//! The table `[server]`: where the server listens. `--host` and `--port` replace its values.

use toml::Spanned;

use super::problem::Fault;
use super::section::{Context, Section};
use super::table::RawTable;
use super::values::port;

/// The values of `[server]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerTable {
    /// The name or address to listen on. The text is not checked yet.
    pub host: Option<String>,
    /// The TCP port to listen on.
    pub port: Option<u16>,
}

impl Section for ServerTable {
    const NAME: &'static str = "server";
    const KEYS: &'static [&'static str] = &["host", "port"];

    fn read(file: &mut RawTable<'_>, _: &Context<'_>) -> Result<Self, Fault> {
        let mut table = file.table(Self::NAME, Self::KEYS)?;
        Ok(Self {
            host: table.text("host")?.map(Spanned::into_inner),
            port: port(&mut table, "port")?,
        })
    }
}
