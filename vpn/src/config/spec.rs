//! The parts of a forward, split as OpenSSH splits them.

/// A part between two colons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    /// Its text, without brackets and backslashes.
    pub(super) text: String,
    /// Whether it is a path: it has a slash, and no brackets.
    pub(super) is_path: bool,
}

/// The greatest number of parts.
const MAX: usize = 4;

/// Splits a forward at its colons.
///
/// # Errors
///
/// The message for the user.
pub(super) fn fields(spec: &str) -> Result<Vec<Field>, String> {
    let mut fields = Vec::new();
    let mut rest = Some(spec.trim());
    while let Some(text) = rest {
        if fields.len() == MAX {
            return Err("there are too many colons; IPv6 addresses stand in brackets".to_owned());
        }
        let (field, behind) = field(text)?;
        fields.push(field);
        rest = behind;
    }
    Ok(fields)
}

/// Takes the first part off. Returns it and what stands behind its colon, if there is one.
fn field(text: &str) -> Result<(Field, Option<&str>), String> {
    if let Some(inside) = text.strip_prefix('[') {
        let (address, behind) = inside.split_once(']').ok_or("a bracket is not closed")?;
        let field = Field { text: address.to_owned(), is_path: false };
        return match (behind.is_empty(), behind.strip_prefix(':')) {
            (true, _) => Ok((field, None)),
            (false, Some(rest)) => Ok((field, Some(rest))),
            (false, None) => Err("a colon is missing behind a bracket".to_owned()),
        };
    }
    let mut field = Field { text: String::new(), is_path: false };
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            ':' => return Ok((field, Some(&text[at + 1..]))),
            '\\' => field.text.extend(chars.next().map(|(_, escaped)| escaped)),
            other => {
                field.is_path |= other == '/';
                field.text.push(other);
            }
        }
    }
    Ok((field, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_split_at_colons() {
        for (spec, expected) in [
            ("80", &["80"][..]),
            ("a:80", &["a", "80"]),
            (":80:b:81", &["", "80", "b", "81"]),
            ("[::1]:80:[::2]:81", &["::1", "80", "::2", "81"]),
            ("[fe80::1%2]:80", &["fe80::1%2", "80"]),
            ("80:/run/s", &["80", "PATH /run/s"]),
            ("/a\\:b:./c", &["PATH /a:b", "PATH ./c"]),
            ("[a/b]:80", &["a/b", "80"]),
            (" 80:b:81", &["80", "b", "81"]),
            ("80:", &["80", ""]),
        ] {
            let shown = |f: Field| if f.is_path { format!("PATH {}", f.text) } else { f.text };
            let found: Vec<String> = fields(spec).unwrap().into_iter().map(shown).collect();
            assert_eq!(found, expected, "{spec}");
        }
        for (spec, message) in [
            ("::1:80:b:81", "there are too many colons; IPv6 addresses stand in brackets"),
            ("[::1:80", "a bracket is not closed"),
            ("[::1]80", "a colon is missing behind a bracket"),
        ] {
            assert_eq!(fields(spec), Err(message.to_owned()), "{spec}");
        }
    }
}
