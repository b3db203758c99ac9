//! What is wrong with the settings, and where it was typed.
//!
//! Owns the wording's frame (place, sentence) and the collection: all problems are told at once. It finds none itself.

use std::fmt;

/// Where a value comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Nobody typed it.
    #[default]
    Default,
    /// The configuration file.
    File {
        /// Its name as it was given.
        name: String,
        /// The line, from 1; 0 for the file as a whole.
        line: usize,
    },
    /// An environment variable.
    Env(String),
    /// A command-line flag, with its dashes.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => out.write_str("default"),
            Self::File { name, line: 0 } => out.write_str(name),
            Self::File { name, line } => write!(out, "{name}:{line}"),
            Self::Env(name) => out.write_str(name),
            Self::Flag(name) => out.write_str(name),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where the value was typed.
    pub origin: Origin,
    /// The key's path, such as `limits.queue_soft`; empty where no key is meant.
    pub key: String,
    /// A sentence that says what to change. Never holds a secret.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.origin {
            Origin::Default => out.write_str(&self.text),
            _ => write!(out, "{}: {}", self.origin, self.text),
        }
    }
}

/// Everything that is wrong, in the order in which it was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Adds one.
    pub fn push(&mut self, origin: Origin, key: impl Into<String>, text: impl Into<String>) {
        self.0.push(Problem { origin, key: key.into(), text: text.into() });
    }

    /// Whether a problem with this key is known already: what follows from it need not be told.
    #[must_use]
    pub fn mention(&self, key: &str) -> bool {
        self.0.iter().any(|problem| problem.key == key)
    }

    /// Whether all is well.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.0.as_slice() {
            return write!(out, "{only}");
        }
        write!(out, "{} problems in the settings:", self.0.len())?;
        for problem in &self.0 {
            write!(out, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_problem_is_a_line_and_more_are_a_list() {
        let mut problems = Problems::default();
        let line = Origin::File { name: "h.toml".to_owned(), line: 3 };
        problems.push(line, "a.b", "no such key");
        assert_eq!(problems.to_string(), "h.toml:3: no such key");
        problems.push(Origin::Flag("--loops"), "server.loops", "too many");
        assert_eq!(problems.to_string(), "2 problems in the settings:\n  h.toml:3: no such key\n  --loops: too many");
        assert!(problems.mention("a.b") && !problems.mention("a"));
    }
}
