//! `docs/security.md` names limits, defaults and tests: that they are there, and that they are those.

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
    fn a_default_that_has_changed_is_found() {
        let known = [("x.y".to_owned(), "\"1MiB\"".to_owned())];
        assert_eq!(told(&defaults_hold("docs/x.md", TEXT, &known)), [(6, "there is no setting `x.z`")]);
        let known = [("x.y".to_owned(), "\"2MiB\"".to_owned()), ("x.z".to_owned(), "2".to_owned())];
        let expected = [(5, "`x.y` is \"2MiB\" by default, and not 1MiB")];
        assert_eq!(told(&defaults_hold("docs/x.md", TEXT, &known)), expected);
    }
}
