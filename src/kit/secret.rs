//! A text that opens a door: a token, a key, a password.
//!
//! Owns that it is not shown by accident. It is no vault: the text lies in memory as any other does.

use std::fmt;
use std::ops::Deref;

/// A text that no `Debug` shows, its own or that of what it is a part of. It has no `Display`: whoever writes it somewhere has to mean it.
#[derive(Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Of this text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for who has to use it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// So that one can be read where texts are: checked, measured, compared.
impl Deref for Secret {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// As the command line gives it.
impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.0.is_empty() { "\"\"" } else { "(hidden)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_used_and_not_shown() {
        let secret = Secret::new("sesame".to_owned());
        assert_eq!((secret.reveal(), secret.len()), ("sesame", 6));
        assert_eq!(format!("{:?} {:#?}", Some(&secret), [&secret]), "Some((hidden)) [\n    (hidden),\n]");
        assert_eq!(format!("{:?}", Secret::default()), "\"\"", "that there is none may be known");
    }
}
