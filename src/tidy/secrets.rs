//! That no derived `Debug` can show a token, a key or a password.
//!
//! A line of the log is one `?` away from any `Debug`, so what opens a door is a [`crate::kit::secret::Secret`], or its owner writes its own.

use super::Violation;
use super::source::{Source, after_bracket, is_word};

/// Names of fields, and of variants, that open doors.
const TELLING: [&str; 12] = [
    "access_token",
    "api_key",
    "authorization",
    "bearer",
    "credential",
    "credentials",
    "material",
    "passphrase",
    "password",
    "private_key",
    "secret",
    "token",
];

/// Types that show what is in them. A number, a range, a flag or a type of ours tells nothing, or is looked at by itself.
const OPEN: [&str; 5] = ["String", "str", "u8", "Bytes", "CompactString"];

/// Holds that types with a derived `Debug` have no field that opens a door and whose type shows it.
#[must_use]
pub fn hidden(source: &Source) -> Vec<Violation> {
    let mut violations = Vec::new();
    for at in source.words("derive") {
        let after = at + "derive".len();
        if !source.code[after..].starts_with('(') {
            continue;
        }
        let end = after_bracket(source.code.as_bytes(), after);
        if words(&source.code[after..end]).all(|(_, word)| word != "Debug") {
            continue;
        }
        let Some((open, close)) = body(&source.code, end) else {
            continue;
        };
        let inside = &source.code[open..close];
        for (place, name) in words(inside) {
            let shown = TELLING.contains(&name.to_lowercase().as_str()) && is_open(&inside[place + name.len()..]);
            if shown {
                violations.push(Violation {
                    path: source.path.clone(),
                    line: source.line(open + place),
                    text: format!("`{name}` is shown by a derived `Debug`: make it a `kit::secret::Secret`"),
                });
            }
        }
    }
    violations
}

/// What is between the first bracket of an item and the one that closes it; `None` where the item has none.
fn body(code: &str, from: usize) -> Option<(usize, usize)> {
    let mut at = from;
    // Other attributes stand before the item.
    loop {
        let next = code[at..].find(['#', '{', '(', ';'])? + at;
        match code.as_bytes()[next] {
            b'#' => at = after_bracket(code.as_bytes(), next + 1),
            // `pub(crate)`.
            b'(' if code[..next].ends_with("pub") => at = after_bracket(code.as_bytes(), next),
            b';' => return None,
            _ => return Some((next, after_bracket(code.as_bytes(), next))),
        }
    }
}

/// Whether what follows a name is a type that shows what is in it: `: Type`, or `(Type` of a variant.
fn is_open(rest: &str) -> bool {
    let rest = rest.trim_start();
    let Some(typed) = rest.strip_prefix(':').or_else(|| rest.strip_prefix('(')) else {
        return false;
    };
    let end = typed.find([',', '}', ')', '=']).unwrap_or(typed.len());
    words(&typed[..end]).any(|(_, word)| OPEN.contains(&word))
}

/// The words of a text, each with its place.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let pieces = text.split(|c: char| !c.is_ascii() || !is_word(c as u8)).filter(|word| !word.is_empty());
    pieces.map(|word| (word.as_ptr().addr() - text.as_ptr().addr(), word))
}

#[test]
fn a_planted_secret_is_found() {
    for (text, expected) in [
        ("#[derive(Debug)]\nstruct A { token: String }", 1),
        ("#[derive(Clone, Debug)]\npub(crate) struct A<'a> { pub a: u8, pub token: Option<&'a str> }", 1),
        ("#[derive(Debug)]\n#[serde(x)]\nenum A { B { secret: Vec<u8> }, Password(String) }", 2),
        ("#[derive(Debug)]\nstruct A { token: Secret, tokens: String, token_id: Option<String> }", 0),
        ("#[derive(Debug)]\nstruct A { token: Option<Range<usize>>, secret: bool }", 0),
        ("#[derive(Clone)]\nstruct A { token: String }", 0),
        ("#[derive(Debug)]\nstruct A;\nstruct B { token: String }", 0),
        ("#[derive(Debug)]\nstruct A(u8);\n#[derive(Clone)]\nstruct B { token: String }", 0),
        ("#[cfg(test)]\nmod tests { #[derive(Debug)]\nstruct A { token: String } }", 0),
    ] {
        let found = hidden(&Source::read("src/x.rs", text));
        assert_eq!(found.len(), expected, "{text}: {found:?}");
    }
}
