//! TOML as this program reads it: every fault is said in our words, with the line to write.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::settings::Problem;

/// A place in the text, and what is wrong there.
pub(super) type Located = (Range<usize>, Problem);

/// A table whose settings are taken one by one; it has no others than those that are known.
pub(super) struct Table<'a> {
    entries: Vec<Entry<'a>>,
}

struct Entry<'a> {
    key: String,
    value: Spanned<DeValue<'a>>,
}

/// Reads a file: the table of all that stands in it.
///
/// `many` is the table that may be there several times.
pub(super) fn parse<'a>(text: &'a str, known: &[&str], many: &str) -> Result<Table<'a>, Located> {
    let table = DeTable::parse(text).map_err(|error| {
        let span = error.span().unwrap_or_default();
        let problem = Problem::Form(explain(text, span.start, error.message(), many));
        (span, problem)
    })?;
    Table::new(table.into_inner(), known, "")
}

impl<'a> Table<'a> {
    fn new(table: DeTable<'a>, known: &[&str], name: &str) -> Result<Self, Located> {
        let mut entries = Vec::new();
        let mut unknown: Option<(Range<usize>, String)> = None;
        for (key, value) in table {
            let (span, key) = (key.span(), key.into_inner().into_owned());
            if !known.contains(&key.as_str())
                && unknown.as_ref().is_none_or(|u| span.start < u.0.start)
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
            return Err((span, Problem::Form(unknown_words(&key, known, name, is_table))));
        }
        Ok(Self { entries })
    }

    fn take(&mut self, key: &str) -> Option<Spanned<DeValue<'a>>> {
        let at = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.swap_remove(at).value)
    }

    /// Where a setting stands, and its name; for all that are left.
    pub(super) fn places(&self) -> Vec<(String, Range<usize>)> {
        self.entries.iter().map(|entry| (entry.key.clone(), entry.value.span())).collect()
    }

    pub(super) fn text(&mut self, key: &str) -> Result<Option<Spanned<String>>, Located> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let span = value.span();
        match value.into_inner() {
            DeValue::String(text) => Ok(Some(Spanned::new(span, text.into_owned()))),
            other => {
                let words = match &other {
                    DeValue::Array(_) | DeValue::Table(_) => {
                        format!("{key} is one text, not {}: {key} = \"…\"", kind(&other))
                    }
                    scalar => format!(
                        "{key} is a text; put quotes around it: {key} = \"{}\"",
                        shown(scalar)
                    ),
                };
                Err((span, Problem::Form(words)))
            }
        }
    }

    pub(super) fn number(&mut self, key: &str) -> Result<Option<Spanned<i64>>, Located> {
        self.take(key).map(|value| number(key, value)).transpose()
    }

    pub(super) fn flag(&mut self, key: &str) -> Result<Option<bool>, Located> {
        let Some(value) = self.take(key) else { return Ok(None) };
        match value.get_ref() {
            DeValue::Boolean(flag) => Ok(Some(*flag)),
            DeValue::String(_) => Err((
                value.span(),
                Problem::Form(format!("{key} is true or false, without quotes: {key} = true")),
            )),
            other => Err((
                value.span(),
                Problem::Form(format!("{key} is true or false, not {}", kind(other))),
            )),
        }
    }

    pub(super) fn texts(&mut self, key: &str) -> Result<Option<Vec<Spanned<String>>>, Located> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let items = list(value, |item| match item {
            Some(item) => format!("{key} is a list of texts: {key} = [\"{item}\"]"),
            None => format!("{key} is a list of texts: {key} = [\"…\"]"),
        })?;
        let text = |item: Spanned<DeValue<'a>>| {
            let span = item.span();
            match item.into_inner() {
                DeValue::String(text) => Ok(Spanned::new(span, text.into_owned())),
                other => Err((
                    span,
                    Problem::Form(format!(
                        "{key} is a list of texts; put quotes around each: {key} = [\"{}\"]",
                        shown(&other)
                    )),
                )),
            }
        };
        items.into_iter().map(text).collect::<Result<_, _>>().map(Some)
    }

    pub(super) fn numbers(
        &mut self,
        key: &str,
        example: &str,
    ) -> Result<Option<Spanned<Vec<Spanned<i64>>>>, Located> {
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

    /// A table in single brackets.
    pub(super) fn table(&mut self, key: &str, known: &[&str]) -> Result<Self, Located> {
        let Some(value) = self.take(key) else { return Ok(Self { entries: Vec::new() }) };
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(table) => Self::new(table, known, key),
            DeValue::Array(_) => {
                let words = format!("{key} is one table; write it in single brackets: [{key}]");
                Err((span, Problem::Form(words)))
            }
            _ => Err((span, Problem::Form(format!("{key} is a table; write [{key}]")))),
        }
    }

    /// Tables in double brackets, and where each begins.
    pub(super) fn tables(
        &mut self,
        key: &str,
        known: &[&str],
    ) -> Result<Vec<(Range<usize>, Self)>, Located> {
        let Some(value) = self.take(key) else { return Ok(Vec::new()) };
        let (span, form) = (value.span(), format!("write it in two brackets: [[{key}]]"));
        let items = match value.into_inner() {
            DeValue::Array(items) => items,
            DeValue::Table(_) => {
                return Err((span, Problem::Form(several(key))));
            }
            _ => return Err((span, Problem::Form(format!("{key} is a table; {form}")))),
        };
        let table = |item: Spanned<DeValue<'a>>| {
            let span = item.span();
            match item.into_inner() {
                DeValue::Table(table) => Ok((span, Self::new(table, known, key)?)),
                _ => Err((span, Problem::Form(format!("{key} is a list of tables; {form}")))),
            }
        };
        into_items(items).into_iter().map(table).collect()
    }
}

fn several(key: &str) -> String {
    format!("there may be several of {key}; write it in two brackets: [[{key}]]")
}

fn into_items(items: DeArray<'_>) -> Vec<Spanned<DeValue<'_>>> {
    items.into_iter().collect()
}

/// The items of a list; otherwise `words` says what to write, given what stands there if that is one
/// item.
fn list<'a>(
    value: Spanned<DeValue<'a>>,
    words: impl Fn(Option<String>) -> String,
) -> Result<Vec<Spanned<DeValue<'a>>>, Located> {
    let span = value.span();
    match value.into_inner() {
        DeValue::Array(items) => Ok(into_items(items)),
        DeValue::Table(_) => Err((span, Problem::Form(words(None)))),
        item => Err((span, Problem::Form(words(Some(shown(&item)))))),
    }
}

fn number(key: &str, value: Spanned<DeValue<'_>>) -> Result<Spanned<i64>, Located> {
    let span = value.span();
    let words = match value.get_ref() {
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => return Ok(Spanned::new(span, number)),
            Err(_) => format!("{key}: {} is far too large", shown(value.get_ref())),
        },
        DeValue::String(text) if text.trim().parse::<i64>().is_ok() => {
            format!("{key} takes numbers without quotes: {}", text.trim())
        }
        DeValue::Float(float) => format!("{key} takes whole numbers, not {}", float.as_str()),
        other => format!("{key} takes numbers, not {}", kind(other)),
    };
    Err((span, Problem::Form(words)))
}

fn kind(value: &DeValue<'_>) -> &'static str {
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

fn unknown_words(key: &str, known: &[&str], table: &str, is_table: bool) -> String {
    let what = if table.is_empty() && is_table { "table" } else { "setting" };
    let place = if table.is_empty() { String::new() } else { format!(" of {table}") };
    let close = known.iter().min_by_key(|name| distance(key, name));
    match close.filter(|name| distance(key, name) <= 2.max(key.len() / 4)) {
        Some(close) => format!("unknown {what} '{key}'{place}; is {close} meant?"),
        None => format!("unknown {what} '{key}'{place} (possible: {})", known.join(", ")),
    }
}

/// How many letters have to be changed, left out or put in to make one word of the other; capital
/// letters do not count.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.to_ascii_lowercase(), b.to_ascii_lowercase());
    if a.len().abs_diff(b.len()) > 16 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut before = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let change = before + usize::from(x != y);
            before = row[j + 1];
            row[j + 1] = change.min(before + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// What is wrong with a line that is not TOML, and what to write. The parser's own words, which few
/// users would understand, decide only about what stands twice.
fn explain(text: &str, at: usize, message: &str, many: &str) -> String {
    let at = text.floor_char_boundary(at.min(text.len()));
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[at..].find('\n').map_or(text.len(), |length| at + length);
    let line = text[start..end].trim();
    if message.contains("duplicate") {
        let name = line.split('=').next().unwrap_or_default().trim();
        let table = name.trim_matches(['[', ']', ' ']);
        return match name.starts_with('[') {
            true if table == many => several(many),
            true => format!("the table {name} is there twice; join them"),
            false => format!("'{name}' is set twice; keep one"),
        };
    }
    if let Some(blank) = line.chars().find(|c| c.is_whitespace() && !matches!(c, ' ' | '\t')) {
        return format!("a blank of another kind (U+{:04X}); type it anew", u32::from(blank));
    }
    if line.contains(['“', '”', '„', '‘', '’', '«', '»', '`']) {
        return "quotes are straight here: \"…\"".to_owned();
    }
    let first = text.trim_start();
    if first.starts_with('{') {
        return "this is JSON; `vpn suites --show-config` prints an example of what is read here"
            .to_owned();
    }
    if line.starts_with("//") || line.starts_with(';') || line.starts_with("/*") {
        return "comments begin with #".to_owned();
    }
    if line.starts_with("<<<<<<<") || line.starts_with(">>>>>>>") || line.starts_with("=======") {
        return "two versions were not merged here; keep one".to_owned();
    }
    if line.starts_with('[') && !line.contains('=') {
        let name: String = line.chars().filter(|c| c.is_alphanumeric() || *c == '_').collect();
        return match line.starts_with("[[") {
            true => format!("the brackets do not fit; write [[{name}]]"),
            false => format!("the brackets do not fit; write [{name}]"),
        };
    }
    let Some((name, value)) = line.split_once('=') else {
        return match line.split_once(':') {
            Some((name, _)) => {
                let name = name.trim().trim_matches('"');
                format!("write = between name and value, not a colon: {name} = …")
            }
            None => {
                "expected NAME = VALUE, a table such as [limits], or a comment with #".to_owned()
            }
        };
    };
    let (name, value) = (name.trim(), value.trim());
    let value = value.split(" #").next().unwrap_or_default().trim();
    if name.is_empty() {
        return "there is no name before =".to_owned();
    }
    if name.contains(' ') && !name.contains('"') {
        return format!("'{name}': a name has no blanks; write each setting on its own line");
    }
    if value.is_empty() || value.starts_with('#') {
        return format!("there is no value behind =: {name} = …");
    }
    if value.starts_with('=') {
        return format!("one = is enough: {name} = …");
    }
    let bare = value.trim_end_matches([';', ',']).trim();
    match bare {
        "True" | "TRUE" | "yes" | "Yes" | "on" | "On" => return format!("write {name} = true"),
        "False" | "FALSE" | "no" | "No" | "off" | "Off" => return format!("write {name} = false"),
        _ => {}
    }
    let opened = value.matches(['[', '{']).count();
    let closed = value.matches([']', '}']).count();
    if opened > closed {
        return format!("a bracket is not closed: {name} = [ … ]");
    }
    if closed > opened {
        return format!("a bracket too many: {name} = [ … ]");
    }
    if value.starts_with('(') {
        return format!(
            "a list stands in square brackets: {name} = [{}]",
            value.trim_matches(['(', ')'])
        );
    }
    if let Some(items) = value.strip_prefix('[') {
        return match value.contains(';') || items.trim_matches([']', ' ']).contains(' ') {
            true => format!("commas stand between the items of a list: {name} = [128, 256]"),
            false => format!("this list cannot be read; write {name} = [128, 256]"),
        };
    }
    if value.matches('"').count() % 2 == 1 || value.matches('\'').count() % 2 == 1 {
        return format!("a quote is not closed: {name} = \"…\"");
    }
    if value.starts_with(|c: char| c.is_ascii_digit()) && value.contains(',') {
        return format!("a list stands in brackets: {name} = [{bare}]");
    }
    if value.ends_with([';', ',']) {
        return format!("take out the '{}' at the end of the line", &value[value.len() - 1..]);
    }
    if value.contains('=') {
        return "write each setting on its own line".to_owned();
    }
    if value.starts_with(['"', '\'']) {
        return match value.contains('\\') {
            true => format!("a \\ in \"…\" has a meaning of its own; write {name} = '…'"),
            false => format!("something stands behind the text: {name} = \"…\""),
        };
    }
    if value.starts_with(|c: char| c.is_alphabetic() || matches!(c, '~' | '/' | '.' | '_')) {
        return format!("put quotes around text: {name} = \"{bare}\"");
    }
    format!("'{value}' is no value; write a number, \"text\", true, false or [a, list]")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        match parse(text, &["name", "keys", "classic"], "many") {
            Ok(_) => panic!("{text} is read"),
            Err((_, problem)) => problem.to_string(),
        }
    }

    #[test]
    fn what_is_not_toml_is_said_with_what_to_write() {
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
            ("nmae = \"AES\"", "unknown setting 'nmae'; is name meant?"),
            ("Keys = [1]", "is keys meant?"),
            ("colour = 1", "unknown setting 'colour' (possible: name, keys, classic)"),
        ] {
            let got = fault(text);
            assert!(got.contains(words), "{text}: {got}");
        }
    }
}
