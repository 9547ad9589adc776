//! `vpn suites`.

use serde::Serialize;
use vpn_suite::{CipherSuite, Registry};

use super::args::SuitesArgs;
use super::failure::{Exit, Failure};
use super::print;
use crate::config::{BUILT_IN, ConfigError, Overrides, Problem, Settings};
use vpn_proto::EnabledSuite;

/// A suite as `--json` prints it. Key sizes are in bits, the block size is in bytes.
#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    aliases: Vec<&'static str>,
    key_sizes: Vec<u32>,
    #[serde(skip)]
    key_sizes_text: String,
    block_size: usize,
    enabled: Vec<u32>,
    constant_time: bool,
    speed: String,
    notes: Vec<&'static str>,
}

pub(super) fn run(args: &SuitesArgs, registry: &Registry) -> Result<(), Failure> {
    if args.show_config {
        return print(BUILT_IN);
    }
    let enabled = match Settings::load(args.config.as_deref(), registry, &Overrides::default()) {
        Ok(settings) => settings.ciphers.enabled.to_vec(),
        // The user may still want to see the ciphers of this program.
        Err(ConfigError::Problem { problem: Problem::NothingBuiltIn { .. }, .. }) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let rows: Vec<Row> = registry.iter().map(|suite| row(suite, &enabled)).collect();
    if args.json {
        let json = serde_json::to_string_pretty(&rows).map_err(|error| {
            Failure::new(Exit::Local, format_args!("cannot write JSON: {error}"))
        })?;
        return print(&format!("{json}\n"));
    }
    print(&table(&rows))
}

fn row(suite: &'static dyn CipherSuite, enabled: &[EnabledSuite]) -> Row {
    let enabled = enabled.iter().find(|e| e.suite.name() == suite.name());
    let mut notes = Vec::new();
    if suite.block_size() <= 8 {
        notes.push("64-bit block");
    }
    if !suite.is_constant_time() {
        notes.push("not constant-time");
    }
    Row {
        name: suite.name(),
        aliases: suite.aliases().to_vec(),
        key_sizes: suite.key_sizes().iter().map(|s| s.bits()).collect(),
        key_sizes_text: suite.key_sizes().to_string(),
        block_size: suite.block_size(),
        enabled: enabled.map_or_else(Vec::new, |e| e.sizes.iter().map(|s| s.bits()).collect()),
        constant_time: suite.is_constant_time(),
        speed: suite.speed().to_string(),
        notes,
    }
}

fn table(rows: &[Row]) -> String {
    let mut cells = vec![
        ["NAME", "ALIASES", "KEY BITS", "BLOCK", "SPEED", "ENABLED", "NOTE"].map(str::to_owned),
    ];
    let or_dash = |text: String| {
        if text.is_empty() { "-".to_owned() } else { text }
    };
    cells.extend(rows.iter().map(|row| {
        let enabled: Vec<String> = row.enabled.iter().map(u32::to_string).collect();
        [
            row.name.to_owned(),
            or_dash(row.aliases.join(", ")),
            row.key_sizes_text.clone(),
            format!("{} bytes", row.block_size),
            row.speed.clone(),
            or_dash(enabled.join(", ")),
            or_dash(row.notes.join("; ")),
        ]
    }));
    let widths: [usize; 7] = std::array::from_fn(|column| {
        cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
    });
    let mut text = String::new();
    for row in &cells {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(&format!("{cell:width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
