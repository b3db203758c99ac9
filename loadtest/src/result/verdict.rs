//! How many answers were right, and what the others were.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How many wrong answers are quoted.
const QUOTED_MAX: usize = 5;

/// The count of answers of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verdict {
    /// Right answers.
    pub right: u64,
    /// Answers that are not the right one.
    pub wrong: u64,
    /// Questions without an answer.
    pub lost: u64,
    /// Answers that nobody waited for.
    pub strays: u64,
    /// Second answers to one question, and questions that reached an agent twice.
    pub doubled: u64,
    /// Other outcomes by name, such as `offline`.
    pub outcomes: BTreeMap<String, u64>,
    /// The first wrong answers, at most five.
    pub quoted: Vec<String>,
}

impl Verdict {
    /// Adds what another part of the run has counted.
    pub fn add(&mut self, other: &Self) {
        self.right += other.right;
        self.wrong += other.wrong;
        self.lost += other.lost;
        self.strays += other.strays;
        self.doubled += other.doubled;
        for (outcome, count) in &other.outcomes {
            *self.outcomes.entry(outcome.clone()).or_default() += count;
        }
        other.quoted.iter().for_each(|text| self.quote(text));
    }

    /// Keeps a wrong answer to be quoted, if it is one of the first.
    pub fn quote(&mut self, text: &str) {
        if self.quoted.len() < QUOTED_MAX {
            self.quoted.push(text.to_owned());
        }
    }

    /// What of it fails a run, in words. Other outcomes do not: they are true, and the scenario knows which it may meet.
    pub fn faults(&self) -> Vec<String> {
        [(self.wrong, "wrong"), (self.lost, "lost"), (self.strays, "stray"), (self.doubled, "doubled")]
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, name)| format!("{count} {name} answer{}", if count == 1 { "" } else { "s" }))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_and_only_the_first_wrong_answers_are_quoted() {
        let part = Verdict {
            right: 1,
            wrong: 2,
            outcomes: BTreeMap::from([("offline".to_owned(), 3)]),
            quoted: vec!["a".to_owned(), "b".to_owned()],
            ..Verdict::default()
        };
        let mut sum = Verdict::default();
        assert_eq!(sum.faults(), Vec::<String>::new());
        for _ in 0..4 {
            sum.add(&part);
        }
        assert_eq!((sum.right, sum.wrong, sum.outcomes["offline"]), (4, 8, 12));
        assert_eq!(sum.quoted, ["a", "b", "a", "b", "a"]);
        assert_eq!(sum.faults(), ["8 wrong answers"]);
        sum.lost = 1;
        assert_eq!(sum.faults(), ["8 wrong answers", "1 lost answer"]);
    }
}
