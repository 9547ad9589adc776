//! Readers of single values. Each returns `None` if the table does not have the key, and a
//! [`Fault`] if the value has another type or is not allowed.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;

use super::problem::{Fault, Problem};
use super::table::RawTable;
use crate::files;

/// The seconds of a day.
pub(super) const DAY: u64 = 86_400;

/// A whole number within a range.
pub(super) fn number(
    table: &mut RawTable<'_>,
    key: &'static str,
    range: RangeInclusive<u64>,
) -> Result<Option<u64>, Fault> {
    table.number(key)?.map(|value| in_range(&value, key, range)).transpose()
}

/// A whole number within a range, as a `usize`.
pub(super) fn count(
    table: &mut RawTable<'_>,
    key: &'static str,
    range: RangeInclusive<u64>,
) -> Result<Option<usize>, Fault> {
    let number = number(table, key, range)?;
    Ok(number.map(|n| usize::try_from(n).unwrap_or(usize::MAX)))
}

/// A number of seconds.
pub(super) fn seconds(
    table: &mut RawTable<'_>,
    key: &'static str,
    range: RangeInclusive<u64>,
) -> Result<Option<Duration>, Fault> {
    Ok(number(table, key, range)?.map(Duration::from_secs))
}

/// The number of a TCP port, 0 to 65535.
pub(super) fn port(table: &mut RawTable<'_>, key: &'static str) -> Result<Option<u16>, Fault> {
    Ok(number(table, key, 0..=u16::MAX.into())?.and_then(|n| u16::try_from(n).ok()))
}

/// One of several names. `possible` lists the names and their meanings.
pub(super) fn choice<T: Copy>(
    table: &mut RawTable<'_>,
    key: &'static str,
    possible: &[(&'static str, T)],
) -> Result<Option<T>, Fault> {
    table.text(key)?.map(|value| one_of(&value, key, possible)).transpose()
}

/// The path of a file. `~/` is the home folder. Any other relative path starts from `folder`.
pub(super) fn path(
    table: &mut RawTable<'_>,
    key: &str,
    folder: &Path,
) -> Result<Option<PathBuf>, Fault> {
    table.text(key)?.map(|value| resolved(&value, folder)).transpose()
}

/// Checks that a number is within a range.
pub(super) fn in_range(
    value: &Spanned<i64>,
    key: &'static str,
    range: RangeInclusive<u64>,
) -> Result<u64, Fault> {
    let found = *value.get_ref();
    match u64::try_from(found) {
        Ok(n) if range.contains(&n) => Ok(n),
        _ => Err(Fault::new(value.span(), Problem::OutOfRange { key, found, range })),
    }
}

/// The meaning of a name that `possible` lists.
pub(super) fn one_of<T: Copy>(
    value: &Spanned<String>,
    key: &'static str,
    possible: &[(&'static str, T)],
) -> Result<T, Fault> {
    if let Some((_, meaning)) = possible.iter().find(|(name, _)| name == value.get_ref()) {
        return Ok(*meaning);
    }
    let possible = possible.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let found = value.get_ref().clone();
    Err(Fault::new(value.span(), Problem::UnknownValue { key, found, possible }))
}

/// The path that a value means, as [`path`] explains.
pub(super) fn resolved(value: &Spanned<String>, folder: &Path) -> Result<PathBuf, Fault> {
    files::resolve(folder, Path::new(value.get_ref()))
        .map_err(|message| Fault::message(value.span(), message))
}

/// Replaces a default if the file has a value.
pub(super) fn replace<T>(default: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *default = value;
    }
}
