//! The layers that settings come from: file, environment, flags, each over the one before.
//!
//! Owns which keys exist where, where each value was typed, and suggestions for misspelt keys. It parses no value.

use std::collections::BTreeMap;
use std::ffi::OsString;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::kind::Shape;
use super::problem::{Origin, Problems};
use super::schema::{Entries, Section};

/// The beginning of the environment variables that are ours.
pub const ENV_PREFIX: &str = "HOLDFAST_";
/// What stands between section and key in the environment.
const ENV_SEPARATOR: &str = "__";
/// Most entries that the environment can reach.
const ENTRIES_MAX: usize = 1000;

/// The values of all layers so far.
pub struct Layers<'a> {
    sections: &'a [Section],
    /// Section → key → value; lists as arrays of tables.
    pub table: Table,
    /// Path → where its value was typed.
    pub origins: BTreeMap<String, Origin>,
}

/// A place that a value can be put to.
enum Slot<'a> {
    Key { path: [&'a str; 2], shape: Shape },
    Field { path: [&'a str; 3], index: usize, shape: Shape },
}

impl<'a> Layers<'a> {
    /// No layer yet.
    #[must_use]
    pub fn new(sections: &'a [Section]) -> Self {
        Self { sections, table: Table::new(), origins: BTreeMap::new() }
    }

    /// Where a value was typed; a list's field falls back to the list itself.
    #[must_use]
    pub fn origin(&self, path: &str) -> Origin {
        let mut path = path;
        loop {
            if let Some(origin) = self.origins.get(path) {
                return origin.clone();
            }
            match path.rsplit_once('.') {
                Some((parent, _)) => path = parent,
                None => return Origin::Default,
            }
        }
    }

    /// Lays a file over what is there.
    pub fn lay_file(&mut self, name: &str, text: &str, problems: &mut Problems) {
        let file = File { name, text };
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let at = error.span().map_or(0, |span| span.start);
            problems.push(file.line(at), "", format!("not TOML: {}", error.message()));
        }
        if !errors.is_empty() {
            // What was recovered after a slip of the pen would only bring follow-up errors.
            return;
        }
        for (name, value) in document.get_ref() {
            let known = self.sections.iter().find(|s| s.name == name.get_ref().as_ref());
            match (known, value.get_ref()) {
                (Some(section), DeValue::Table(keys)) => self.lay_section(&file, section, keys, problems),
                (Some(section), _) => {
                    let text = format!("`{0}` must be a section: write `[{0}]`", section.name);
                    problems.push(file.line(name.span().start), section.name, text);
                }
                (None, _) => {
                    let text = self.unknown_section(name.get_ref());
                    problems.push(file.line(name.span().start), name.get_ref().as_ref(), text);
                }
            }
        }
    }

    fn lay_section(&mut self, file: &File<'_>, section: &Section, keys: &DeTable<'_>, problems: &mut Problems) {
        for (name, value) in keys {
            let origin = file.line(name.span().start);
            let path = format!("{}.{}", section.name, name.get_ref());
            if let Some(list) = list_of(section, name.get_ref()) {
                self.lay_list(file, section, list, value, problems);
                continue;
            }
            let Some(key) = section.keys.iter().find(|key| key.name == name.get_ref().as_ref()) else {
                problems.push(origin, path, unknown_key(section, name.get_ref()));
                continue;
            };
            match typed(value.get_ref(), key.shape) {
                Ok(value) => self.put([section.name, key.name], value, origin),
                Err(what) => problems.push(origin, path.as_str(), format!("`{path}` {what}")),
            }
        }
    }

    fn lay_list(
        &mut self,
        file: &File<'_>,
        section: &Section,
        entries: &Entries,
        list: &Spanned<DeValue<'_>>,
        problems: &mut Problems,
    ) {
        let tables = list.get_ref().as_array().into_iter().flat_map(|array| array.iter());
        let is_list = list.get_ref().as_array().is_some_and(|array| array.iter().all(|e| e.get_ref().is_table()));
        let place = format!("{}.{}", section.name, entries.name);
        if !is_list {
            let text = format!("`{place}` must be a list of tables: write `[[{place}]]`");
            problems.push(file.line(list.span().start), place, text);
            return;
        }
        for (index, table) in tables.enumerate() {
            self.origins.insert(format!("{place}.{index}"), file.line(table.span().start));
            self.entry([section.name, entries.name], index);
            for (name, value) in table.get_ref().as_table().into_iter().flat_map(|table| table.iter()) {
                let origin = file.line(name.span().start);
                let path = format!("{place}.{index}.{}", name.get_ref());
                let Some(field) = entries.fields.iter().find(|field| field.name == name.get_ref().as_ref()) else {
                    problems.push(origin, path, unknown_field(section, entries, name.get_ref()));
                    continue;
                };
                match typed(value.get_ref(), field.shape) {
                    Ok(value) => self.put_field([section.name, entries.name, field.name], index, value, origin),
                    Err(what) => problems.push(origin, path.as_str(), format!("`{path}` {what}")),
                }
            }
        }
    }

    /// Lays environment variables over what is there. Names of one segment (`HOLDFAST_TOKEN`) belong to others.
    pub fn lay_env(&mut self, variables: &[(String, OsString)], problems: &mut Problems) {
        let mut ours: Vec<_> = variables
            .iter()
            .filter_map(|(name, value)| Some((name, name.strip_prefix(ENV_PREFIX)?, value)))
            .filter(|(_, rest, _)| rest.contains(ENV_SEPARATOR))
            .collect();
        // By name, so that entry 0 of a list comes before entry 1, and so that problems come in a stable order.
        ours.sort_by_key(|(name, ..)| *name);
        for (name, rest, value) in ours {
            let origin = Origin::Env(name.clone());
            let lower = rest.to_ascii_lowercase();
            let segments: Vec<&str> = lower.split(ENV_SEPARATOR).collect();
            let Some(value) = value.to_str() else {
                problems.push(origin, segments.join("."), "the value is not UTF-8");
                continue;
            };
            self.lay_text(&segments, value, origin, problems);
        }
    }

    /// Lays one value over what is there, typed as bare text (environment, flags); a list with commas between its entries.
    pub fn lay_text(&mut self, segments: &[&str], text: &str, origin: Origin, problems: &mut Problems) {
        let path = segments.join(".");
        match self.slot(segments) {
            Ok(Slot::Key { path: [section, key], shape: Shape::Text }) => {
                self.put([section, key], Value::String(text.to_owned()), origin);
            }
            Ok(Slot::Key { path: [section, key], shape: Shape::List }) => {
                self.put([section, key], split(text), origin);
            }
            Ok(Slot::Key { path: [section, key], shape: Shape::Number }) => match text.parse::<i64>() {
                Ok(number) if number >= 0 => self.put([section, key], Value::Integer(number), origin),
                _ => {
                    let text = format!("`{path}` is \"{text}\", must be a whole number, not negative");
                    problems.push(origin, path, text);
                }
            },
            Ok(Slot::Field { path, index, shape }) => {
                let value = if shape == Shape::List { split(text) } else { Value::String(text.to_owned()) };
                self.put_field(path, index, value, origin);
            }
            Err(text) => problems.push(origin, path, text),
        }
    }

    fn slot(&self, segments: &[&str]) -> Result<Slot<'a>, String> {
        let [name, rest @ ..] = segments else {
            return Err("names no key".to_owned());
        };
        let Some(section) = self.sections.iter().find(|section| section.name == *name) else {
            return Err(self.unknown_section(name));
        };
        let list = rest.first().and_then(|name| list_of(section, name));
        match (list, rest) {
            (Some(list), [_, index, name]) => {
                let index = self.list_index(section, list, index)?;
                let field = list.fields.iter().find(|field| field.name == *name);
                let field = field.ok_or_else(|| unknown_field(section, list, name))?;
                Ok(Slot::Field { path: [section.name, list.name, field.name], index, shape: field.shape })
            }
            (Some(list), _) => Err(format!(
                "`{0}.{1}` is a list: name its entry and field, such as {ENV_PREFIX}{2}__{3}__0__{4}",
                section.name,
                list.name,
                section.name.to_ascii_uppercase(),
                list.name.to_ascii_uppercase(),
                field_names(list).next().unwrap_or_default().to_ascii_uppercase(),
            )),
            (None, [name]) => {
                let key = section.keys.iter().find(|key| key.name == *name);
                let key = key.ok_or_else(|| unknown_key(section, name))?;
                Ok(Slot::Key { path: [section.name, key.name], shape: key.shape })
            }
            (None, _) => Err(unknown_key(section, &rest.join("."))),
        }
    }

    /// An entry that is there, or the one after the last.
    fn list_index(&self, section: &Section, list: &Entries, text: &str) -> Result<usize, String> {
        let there = self
            .table
            .get(section.name)
            .and_then(|section| section.get(list.name))
            .and_then(Value::as_array)
            .map_or(0, Vec::len);
        match text.parse::<usize>() {
            Ok(index) if index <= there.min(ENTRIES_MAX) => Ok(index),
            Ok(_) => Err(format!(
                "`{0}.{1}` has {there} entries before this one: the next is number {there}",
                section.name, list.name
            )),
            Err(_) => Err(format!("\"{text}\" must be the number of an entry, from 0")),
        }
    }

    fn put(&mut self, [section, key]: [&str; 2], value: Value, origin: Origin) {
        self.origins.insert(format!("{section}.{key}"), origin);
        self.section(section).insert(key.to_owned(), value);
    }

    fn put_field(&mut self, [section, list, field]: [&str; 3], index: usize, value: Value, origin: Origin) {
        self.origins.insert(format!("{section}.{list}.{index}.{field}"), origin);
        if let Some(entry) = self.entry([section, list], index) {
            entry.insert(field.to_owned(), value);
        }
    }

    fn section(&mut self, name: &str) -> &mut Table {
        let section = self.table.entry(name.to_owned()).or_insert_with(|| Value::Table(Table::new()));
        match section {
            Value::Table(table) => table,
            _ => unreachable!("sections are only ever put in as tables"),
        }
    }

    fn entry(&mut self, [section, list]: [&str; 2], index: usize) -> Option<&mut Table> {
        let list =
            self.section(section).entry(list.to_owned()).or_insert_with(|| Value::Array(Vec::new())).as_array_mut()?;
        if list.len() == index {
            list.push(Value::Table(Table::new()));
        }
        list.get_mut(index)?.as_table_mut()
    }

    fn unknown_section(&self, name: &str) -> String {
        let sections = self.sections.iter().map(|section| section.name);
        let hint = suggestion(name, sections);
        // Somebody may have left the section out: then the key tells it.
        let home = self.sections.iter().find(|s| s.keys.iter().any(|key| key.name == name));
        match home {
            Some(section) => format!("`{name}` stands outside of its section: put it under `[{}]`", section.name),
            None => format!("unknown section `{name}`{hint}"),
        }
    }
}

/// A file while it is read.
struct File<'a> {
    name: &'a str,
    text: &'a str,
}

impl File<'_> {
    fn line(&self, at: usize) -> Origin {
        let before = self.text.as_bytes().iter().take(at);
        Origin::File { name: self.name.to_owned(), line: 1 + before.filter(|byte| **byte == b'\n').count() }
    }
}

/// The list of a section that has this name.
fn list_of<'s>(section: &'s Section, name: &str) -> Option<&'s Entries> {
    section.lists.iter().find(|list| list.name == name)
}

/// A list typed as bare text, with commas between its entries.
fn split(text: &str) -> Value {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    Value::from(entries.map(str::to_owned).collect::<Vec<_>>())
}

fn field_names(list: &Entries) -> impl Iterator<Item = &'static str> {
    list.fields.iter().map(|field| field.name)
}

fn unknown_key(section: &Section, name: &str) -> String {
    let lists = section.lists.iter().map(|list| list.name);
    let known = section.keys.iter().map(|key| key.name).chain(lists);
    format!("unknown key `{}.{name}`{}", section.name, suggestion(name, known))
}

fn unknown_field(section: &Section, list: &Entries, name: &str) -> String {
    let hint = suggestion(name, field_names(list));
    format!("unknown key `{}.{}.{name}`{hint}", section.name, list.name)
}

/// ", did you mean …?" when a known name is near enough; else which names there are, when they are few.
fn suggestion<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> String {
    let known: Vec<&str> = known.collect();
    let name = name.to_ascii_lowercase().replace('-', "_");
    let near = known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(&name, candidate), candidate))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN);
    match near {
        Some((_, candidate)) => format!(", did you mean `{candidate}`?"),
        None => format!(" (known: {})", known.join(", ")),
    }
}

/// Jaro-Winkler likeness from which a suggestion helps more than it misleads.
const LIKENESS_MIN: f64 = 0.8;

/// A value of the file in the shape that its key has.
fn typed(value: &DeValue<'_>, shape: Shape) -> Result<Value, String> {
    match (shape, value) {
        (Shape::Text, DeValue::String(text)) => Ok(Value::String(text.to_string())),
        (Shape::Number, DeValue::Integer(number)) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            match parsed {
                Ok(number) if number >= 0 => Ok(Value::Integer(number)),
                Ok(number) => Err(format!("is {number}, must not be negative")),
                Err(_) => Err(format!("is {}, which is too large", number.as_str())),
            }
        }
        (Shape::List, DeValue::Array(entries)) => {
            let texts: Option<Vec<String>> =
                entries.iter().map(|entry| entry.get_ref().as_str().map(str::to_owned)).collect();
            texts.map(Value::from).ok_or_else(|| "must be a list of strings in quotes".to_owned())
        }
        (Shape::List, other) => Err(format!("must be a list of strings in brackets, is of type {}", other.type_str())),
        (Shape::Text, other) => Err(format!("must be a string in quotes, is of type {}", other.type_str())),
        (Shape::Number, other) => {
            Err(format!("must be a whole number without quotes, is of type {}", other.type_str()))
        }
    }
}
