//! Tables of a TOML file, read with error messages that say what to write.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::explain::{explain_syntax, not_a_list, unknown_key};
use super::problem::Fault;

/// A table of the file whose values are taken one by one. All its keys are known.
pub(super) struct RawTable<'a> {
    entries: Vec<Entry<'a>>,
}

struct Entry<'a> {
    key: String,
    value: Spanned<DeValue<'a>>,
}

/// Reads the text of a file. The result is the table of its top level.
///
/// `known` are the keys of the top level. `lists` are those of them that the file may have several
/// times, written `[[NAME]]`.
pub(super) fn parse<'a>(
    text: &'a str,
    known: &[&str],
    lists: &[&str],
) -> Result<RawTable<'a>, Fault> {
    let table = DeTable::parse(text).map_err(|error| {
        let span = error.span().unwrap_or_default();
        let message = explain_syntax(text, span.start, error.message(), lists);
        Fault::message(span, message)
    })?;
    RawTable::new(table.into_inner(), known, "")
}

impl<'a> RawTable<'a> {
    /// Checks that all keys are known. The fault is the first unknown key of the text.
    fn new(table: DeTable<'a>, known: &[&str], name: &str) -> Result<Self, Fault> {
        let mut entries = Vec::new();
        let mut unknown: Option<(Range<usize>, String)> = None;
        for (key, value) in table {
            let (span, key) = (key.span(), key.into_inner().into_owned());
            if !known.contains(&key.as_str())
                && unknown.as_ref().is_none_or(|first| span.start < first.0.start)
            {
                unknown = Some((span, key.clone()));
            }
            entries.push(Entry { key, value });
        }
        if let Some((span, key)) = unknown {
            let is_table = entries.iter().any(|entry| {
                entry.key == key
                    && matches!(entry.value.get_ref(), DeValue::Table(_) | DeValue::Array(_))
            });
            return Err(Fault::message(span, unknown_key(&key, known, name, is_table)));
        }
        Ok(Self { entries })
    }

    fn take(&mut self, key: &str) -> Option<Spanned<DeValue<'a>>> {
        let at = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.swap_remove(at).value)
    }

    /// The keys that are left, and where their values stand in the text.
    pub(super) fn spans(&self) -> Vec<(String, Range<usize>)> {
        self.entries.iter().map(|entry| (entry.key.clone(), entry.value.span())).collect()
    }

    /// Takes a text.
    pub(super) fn text(&mut self, key: &str) -> Result<Option<Spanned<String>>, Fault> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let span = value.span();
        let message = match value.into_inner() {
            DeValue::String(text) => return Ok(Some(Spanned::new(span, text.into_owned()))),
            other @ (DeValue::Array(_) | DeValue::Table(_)) => {
                format!("{key} is one text, not {}: {key} = \"…\"", type_name(&other))
            }
            other => {
                format!("{key} is a text; put quotes around it: {key} = \"{}\"", shown(&other))
            }
        };
        Err(Fault::message(span, message))
    }

    /// Takes a whole number.
    pub(super) fn number(&mut self, key: &str) -> Result<Option<Spanned<i64>>, Fault> {
        self.take(key).map(|value| number(key, value)).transpose()
    }

    /// Takes `true` or `false`.
    pub(super) fn flag(&mut self, key: &str) -> Result<Option<bool>, Fault> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let message = match value.get_ref() {
            DeValue::Boolean(flag) => return Ok(Some(*flag)),
            DeValue::String(_) => {
                format!("{key} is true or false, without quotes: {key} = true")
            }
            other => format!("{key} is true or false, not {}", type_name(other)),
        };
        Err(Fault::message(value.span(), message))
    }

    /// Takes a list of texts.
    pub(super) fn texts(&mut self, key: &str) -> Result<Option<Vec<Spanned<String>>>, Fault> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let items = list(value, |item| {
            let item = item.unwrap_or_else(|| "…".to_owned());
            format!("{key} is a list of texts: {key} = [\"{item}\"]")
        })?;
        let text = |item: Spanned<DeValue<'a>>| {
            let span = item.span();
            match item.into_inner() {
                DeValue::String(text) => Ok(Spanned::new(span, text.into_owned())),
                other => {
                    let other = shown(&other);
                    let message = format!(
                        "{key} is a list of texts; put quotes around each: {key} = [\"{other}\"]"
                    );
                    Err(Fault::message(span, message))
                }
            }
        };
        items.into_iter().map(text).collect::<Result<_, _>>().map(Some)
    }

    /// Takes a text or a list of texts.
    pub(super) fn text_or_texts(&mut self, key: &str) -> Result<Vec<Spanned<String>>, Fault> {
        let is_text = |entry: &Entry<'_>| {
            entry.key == key && matches!(entry.value.get_ref(), DeValue::String(_))
        };
        if self.entries.iter().any(is_text) {
            return Ok(self.text(key)?.into_iter().collect());
        }
        Ok(self.texts(key)?.unwrap_or_default())
    }

    /// Takes a list of whole numbers. Error messages show `example`.
    pub(super) fn numbers(
        &mut self,
        key: &str,
        example: &str,
    ) -> Result<Option<Spanned<Vec<Spanned<i64>>>>, Fault> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let span = value.span();
        let items = list(value, |item| match item {
            Some(item) if item.bytes().all(|b| b.is_ascii_digit() || b == b',' || b == b' ') => {
                format!("{key} is a list of numbers: {key} = [{item}]")
            }
            _ => format!("{key} is a list of numbers: {key} = {example}"),
        })?;
        let numbers = items.into_iter().map(|item| number(key, item));
        Ok(Some(Spanned::new(span, numbers.collect::<Result<_, _>>()?)))
    }

    /// Takes a table `[NAME]`. A table that is not there has no keys.
    pub(super) fn table(&mut self, name: &str, known: &[&str]) -> Result<Self, Fault> {
        match self.take(name) {
            Some(value) => Self::one(value, known, name),
            None => Ok(Self { entries: Vec::new() }),
        }
    }

    /// The value of a table `[NAME]`.
    fn one(value: Spanned<DeValue<'a>>, known: &[&str], name: &str) -> Result<Self, Fault> {
        let span = value.span();
        let message = match value.into_inner() {
            DeValue::Table(table) => return Self::new(table, known, name),
            DeValue::Array(_) => {
                format!("{name} is one table; write it in single brackets: [{name}]")
            }
            _ => format!("{name} is a table; write [{name}]"),
        };
        Err(Fault::message(span, message))
    }

    /// Takes the tables `[NAME.KEY]`. Users choose the keys. The tables come in the order of the text,
    /// each with its key.
    pub(super) fn named_tables(
        &mut self,
        name: &str,
        known: &[&str],
    ) -> Result<Vec<(Spanned<String>, Self)>, Fault> {
        let Some(value) = self.take(name) else { return Ok(Vec::new()) };
        let span = value.span();
        let DeValue::Table(tables) = value.into_inner() else {
            let message = format!("{name} has a table for each name; write [{name}.NAME]");
            return Err(Fault::message(span, message));
        };
        let mut found = Vec::new();
        for (key, value) in tables {
            let (at, key) = (key.span(), key.into_inner().into_owned());
            found.push((
                at.clone(),
                key.clone(),
                Self::one(value, known, &format!("{name}.{key}")),
            ));
        }
        found.sort_by_key(|(at, ..)| at.start);
        found.into_iter().map(|(at, key, table)| Ok((Spanned::new(at, key), table?))).collect()
    }

    /// Takes all tables `[[NAME]]`, and where each begins in the text.
    pub(super) fn tables(
        &mut self,
        name: &str,
        known: &[&str],
    ) -> Result<Vec<(Range<usize>, Self)>, Fault> {
        let Some(value) = self.take(name) else { return Ok(Vec::new()) };
        let span = value.span();
        let form = format!("write it in two brackets: [[{name}]]");
        let items = match value.into_inner() {
            DeValue::Array(items) => items,
            DeValue::Table(_) => return Err(Fault::message(span, not_a_list(name))),
            _ => return Err(Fault::message(span, format!("{name} is a table; {form}"))),
        };
        let table = |item: Spanned<DeValue<'a>>| {
            let span = item.span();
            match item.into_inner() {
                DeValue::Table(table) => Ok((span, Self::new(table, known, name)?)),
                _ => Err(Fault::message(span, format!("{name} is a list of tables; {form}"))),
            }
        };
        items.into_iter().map(table).collect()
    }
}

/// The items of a list. If the value is no list, `message` makes the error message from the single
/// item that is there instead. It gets `None` if that is a table.
fn list<'a>(
    value: Spanned<DeValue<'a>>,
    message: impl Fn(Option<String>) -> String,
) -> Result<Vec<Spanned<DeValue<'a>>>, Fault> {
    let span = value.span();
    match value.into_inner() {
        DeValue::Array(items) => Ok(items.into_iter().collect()),
        DeValue::Table(_) => Err(Fault::message(span, message(None))),
        item => Err(Fault::message(span, message(Some(shown(&item))))),
    }
}

fn number(key: &str, value: Spanned<DeValue<'_>>) -> Result<Spanned<i64>, Fault> {
    let span = value.span();
    let message = match value.get_ref() {
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => return Ok(Spanned::new(span, number)),
            Err(_) => format!("{key}: {} is far too large", shown(value.get_ref())),
        },
        DeValue::String(text) if text.trim().parse::<i64>().is_ok() => {
            format!("{key} takes numbers without quotes: {}", text.trim())
        }
        DeValue::Float(float) => format!("{key} takes whole numbers, not {}", float.as_str()),
        other => format!("{key} takes numbers, not {}", type_name(other)),
    };
    Err(Fault::message(span, message))
}

/// What error messages call the type of a value.
fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// A value as error messages show it.
fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(date) => date.to_string(),
        DeValue::Array(_) | DeValue::Table(_) => "…".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        match parse(text, &["name", "keys", "classic"], &["many"]) {
            Ok(_) => panic!("{text} is read"),
            Err(fault) => fault.problem.to_string(),
        }
    }

    #[test]
    fn a_syntax_error_says_what_to_write() {
        for (text, words) in [
            ("name = AES", "put quotes around text: name = \"AES\""),
            ("name = ", "no value behind ="),
            ("name: \"AES\"", "write = between name and value"),
            ("name = “AES”", "quotes are straight here"),
            ("name = \"AES", "a quote is not closed"),
            ("keys = 128, 256", "a list stands in brackets: keys = [128, 256]"),
            ("keys = (128, 256)", "a list stands in square brackets: keys = [128, 256]"),
            ("keys = [128 256]", "commas stand between"),
            ("keys = [128; 256]", "commas stand between"),
            ("keys = [128,, 256]", "commas stand between"),
            ("keys = [128", "a bracket is not closed"),
            ("keys = 128]", "a bracket too many"),
            ("name = \"AES\";", "take out the ';'"),
            ("name = \"AES\",", "take out the ','"),
            ("// AES\nname = \"AES\"", "comments begin with #"),
            ("; AES", "comments begin with #"),
            ("[[supported_cipher]\nname = 1", "write [[supported_cipher]]"),
            ("[limits\n", "write [limits]"),
            ("classic = True", "write classic = true"),
            ("name == \"AES\"", "one = is enough"),
            ("{\"name\": \"AES\"}", "this is JSON"),
            ("AES 128", "expected NAME = VALUE"),
            ("name = \"AES\" keys = [128]", "each setting on its own line"),
            ("name\u{a0}= \"AES\"", "a blank of another kind (U+00A0)"),
            ("name = \"a\"\nname = \"b\"", "'name' is set twice"),
            ("[name]\n[name]", "the table [name] is there twice"),
            ("[many]\n[many]", "write it in two brackets: [[many]]"),
            ("name = 'a' 'b'", "something stands behind the text"),
            ("name = \"C:\\keys\"", "write name = '…'"),
            ("<<<<<<< HEAD", "two versions were not merged"),
            ("= 3", "no name before ="),
        ] {
            let got = message(text);
            assert!(got.contains(words), "{text}: {got}");
        }
    }

    #[test]
    fn an_unknown_key_says_which_keys_are_possible() {
        for (text, words) in [
            ("nmae = \"AES\"", "unknown setting 'nmae'; is name meant?"),
            ("Keys = [1]", "is keys meant?"),
            ("colour = 1", "unknown setting 'colour' (possible: name, keys, classic)"),
        ] {
            let got = message(text);
            assert!(got.contains(words), "{text}: {got}");
        }
    }
}
