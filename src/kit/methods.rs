//! Methods by name or by beginning: the one form in which the settings, tokens and the command line say which methods are meant.
//!
//! Owns how a pattern is read and what it holds. It knows nobody who may call.

use std::fmt;
use std::str::FromStr;

/// Methods by name: `disk.free` is one, `disk.*` is all that begin with `disk.`, `*` is all.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Methods {
    /// This one.
    Exactly(Box<str>),
    /// Every one that begins so.
    BeginningWith(Box<str>),
}

impl Methods {
    /// Whether this method is among them.
    #[must_use]
    pub fn hold(&self, method: &str) -> bool {
        match self {
            Self::Exactly(name) => **name == *method,
            Self::BeginningWith(prefix) => method.starts_with(&**prefix),
        }
    }

    /// Bytes of its text, the star apart.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        match self {
            Self::Exactly(text) | Self::BeginningWith(text) => text.len(),
        }
    }
}

impl FromStr for Methods {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("must not be empty".to_owned());
        }
        match text.strip_suffix('*') {
            Some(prefix) if !prefix.contains('*') => Ok(Self::BeginningWith(prefix.into())),
            None if !text.contains('*') => Ok(Self::Exactly(text.into())),
            _ => Err("may have one star, at its end".to_owned()),
        }
    }
}

impl fmt::Display for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(name) => f.write_str(name),
            Self::BeginningWith(prefix) => write!(f, "{prefix}*"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_pattern_is_refused() {
        for bad in ["", "a*b", "**", "*a", "a**"] {
            assert!(bad.parse::<Methods>().is_err(), "{bad}");
        }
        for good in ["a", "a.*", "*"] {
            assert_eq!(good.parse::<Methods>().unwrap().to_string(), good);
        }
    }

    #[test]
    fn a_method_is_meant_by_its_name_or_its_beginning() {
        for (pattern, method, expected) in [
            ("disk.free", "disk.free", true),
            ("disk.free", "disk.freeze", false),
            ("disk.free", "disk", false),
            ("disk.*", "disk.", true),
            ("disk.*", "disk.free", true),
            ("disk.*", "disk", false),
            ("disk.*", "Disk.free", false),
            ("*", "", true),
            ("*", "any", true),
        ] {
            assert_eq!(pattern.parse::<Methods>().unwrap().hold(method), expected, "{pattern} {method}");
        }
    }
}
