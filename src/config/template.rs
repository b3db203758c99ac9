//! The text of `holdfast default-config`: every key, its documentation, its default.
//!
//! Made from the table of settings, so it cannot drift from what the program reads.

use std::fmt::{self, Write};

use super::kind::Shape;
use super::schema::{Entries, Key, Section};
use super::settings::sections;

const HEAD: &str = "\
# The settings of holdfast, with their defaults. What is commented out is optional.
# Layers, each over the one before: these defaults, this file, the environment, flags.
# In the environment `limits.queue_soft` is HOLDFAST_LIMITS__QUEUE_SOFT, and the `id` of the first of
# `[[auth.keys]]` is HOLDFAST_AUTH__KEYS__0__ID. `holdfast check-config` shows what is in effect.
";

/// A configuration file that says what would be so without it.
#[must_use]
pub fn text() -> String {
    let mut out = HEAD.to_owned();
    for section in sections() {
        // Writing to a string cannot fail.
        let _ = write_section(&mut out, &section);
    }
    out
}

fn write_section(out: &mut String, section: &Section) -> fmt::Result {
    writeln!(out)?;
    write_doc(out, section.doc)?;
    writeln!(out, "[{}]", section.name)?;
    for key in &section.keys {
        write_key(out, key)?;
    }
    for entries in &section.lists {
        write_entries(out, section.name, entries)?;
    }
    Ok(())
}

fn write_key(out: &mut String, key: &Key) -> fmt::Result {
    writeln!(out)?;
    write_doc(out, key.doc)?;
    if let Some((low, high)) = &key.bounds {
        writeln!(out, "# From {low} to {high}.")?;
    }
    writeln!(out, "{} = {}", key.name, key.default)
}

fn write_entries(out: &mut String, section: &str, entries: &Entries) -> fmt::Result {
    writeln!(out)?;
    write_doc(out, entries.doc)?;
    writeln!(out, "# [[{section}.{}]]", entries.name)?;
    for field in entries.fields {
        write_doc(out, field.doc)?;
        match field.shape {
            Shape::Text => writeln!(out, "# {} = \"{}\"", field.name, field.example)?,
            Shape::Number | Shape::List => writeln!(out, "# {} = {}", field.name, field.example)?,
        }
    }
    Ok(())
}

fn write_doc(out: &mut String, doc: &[&str]) -> fmt::Result {
    for line in doc {
        // A doc comment begins with the space after its slashes.
        writeln!(out, "#{line}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Raw;

    #[test]
    fn the_text_reads_back_as_the_defaults() {
        let read: Raw = toml::from_str(&text()).expect("valid TOML of known keys");
        assert_eq!(read, Raw::default());
    }

    #[test]
    fn every_key_is_there_once_and_documented() {
        let text = text();
        for section in sections() {
            assert!(text.contains(&format!("\n[{}]\n", section.name)));
            assert!(!section.doc.is_empty());
            for key in &section.keys {
                let words: usize = key.doc.iter().map(|line| line.split_whitespace().count()).sum();
                assert!(words >= 3, "{}.{} says too little", section.name, key.name);
                assert!(text.contains(&format!("\n{} = {}\n", key.name, key.default)));
            }
            for field in section.lists.iter().flat_map(|entries| entries.fields) {
                assert!(!field.doc.is_empty(), "{}", field.name);
                assert!(text.contains(&format!("\n# {} = ", field.name)));
            }
        }
    }

    #[test]
    fn the_examples_of_lists_read_as_what_they_show() {
        let is_example = |line: &str| line.starts_with("[[") || line.contains(" = \"") || line.contains(" = [");
        let examples: Vec<String> = text()
            .lines()
            .filter_map(|line| line.strip_prefix("# "))
            .filter(|line| is_example(line))
            .map(|line| format!("{line}\n"))
            .collect();
        let read: Raw = toml::from_str(&examples.concat()).expect("valid TOML of known keys");
        assert_eq!((read.auth.keys.len(), read.auth.issuers.len(), read.api.keys.len()), (1, 1, 1));
        assert_eq!(read.auth.issuers[0].algorithms, ["RS256", "PS256", "ES256"]);
        assert_eq!(read.auth.keys[0].algorithm, "ES256");
        assert_eq!(read.api.keys[0].tenant, "default");
        // Who takes the example as it stands gives the least away.
        assert_eq!(read.api.keys[0].allow, Some(vec!["call".to_owned()]));
        assert!(read.api.keys[0].methods.is_some() && read.api.keys[0].agents.is_some());
    }

    #[test]
    fn a_key_that_the_text_lacks_would_be_seen() {
        // The first test alone would pass on an empty text, since every key has a default.
        let lines = text().lines().filter(|line| line.contains(" = ") && !line.starts_with('#')).count();
        let keys: usize = sections().iter().map(|section| section.keys.len()).sum();
        assert_eq!(lines, keys);
    }
}
