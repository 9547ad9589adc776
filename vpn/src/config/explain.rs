//! Error messages for text that is not TOML, and for keys that are not known. The messages say what
//! to write.

/// Explains a syntax error.
///
/// `at` is the byte where the parser stopped, and `parser_message` is its own message. Few users would
/// understand that message, so it only decides whether a key or table is there twice. `lists` are the
/// tables that the file may have several times.
pub(super) fn explain_syntax(
    text: &str,
    at: usize,
    parser_message: &str,
    lists: &[&str],
) -> String {
    let at = text.floor_char_boundary(at.min(text.len()));
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[at..].find('\n').map_or(text.len(), |length| at + length);
    let line = text[start..end].trim();
    if parser_message.contains("duplicate") {
        return duplicate(line, lists);
    }
    if let Some(message) = other_syntax(text, line) {
        return message;
    }
    if line.starts_with('[') && !line.contains('=') {
        let name: String = line.chars().filter(|c| c.is_alphanumeric() || *c == '_').collect();
        return match line.starts_with("[[") {
            true => format!("the brackets do not fit; write [[{name}]]"),
            false => format!("the brackets do not fit; write [{name}]"),
        };
    }
    match (line.split_once('='), line.split_once(':')) {
        (Some((name, value)), _) => assignment(name.trim(), value.trim()),
        (None, Some((name, _))) => {
            let name = name.trim().trim_matches('"');
            format!("write = between name and value, not a colon: {name} = …")
        }
        (None, None) => {
            "expected NAME = VALUE, a table such as [limits], or a comment with #".to_owned()
        }
    }
}

/// Explains a key or table that is there twice.
fn duplicate(line: &str, lists: &[&str]) -> String {
    let name = line.split('=').next().unwrap_or_default().trim();
    let table = name.trim_matches(['[', ']', ' ']);
    match name.starts_with('[') {
        true if lists.contains(&table) => not_a_list(table),
        true => format!("the table {name} is there twice; join them"),
        false => format!("'{name}' is set twice; keep one"),
    }
}

/// Explains a line in the syntax of another language, or with characters that look like others.
fn other_syntax(text: &str, line: &str) -> Option<String> {
    let is_odd_blank = |c: &char| c.is_whitespace() && !matches!(c, ' ' | '\t');
    if let Some(blank) = line.chars().find(is_odd_blank) {
        return Some(format!("a blank of another kind (U+{:04X}); type it anew", u32::from(blank)));
    }
    let starts_with = |markers: &[&str]| markers.iter().any(|marker| line.starts_with(marker));
    let message = if line.contains(['“', '”', '„', '‘', '’', '«', '»', '`']) {
        "quotes are straight here: \"…\""
    } else if text.trim_start().starts_with('{') {
        "this is JSON; `vpn suites --show-config` prints an example of what is read here"
    } else if starts_with(&["//", ";", "/*"]) {
        "comments begin with #"
    } else if starts_with(&["<<<<<<<", ">>>>>>>", "======="]) {
        "two versions were not merged here; keep one"
    } else {
        return None;
    };
    Some(message.to_owned())
}

/// Explains what is wrong with `name = value`.
fn assignment(name: &str, value: &str) -> String {
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
    brackets(name, value).unwrap_or_else(|| scalar(name, value, bare))
}

/// Explains a list whose brackets or commas are wrong.
fn brackets(name: &str, value: &str) -> Option<String> {
    let opened = value.matches(['[', '{']).count();
    let closed = value.matches([']', '}']).count();
    if opened > closed {
        return Some(format!("a bracket is not closed: {name} = [ … ]"));
    }
    if closed > opened {
        return Some(format!("a bracket too many: {name} = [ … ]"));
    }
    if value.starts_with('(') {
        let items = value.trim_matches(['(', ')']);
        return Some(format!("a list stands in square brackets: {name} = [{items}]"));
    }
    let items = value.strip_prefix('[')?;
    Some(match value.contains(';') || items.trim_matches([']', ' ']).contains(' ') {
        true => format!("commas stand between the items of a list: {name} = [128, 256]"),
        false => format!("this list cannot be read; write {name} = [128, 256]"),
    })
}

/// Explains a value that is no list. `bare` is the value without commas and semicolons at its end.
fn scalar(name: &str, value: &str, bare: &str) -> String {
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

/// The message for `[NAME]` where the file has to say `[[NAME]]`.
pub(super) fn not_a_list(name: &str) -> String {
    format!("there may be several of {name}; write it in two brackets: [[{name}]]")
}

/// The message for a key or table that is not known. `table` is empty for the top level of the file.
pub(super) fn unknown_key(key: &str, known: &[&str], table: &str, is_table: bool) -> String {
    let kind = if table.is_empty() && is_table { "table" } else { "setting" };
    let of_table = if table.is_empty() { String::new() } else { format!(" of {table}") };
    let closest = known.iter().min_by_key(|name| edit_distance(key, name));
    match closest.filter(|name| edit_distance(key, name) <= 2.max(key.len() / 4)) {
        Some(closest) => format!("unknown {kind} '{key}'{of_table}; is {closest} meant?"),
        None => format!("unknown {kind} '{key}'{of_table} (possible: {})", known.join(", ")),
    }
}

/// The Levenshtein distance of two words. Upper and lower case are the same.
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.to_ascii_lowercase(), b.to_ascii_lowercase());
    // A file may have a very long key. Comparing it would take long.
    if a.len().abs_diff(b.len()) > 16 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
