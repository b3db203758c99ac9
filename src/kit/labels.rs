//! Conditions on labels, `key=value`: the one form in which the API, the settings and the command line say which agents are meant.
//!
//! Owns how a condition is read and when it holds. It knows no agent.

/// A label that must be there, and its value.
pub type Condition = (String, String);

/// Reads `key=value`; the key may not be empty, and the value may have further equals signs. `None` when it is something else.
#[must_use]
pub fn condition(text: &str) -> Option<Condition> {
    let (key, value) = text.split_once('=').filter(|(key, _)| !key.is_empty())?;
    Some((key.to_owned(), value.to_owned()))
}

/// Whether every condition holds for these labels, which are sorted by key. No conditions hold for everybody.
#[must_use]
pub fn all_hold(conditions: &[Condition], labels: &[(Box<str>, Box<str>)]) -> bool {
    conditions.iter().all(|(key, value)| {
        let there = labels.binary_search_by(|(label, _)| (**label).cmp(key.as_str()));
        there.is_ok_and(|at| *labels[at].1 == **value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Vec<(Box<str>, Box<str>)> {
        text.split_whitespace().filter_map(condition).map(|(key, value)| (key.into(), value.into())).collect()
    }

    fn conditions(text: &str) -> Vec<Condition> {
        text.split_whitespace().filter_map(condition).collect()
    }

    #[test]
    fn a_condition_has_a_key() {
        for (text, expected) in [
            ("site=ams", Some(("site", "ams"))),
            ("site=", Some(("site", ""))),
            ("a=b=c", Some(("a", "b=c"))),
            ("=ams", None),
            ("site", None),
            ("", None),
        ] {
            let expected = expected.map(|(key, value): (&str, &str)| (key.to_owned(), value.to_owned()));
            assert_eq!(condition(text), expected, "{text}");
        }
    }

    #[test]
    fn all_conditions_must_hold() {
        let ours = labels("os=linux site=ams tier=gold");
        for (wanted, expected) in [
            ("", true),
            ("site=ams", true),
            ("tier=gold site=ams", true),
            ("site=ams site=ams", true),
            ("site=fra", false),
            ("site=ams site=fra", false),
            ("site=", false),
            ("sit=ams", false),
            ("site=ams region=eu", false),
        ] {
            assert_eq!(all_hold(&conditions(wanted), &ours), expected, "{wanted}");
        }
        assert!(all_hold(&[], &[]) && !all_hold(&conditions("site=ams"), &[]));
    }
}
