//! What documents list, held against the code: metrics, settings, close codes.

use super::Violation;

/// What a histogram's series are called beside its name.
const OF_HISTOGRAMS: [&str; 3] = ["_bucket", "_sum", "_count"];

/// A document: its path and its text.
pub type Page = (String, String);

fn violation(path: &str, text: &str, at: usize, told: String) -> Violation {
    Violation { path: path.to_owned(), line: text[..at].lines().count().max(1), text: told }
}

/// Holds that each metric stands in one of the pages, and that there is each that they name.
#[must_use]
pub fn metrics(pages: &[Page], names: &[&str]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for name in names {
        if !pages.iter().any(|(_, text)| text.contains(&format!("`{name}`"))) {
            violations.push(violation("docs", "", 0, format!("no page tells of the metric `{name}`")));
        }
    }
    for (path, text) in pages {
        for (at, _) in text.match_indices("holdfast_") {
            let end =
                text[at..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_').map_or(text.len(), |end| at + end);
            let found = &text[at..end];
            let short = OF_HISTOGRAMS.iter().find_map(|end| found.strip_suffix(end)).unwrap_or(found);
            if !names.contains(&found) && !names.contains(&short) {
                violations.push(violation(path, text, at, format!("there is no metric `{found}`")));
            }
        }
    }
    violations
}

/// Holds that each setting stands in one of the pages, and that there is each that they name. `keys` are `section.name`.
///
/// A page tells of a setting by both names, or by `name =` below the section's head in an example.
#[must_use]
pub fn settings(pages: &[Page], keys: &[String]) -> Vec<Violation> {
    let mut violations = Vec::new();
    let examples: Vec<String> = pages.iter().flat_map(|(_, text)| in_examples(text)).collect();
    for key in keys {
        let is_told = pages.iter().any(|(_, text)| mentions(text, key)) || examples.contains(key);
        if !is_told {
            violations.push(violation("docs", "", 0, format!("no page tells of the setting `{key}`")));
        }
    }
    let sections: Vec<&str> = keys.iter().filter_map(|key| key.split_once('.')).map(|(section, _)| section).collect();
    for (path, text) in pages {
        for example in in_examples(text) {
            let is_of_ours = example.split_once('.').is_some_and(|(section, _)| sections.contains(&section));
            if is_of_ours && !keys.contains(&example) {
                let at = 0;
                violations.push(violation(path, text, at, format!("an example sets `{example}`, which is no setting")));
            }
        }
    }
    violations
}

/// Whether a text has the key as a whole.
fn mentions(text: &str, key: &str) -> bool {
    text.match_indices(key).any(|(at, _)| {
        let is_part = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
        !is_part(text[..at].chars().next_back()) && !is_part(text[at + key.len()..].chars().next())
    })
}

/// The settings of all examples in TOML, as `section.name`; those of lists (`[[section.list]]`) are left out.
fn in_examples(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let blocks = text.split("```").skip(1).step_by(2).filter(|block| block.starts_with("toml\n"));
    for block in blocks {
        let mut section = None;
        for line in block.lines().skip(1) {
            if let Some(head) = line.strip_prefix('[') {
                section = head.split_once(']').map(|(name, _)| name).filter(|name| !name.starts_with('['));
            } else if let (Some(section), Some((name, _))) = (section, line.split_once('=')) {
                let name = name.trim();
                if !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
                    found.push(format!("{section}.{name}"));
                }
            }
        }
    }
    found
}

/// Holds that the table of close codes has each reason with its code, and no other, and that reasons without a code are named behind it.
/// `reasons` are labels with their codes.
#[must_use]
pub fn close_codes(path: &str, text: &str, reasons: &[(&str, Option<u16>)]) -> Vec<Violation> {
    let missing = |told: String| Violation { path: path.to_owned(), line: 1, text: told };
    let mut violations = Vec::new();
    let Some((_, part)) = text.split_once("## Close codes\n") else {
        return vec![missing("there is no part `Close codes`".to_owned())];
    };
    let part = part.split_once("\n## ").map_or(part, |(part, _)| part);
    let rows: Vec<(&str, &str)> = part
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| ")?.split(" | ");
            let code = cells.next().filter(|code| code.parse::<u16>().is_ok())?;
            Some((code, cells.next()?.trim_matches('`')))
        })
        .collect();
    for (label, code) in reasons {
        let is_told = match code {
            Some(code) => rows.contains(&(code.to_string().as_str(), label)),
            None => part.contains(&format!("`{label}`")),
        };
        if !is_told {
            violations.push(missing(format!("the reason `{label}` ({code:?}) is not told")));
        }
    }
    for (code, label) in rows {
        if !reasons
            .iter()
            .any(|(known, with)| *known == label && with.map(|with| with.to_string()).as_deref() == Some(code))
        {
            violations.push(missing(format!("there is no reason `{label}` with {code}")));
        }
    }
    violations
}

#[cfg(test)]
mod planted {
    use super::*;

    fn page(text: &str) -> Vec<Page> {
        vec![("docs/x.md".to_owned(), text.to_owned())]
    }

    fn told(violations: Vec<Violation>) -> Vec<String> {
        violations.into_iter().map(|violation| violation.text).collect()
    }

    #[test]
    fn a_metric_that_is_missing_or_foreign_is_found() {
        let names = ["holdfast_a", "holdfast_b_seconds"];
        assert_eq!(
            told(metrics(&page("`holdfast_a` `holdfast_b_seconds` holdfast_b_seconds_sum{x=\"1\"}"), &names)),
            [""; 0]
        );
        let found = told(metrics(&page("`holdfast_a` and\n`holdfast_c`"), &names));
        assert_eq!(found, ["no page tells of the metric `holdfast_b_seconds`", "there is no metric `holdfast_c`"]);
    }

    #[test]
    fn a_setting_that_is_missing_or_foreign_is_found() {
        let keys = ["a.one", "a.two", "b.three"].map(str::to_owned);
        let good = "`a.one`\n```toml\n[a]\ntwo = 2  # x\n[[b.list]]\nfour = 4\n```\nset b.three.";
        assert_eq!(told(settings(&page(good), &keys)), [""; 0]);
        let bad = "`a.one_more`\n```toml\n[a]\nfive = 5\n```\n`a.two` `b.three`";
        let found = told(settings(&page(bad), &keys));
        assert_eq!(found, ["no page tells of the setting `a.one`", "an example sets `a.five`, which is no setting"]);
    }

    #[test]
    fn a_close_code_that_is_missing_or_foreign_is_found() {
        let reasons = [("gone", Some(4000)), ("lost", None)];
        let text = "## Close codes\n| code | reason |\n|---|---|\n| 4000 | `gone` | x |\n\n`lost`\n\n## Next\n| 4001 | `x` | y |";
        assert_eq!(told(close_codes("p", text, &reasons)), [""; 0]);
        let bad = text.replace("4000", "4002").replace("`lost`", "");
        assert_eq!(told(close_codes("p", &bad, &reasons)).len(), 3);
    }
}
