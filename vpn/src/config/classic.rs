//! The table `[classic]`: how the classic profile speaks (PROTOCOL.md §3). `--dialect` and `--group`
//! replace its values.

use std::time::Duration;

use toml::Spanned;

use super::problem::Fault;
use super::section::{Context, Section};
use super::table::RawTable;
use super::values::{choice, in_range, number, one_of};
use vpn_proto::classic::{Chaining, Dialect, DialectPlan, LineEnd, MacRule, ReplyForm, Strip};
use vpn_proto::{Group, Separator};

/// The values of `[classic]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassicTable {
    /// The dialect to speak, or how to find out which one the peer speaks.
    pub plan: DialectPlan,
    /// `quiet_ms`: a message has ended if no byte has come for so long.
    pub quiet: Option<Duration>,
}

impl Section for ClassicTable {
    const NAME: &'static str = "classic";
    const KEYS: &'static [&'static str] =
        &["dialect", "line_end", "separator", "mac", "reply", "cbc", "strip", "group", "quiet_ms"];

    fn read(file: &mut RawTable<'_>, context: &Context<'_>) -> Result<Self, Fault> {
        let table = &mut file.table(Self::NAME, Self::KEYS)?;
        let mut plan = dialect(table, context.overrides.dialect.as_deref())?;
        switches(table, &mut plan)?;
        if let Some(group) = group(table, context.overrides.group)? {
            plan.base.group = group;
        }
        let quiet = number(table, "quiet_ms", 1..=60_000)?.map(Duration::from_millis);
        Ok(Self { plan, quiet })
    }
}

/// Reads `dialect`, the preset that the other keys change. The flag replaces the value.
fn dialect(table: &mut RawTable<'_>, flag: Option<&str>) -> Result<DialectPlan, Fault> {
    let mut presets = vec![("auto", DialectPlan::AUTO)];
    presets.extend(Dialect::PRESETS.map(|(name, dialect)| (name, DialectPlan::fixed(dialect))));
    let value = table.text("dialect")?;
    let value = flag.map(|flag| Spanned::new(0..0, flag.to_owned())).or(value);
    value.map_or(Ok(DialectPlan::AUTO), |value| one_of(&value, "dialect", &presets))
}

/// Reads the keys that change one property of the dialect. If a key is set, its property is no longer
/// learned from the peer.
fn switches(table: &mut RawTable<'_>, plan: &mut DialectPlan) -> Result<(), Fault> {
    let line_ends = [("none", LineEnd::None), ("lf", LineEnd::Lf), ("crlf", LineEnd::CrLf)];
    if let Some(line_end) = choice(table, "line_end", &line_ends)? {
        plan.base.line_end = line_end;
        plan.follow_line_end = false;
    }
    let separators = [(":", Separator::Colon), (",", Separator::Comma)];
    if let Some(separator) = choice(table, "separator", &separators)? {
        plan.base.separator = separator;
        plan.follow_separator = false;
    }
    let macs = [("per-message", MacRule::PerMessage), ("cumulative", MacRule::Cumulative)];
    if let Some(mac) = choice(table, "mac", &macs)? {
        plan.base.mac = mac;
        plan.follow_mac = false;
    }
    let replies = [
        ("plain", ReplyForm::Plain),
        ("prefixed", ReplyForm::Prefixed),
        ("filled", ReplyForm::Filled),
    ];
    if let Some(reply) = choice(table, "reply", &replies)? {
        plan.base.reply = reply;
    }
    let chainings = [("chain", Chaining::Chain), ("restart", Chaining::Restart)];
    if let Some(chaining) = choice(table, "cbc", &chainings)? {
        plan.base.chaining = chaining;
    }
    let strips = [("both", Strip::Both), ("right", Strip::Right)];
    if let Some(strip) = choice(table, "strip", &strips)? {
        plan.base.strip = strip;
    }
    Ok(())
}

/// Reads `group`, the number of a Diffie-Hellman group (RFC 3526). The flag replaces the value.
fn group(table: &mut RawTable<'_>, flag: Option<u8>) -> Result<Option<Group>, Fault> {
    let value = table.number("group")?;
    let value = flag.map(|flag| Spanned::new(0..0, flag.into())).or(value);
    let number = value.map(|value| in_range(&value, "group", 14..=18)).transpose()?;
    Ok(number.and_then(|n| Group::from_number(u8::try_from(n).ok()?)))
}
