//! The table `[limits]`: how much time, memory and work the server gives to each peer.

use std::time::Duration;

use toml::Spanned;

use super::problem::{Fault, Problem};
use super::section::{Context, Section};
use super::table::RawTable;
use super::values::{DAY, count, number, replace, seconds};
use crate::net::Network;
use crate::net::limits::{Limits, SourceLimits};

/// The values of `[limits]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsTable {
    /// The limits of connections. Keys that the file does not have keep their defaults.
    pub net: Limits,
    /// `message_seconds`: how long a message of the classic profile may take to arrive.
    pub message: Option<Duration>,
    /// The networks that the limits of single sources do not apply to.
    pub exempt: Vec<Network>,
}

impl Section for LimitsTable {
    const NAME: &'static str = "limits";
    const KEYS: &'static [&'static str] = &[
        "handshake_seconds",
        "message_seconds",
        "idle_seconds",
        "sessions",
        "message_bytes",
        "dh_workers",
        "queue",
        "first_byte_seconds",
        "sealed_handshake_seconds",
        "keepalive_seconds",
        "message_memory",
        "channel_bytes",
        "rekey_bytes",
        "rekey_seconds",
        "half_open",
        "new_per_minute",
        "penalty_authentication_seconds",
        "penalty_none_seconds",
        "penalty_protocol_seconds",
        "penalty_cap_seconds",
        "penalty_min_seconds",
        "early_drop",
        "exempt",
    ];

    fn read(file: &mut RawTable<'_>, _: &Context<'_>) -> Result<Self, Fault> {
        let table = &mut file.table(Self::NAME, Self::KEYS)?;
        let mut net = Limits::default();
        let message = seconds(table, "message_seconds", 1..=DAY)?;
        replace(&mut net.handshake, seconds(table, "handshake_seconds", 1..=DAY)?);
        replace(&mut net.idle, seconds(table, "idle_seconds", 1..=365 * DAY)?);
        replace(&mut net.sessions, count(table, "sessions", 1..=1_000_000)?);
        replace(&mut net.message, count(table, "message_bytes", 16..=16_777_216)?);
        replace(&mut net.dh_workers, count(table, "dh_workers", 1..=256)?);
        replace(&mut net.queue, count(table, "queue", 1..=65_536)?);
        replace(&mut net.first_byte, seconds(table, "first_byte_seconds", 1..=DAY)?);
        let sealed_handshake = seconds(table, "sealed_handshake_seconds", 1..=DAY)?;
        replace(&mut net.sealed_handshake, sealed_handshake);
        replace(&mut net.keepalive, seconds(table, "keepalive_seconds", 1..=DAY)?);
        let message_memory = count(table, "message_memory", 4_194_304..=1 << 36)?;
        replace(&mut net.message_memory, message_memory);
        replace(&mut net.channel_bytes, count(table, "channel_bytes", 1_048_576..=1 << 36)?);
        // The greatest values are the ones of the protocol (PROTOCOL.md §4.5).
        net.rekey = (
            number(table, "rekey_bytes", 65_536..=1 << 36)?,
            seconds(table, "rekey_seconds", 1..=3600)?,
        );
        sources(table, &mut net.sources)?;
        Ok(Self { net, message, exempt: exempt(table)? })
    }
}

/// Reads the limits of a single source address, and `early_drop`.
fn sources(table: &mut RawTable<'_>, sources: &mut SourceLimits) -> Result<(), Fault> {
    for (key, penalty) in [
        ("penalty_authentication_seconds", &mut sources.penalty_authentication),
        ("penalty_none_seconds", &mut sources.penalty_none),
        ("penalty_protocol_seconds", &mut sources.penalty_protocol),
        ("penalty_cap_seconds", &mut sources.penalty_cap),
        ("penalty_min_seconds", &mut sources.penalty_min),
    ] {
        replace(penalty, seconds(table, key, 0..=DAY)?);
    }
    replace(&mut sources.half_open, count(table, "half_open", 1..=1_000_000)?);
    let new_per_minute = number(table, "new_per_minute", 1..=1_000_000)?;
    let new_per_minute = new_per_minute.map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    replace(&mut sources.new_per_minute, new_per_minute);
    if let Some(list) = table.numbers("early_drop", "[64, 30, 256]")? {
        sources.early_drop = early_drop(&list)?;
    }
    Ok(())
}

/// Reads `[START, PERCENT, FULL]`, as `MaxStartups` of sshd_config(5).
fn early_drop(list: &Spanned<Vec<Spanned<i64>>>) -> Result<(usize, u32, usize), Fault> {
    let wrong = || Fault::new(list.span(), Problem::EarlyDrop);
    let numbers: Vec<i64> = list.get_ref().iter().map(|n| *n.get_ref()).collect();
    let [start, percent, full] = *numbers else { return Err(wrong()) };
    match (usize::try_from(start), u32::try_from(percent), usize::try_from(full)) {
        (Ok(start), Ok(percent @ 0..=100), Ok(full)) if start < full => Ok((start, percent, full)),
        _ => Err(wrong()),
    }
}

/// Reads `exempt`. The default is this machine: all its users have the same address, so the mistakes
/// of one user would lock out the others.
fn exempt(table: &mut RawTable<'_>) -> Result<Vec<Network>, Fault> {
    let Some(list) = table.texts("exempt")? else {
        return Ok(["127.0.0.0/8", "::1"].into_iter().filter_map(Network::parse).collect());
    };
    let network = |text: Spanned<String>| {
        let span = text.span();
        let network = Network::parse(text.get_ref());
        network.ok_or_else(|| Fault::new(span, Problem::Network { found: text.into_inner() }))
    };
    list.into_iter().map(network).collect()
}
