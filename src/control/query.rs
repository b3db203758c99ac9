//! What comes in the address: the agent's name in the path, and query parameters.
//!
//! Owns their forms and limits. An unknown parameter is an error: a typing mistake in a filter must not list everything.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::problem::{Fault, Kind, Problem};
use crate::directory::Filter;
use crate::kit::ids::{NAME_RULE, is_name};
use crate::kit::labels;

/// Entries of a page when the caller says nothing. A part of the API, not a setting.
const PAGE_ENTRIES: usize = 100;
/// Most entries of a page.
const PAGE_ENTRIES_MAX: usize = 1000;
/// Most labels in a filter.
const FILTER_LABELS_MAX: usize = 16;
/// Longest reason of a disconnect, in bytes.
const REASON_BYTES_MAX: usize = 120;

/// What to list.
#[derive(Debug)]
pub struct List {
    /// Which agents.
    pub filter: Filter,
    /// Which part of them.
    pub page: Page,
}

/// A part of a list.
#[derive(Debug)]
pub struct Page {
    /// Where to go on; 0 at the start.
    pub cursor: u64,
    /// Most entries.
    pub limit: usize,
}

impl Page {
    /// Without a word from the caller.
    const FIRST: Self = Self { cursor: 0, limit: PAGE_ENTRIES };

    /// Takes `limit` or `cursor`; any other name is `unknown`.
    fn take(&mut self, name: &str, value: &str, unknown: &str) -> Result<(), String> {
        match name {
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=PAGE_ENTRIES_MAX).contains(limit));
                self.limit = limit.ok_or_else(|| format!("must be a number from 1 to {PAGE_ENTRIES_MAX}"))?;
            }
            "cursor" => self.cursor = read_cursor(value).ok_or("must be the `next` of the page before")?,
            _ => return Err(unknown.to_owned()),
        }
        Ok(())
    }
}

/// The agent's name from its path segment.
///
/// # Errors
/// 400 when it is no name.
pub fn agent(segment: &str) -> Result<Cow<'_, str>, Problem> {
    percent_decode_str(segment)
        .decode_utf8()
        .ok()
        .filter(|name| is_name(name))
        .ok_or_else(|| invalid(vec![Fault::parameter("agent", format!("must be {NAME_RULE}"))]))
}

/// The query of a list: `limit`, `cursor`, `prefix`, and `label=key=value` any number of times.
///
/// # Errors
/// 400 that names each parameter that is wrong.
pub fn list(query: &str) -> Result<List, Problem> {
    let mut list = List { filter: Filter::default(), page: Page::FIRST };
    let mut faults = Vec::new();
    each_parameter(query, &["label"], &mut faults, |name, value| match name {
        "prefix" => {
            list.filter.prefix = value.to_owned();
            Ok(())
        }
        "label" => {
            let condition = labels::condition(value).ok_or("must be key=value")?;
            if list.filter.labels.len() == FILTER_LABELS_MAX {
                return Err(format!("may come {FILTER_LABELS_MAX} times"));
            }
            list.filter.labels.push(condition);
            Ok(())
        }
        _ => list.page.take(name, value, "is unknown; there are `limit`, `cursor`, `prefix` and `label`"),
    });
    done(list, faults)
}

/// The query of a list without a filter: `limit` and `cursor`.
///
/// # Errors
/// 400 that names each parameter that is wrong.
pub fn page(query: &str) -> Result<Page, Problem> {
    let mut page = Page::FIRST;
    let mut faults = Vec::new();
    let unknown = "is unknown; there are `limit` and `cursor`";
    each_parameter(query, &[], &mut faults, |name, value| page.take(name, value, unknown));
    done(page, faults)
}

/// The query of a disconnect: `reason`, or what is said without one.
///
/// # Errors
/// 400 that names each parameter that is wrong.
pub fn reason(query: &str, otherwise: &str) -> Result<String, Problem> {
    let mut reason = otherwise.to_owned();
    let mut faults = Vec::new();
    each_parameter(query, &[], &mut faults, |name, value| match name {
        "reason" if value.len() > REASON_BYTES_MAX => Err(format!("must be at most {REASON_BYTES_MAX} bytes")),
        "reason" if value.chars().any(char::is_control) => Err("must not have control characters".to_owned()),
        "reason" => {
            reason = value.to_owned();
            Ok(())
        }
        _ => Err("is unknown; there is `reason`".to_owned()),
    });
    done(reason, faults)
}

/// A cursor as the API writes it. Callers should not look into it.
#[must_use]
pub fn write_cursor(cursor: u64) -> String {
    format!("{cursor:x}")
}

/// A cursor that [`write_cursor`] wrote; `None` for anything else.
#[must_use]
pub fn read_cursor(text: &str) -> Option<u64> {
    // `from_str_radix` would also take a sign.
    let digits = text.bytes().all(|b| b.is_ascii_hexdigit());
    u64::from_str_radix(text, 16).ok().filter(|_| digits)
}

/// Hands each parameter on; each may come once, but for those in `repeatable`.
fn each_parameter(
    query: &str,
    repeatable: &[&str],
    faults: &mut Vec<Fault>,
    mut take: impl FnMut(&str, &str) -> Result<(), String>,
) {
    let mut seen: Vec<String> = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let twice = seen.iter().any(|before| *before == name);
        let taken = if twice && !repeatable.contains(&name.as_ref()) {
            Err("may come once".to_owned())
        } else {
            take(&name, &value)
        };
        if let Err(detail) = taken {
            faults.push(Fault::parameter(&name, detail));
        }
        if !twice {
            seen.push(name.into_owned());
        }
    }
}

fn done<T>(value: T, faults: Vec<Fault>) -> Result<T, Problem> {
    if faults.is_empty() { Ok(value) } else { Err(invalid(faults)) }
}

fn invalid(faults: Vec<Fault>) -> Problem {
    Problem::new(Kind::Invalid).detail("The address says something that it may not say.").errors(faults)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn faulty(problem: Problem) -> Vec<String> {
        let answer = problem.into_answer();
        assert_eq!(answer.status, 400);
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        let errors = body["errors"].as_array().unwrap();
        errors.iter().map(|error| error["parameter"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn agents_are_names() {
        for (segment, name) in [("web-1", "web-1"), ("a%40b", "a@b"), ("a:b", "a:b"), ("%77", "w")] {
            assert_eq!(agent(segment).unwrap(), name);
        }
        for bad in ["%", "a%2Fb", "a%20b", "a+b", "%ff", "%00", &"x".repeat(129)] {
            assert_eq!(faulty(agent(bad).unwrap_err()), ["agent"], "{bad}");
        }
    }

    #[test]
    fn a_list_without_words_is_the_first_page() {
        let found = list("").unwrap();
        assert_eq!((found.page.cursor, found.page.limit), (0, PAGE_ENTRIES));
        assert!(found.filter.prefix.is_empty() && found.filter.labels.is_empty());
    }

    #[test]
    fn lists_are_filtered() {
        let found = list("limit=1000&cursor=ff&prefix=web-&label=region=eu&label=a%3Db=c&label=k=").unwrap();
        assert_eq!((found.page.cursor, found.page.limit), (255, 1000));
        assert_eq!(found.filter.prefix, "web-");
        let labels = [("region", "eu"), ("a", "b=c"), ("k", "")];
        let labels = labels.map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(found.filter.labels, labels);
    }

    #[test]
    fn wrong_parameters_are_named() {
        for (query, expected) in [
            ("limit=0", vec!["limit"]),
            ("limit=1001", vec!["limit"]),
            ("limit=-1", vec!["limit"]),
            ("limit=", vec!["limit"]),
            ("limit=1&limit=2", vec!["limit"]),
            ("cursor=", vec!["cursor"]),
            ("cursor=%2B1", vec!["cursor"]),
            ("cursor=xyz", vec!["cursor"]),
            ("cursor=10000000000000000", vec!["cursor"]),
            ("label=region", vec!["label"]),
            ("label==eu", vec!["label"]),
            ("lable=a=b", vec!["lable"]),
            ("limit=x&page=2", vec!["limit", "page"]),
        ] {
            assert_eq!(faulty(list(query).unwrap_err()), expected, "{query}");
        }
        let many = "label=a=b&".repeat(FILTER_LABELS_MAX + 1);
        assert_eq!(faulty(list(&many).unwrap_err()), ["label"]);
    }

    #[test]
    fn cursors_survive_their_text() {
        for cursor in [0, 1, 0xdead_beef, u64::MAX] {
            assert_eq!(read_cursor(&write_cursor(cursor)), Some(cursor));
        }
    }

    #[test]
    fn reasons() {
        assert_eq!(reason("", "bye").unwrap(), "bye");
        assert_eq!(reason("reason=too+old%21", "bye").unwrap(), "too old!");
        for bad in ["reason=a%0Ab", "reason=a&reason=b", "why=x"] {
            assert_eq!(faulty(reason(bad, "bye").unwrap_err()).len(), 1, "{bad}");
        }
        let long = format!("reason={}", "x".repeat(REASON_BYTES_MAX + 1));
        assert_eq!(faulty(reason(&long, "bye").unwrap_err()), ["reason"]);
    }
}
