//! `docs/security.md` names limits, defaults and tests: that they are there, that they are those, and that no limit is missing.

use std::collections::BTreeSet;

use super::Violation;
use super::source::Source;

/// The headings of the tables whose last column names tests.
const TABLES: [&str; 2] = ["## Limits, and what they defend", "## Classes of past vulnerabilities"];

/// A row of a table, with its line.
struct Row<'a> {
    line: usize,
    cells: Vec<&'a str>,
}

/// The rows below a heading, without the head of the table.
fn rows<'a>(text: &'a str, heading: &str) -> Vec<Row<'a>> {
    let lines = text.lines().enumerate().skip_while(|(_, line)| *line != heading).skip(1);
    let section = lines.take_while(|(_, line)| !line.starts_with("## "));
    let rows = section
        .filter(|(_, line)| line.starts_with("| "))
        .map(|(at, line)| Row { line: at + 1, cells: line.trim_matches('|').split(" | ").map(str::trim).collect() });
    rows.skip(1).collect()
}

/// What stands between backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The names of all functions, tests or not.
fn functions(sources: &[Source]) -> BTreeSet<&str> {
    let after = sources.iter().flat_map(|source| source.text.split("fn ").skip(1));
    after.map(|rest| rest.split(['(', '<']).next().unwrap_or_default()).collect()
}

/// Holds that each row of the tables names a test, and only such as there are.
pub fn tests_exist(path: &str, text: &str, sources: &[Source]) -> Vec<Violation> {
    let functions = functions(sources);
    let mut violations = Vec::new();
    for heading in TABLES {
        let rows = rows(text, heading);
        let violation = |line, text| Violation { path: path.to_owned(), line, text };
        if rows.is_empty() {
            violations.push(violation(1, format!("no table below \"{heading}\"")));
        }
        for Row { line, cells } in rows {
            let named: Vec<&str> = cells.last().map(|cell| quoted(cell).collect()).unwrap_or_default();
            if named.is_empty() {
                violations.push(violation(line, "names no test".to_owned()));
            }
            let missing = named.into_iter().filter(|name| !functions.contains(name));
            violations.extend(missing.map(|name| violation(line, format!("there is no test `{name}`"))));
        }
    }
    violations
}

/// Holds that the table of limits names settings that there are, with their defaults. `known`: path and default, in TOML.
pub fn defaults_hold(path: &str, text: &str, known: &[(String, String)]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for Row { line, cells } in rows(text, TABLES[0]) {
        let (Some(setting), Some(told)) = (cells.get(1), cells.get(2)) else {
            continue;
        };
        let Some(setting) = quoted(setting).next() else {
            continue;
        };
        let told = told.split(':').next().unwrap_or_default();
        let wrong = match known.iter().find(|(key, _)| key == setting) {
            None => Some(format!("there is no setting `{setting}`")),
            Some((_, default)) if default.replace(['"', '_'], "") != told => {
                Some(format!("`{setting}` is {default} by default, and not {told}"))
            }
            Some(_) => None,
        };
        violations.extend(wrong.map(|text| Violation { path: path.to_owned(), line, text }));
    }
    violations
}

/// Sections of the settings that are limits throughout, and how keys of others end that are.
const LIMITS: [&str; 3] = ["limits.", "overload.", "rates."];
const LIMIT_ENDS: [&str; 5] = ["_max", ".connections", ".handshakes", ".queue_hard", ".window"];

/// Keys that look like limits and bound nothing by themselves.
const NO_LIMITS: [&str; 12] = [
    "calls.idempotency_window",
    "drain.window",
    "limits.descriptors_reserve",
    "limits.echo_message_max",
    "limits.queue_soft",
    "overload.fall",
    "overload.patience",
    "overload.rise",
    "rates.burst",
    "rates.exempt",
    "rates.prefix_v4",
    "rates.prefix_v6",
];

/// Holds that each limit of the settings is named where limits are told. `known` as for [`defaults_hold`].
pub fn limits_are_told(path: &str, text: &str, known: &[(String, String)]) -> Vec<Violation> {
    let section = text.split(TABLES[0]).nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap_or_default();
    let told: BTreeSet<&str> = quoted(section).collect();
    let is_limit = |key: &str| {
        let is_one =
            LIMITS.iter().any(|start| key.starts_with(start)) || LIMIT_ENDS.iter().any(|end| key.ends_with(end));
        is_one && !NO_LIMITS.contains(&key)
    };
    let missing = known.iter().map(|(key, _)| key.as_str()).filter(|key| is_limit(key) && !told.contains(key));
    missing.map(|key| Violation { path: path.to_owned(), line: 1, text: format!("does not tell of `{key}`") }).collect()
}

/// What looks at a secret: the file, the function, and what it must leave the comparison to.
const SECRETS: [(&str, &str, &str); 2] =
    [("src/auth/api_key.rs", "fn find(", "verify_slices_are_equal("), ("src/auth/key.rs", "fn made(", "verify")];

/// What ends a comparison at the first difference, or a search at the first success.
const EARLY: [&str; 6] = ["==", "!=", "return", "break", "?;", ".find("];

/// Holds that whoever looks at a secret leaves the comparison to what takes the same time for each, and looks at all of them.
pub fn secrets(source: &Source) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (path, function, must) in SECRETS.into_iter().filter(|(path, ..)| *path == source.path) {
        let violation = |line, text| Violation { path: path.to_owned(), line, text };
        let Some(at) = source.code.find(function) else {
            violations.push(violation(1, format!("there is no `{function}`")));
            continue;
        };
        let body = &source.code[at..];
        let body = &body[..body.find("\n    }").unwrap_or(body.len())];
        if !body.contains(must) {
            violations.push(violation(source.line(at), format!("`{function}` compares without `{must}`")));
        }
        let early = EARLY.into_iter().filter(|word| body.contains(word));
        violations
            .extend(early.map(|word| violation(source.line(at), format!("`{function}` may end early: `{word}`"))));
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "## Limits, and what they defend\n\n| limit | setting | default | test |\n|---|---|---|---|\n\
                        | a | `x.y` | 1MiB: as usual | `holds` |\n| b | `x.z` | 2 | `is_gone` |\n| c | none | 3 | nothing |\n\n\
                        ## Classes of past vulnerabilities\n\n| class | test |\n|---|---|\n| d | `holds`, `never_was` |\n";

    fn told(violations: &[Violation]) -> Vec<(usize, &str)> {
        violations.iter().map(|violation| (violation.line, violation.text.as_str())).collect()
    }

    #[test]
    fn a_test_that_is_not_there_is_found() {
        let sources = [Source::read("src/x.rs", "#[test]\nfn holds() {}\n")];
        let violations = tests_exist("docs/x.md", TEXT, &sources);
        let expected = [(6, "there is no test `is_gone`"), (7, "names no test"), (13, "there is no test `never_was`")];
        assert_eq!(told(&violations), expected);
        assert_eq!(tests_exist("docs/x.md", "", &sources).len(), 2);
    }

    #[test]
    fn a_comparison_that_ends_early_is_found() {
        let honest = "    fn find(&self) {\n        for known in keys {\n            verify_slices_are_equal(a, b);\n        }\n    }\n";
        assert!(secrets(&Source::read("src/auth/api_key.rs", honest)).is_empty());
        let early = honest.replace("verify_slices_are_equal(a, b);", "if a == b { return x }");
        let violations = secrets(&Source::read("src/auth/api_key.rs", &early));
        assert_eq!(violations.len(), 3, "{violations:?}");
        assert_eq!(secrets(&Source::read("src/auth/api_key.rs", "")).len(), 1);
    }

    #[test]
    fn a_limit_that_is_not_told_of_is_found() {
        let keys = ["x.y", "limits.queue_soft", "limits.z", "a.bytes_max", "log.level"];
        let known = keys.map(|key| (key.to_owned(), "1".to_owned()));
        let violations = limits_are_told("docs/x.md", TEXT, &known);
        assert_eq!(told(&violations), [(1, "does not tell of `limits.z`"), (1, "does not tell of `a.bytes_max`")]);
        let text = TEXT.replace("`x.z`", "`limits.z`, `a.bytes_max`");
        assert!(limits_are_told("docs/x.md", &text, &known).is_empty());
    }

    #[test]
    fn a_default_that_has_changed_is_found() {
        let known = [("x.y".to_owned(), "\"1MiB\"".to_owned())];
        assert_eq!(told(&defaults_hold("docs/x.md", TEXT, &known)), [(6, "there is no setting `x.z`")]);
        let known = [("x.y".to_owned(), "\"2MiB\"".to_owned()), ("x.z".to_owned(), "2".to_owned())];
        let expected = [(5, "`x.y` is \"2MiB\" by default, and not 1MiB")];
        assert_eq!(told(&defaults_hold("docs/x.md", TEXT, &known)), expected);
    }
}
