//! What a table of settings is, as data: sections, keys, documentation, defaults and bounds.
//!
//! Owns the macros that turn one table into the types for what was typed and for what the program uses, so that a key is written
//! down once. It holds no key itself.

use super::kind::{Kind, Shape};
use super::problem::Problems;

/// A section of the file.
pub struct Section {
    /// Its name.
    pub name: &'static str,
    /// What it is about, line by line.
    pub doc: &'static [&'static str],
    /// Its keys.
    pub keys: Vec<Key>,
    /// Its lists of tables (`[[section.keys]]`).
    pub lists: Vec<Entries>,
}

/// One key.
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What it means, line by line.
    pub doc: &'static [&'static str],
    /// How it is typed.
    pub shape: Shape,
    /// Its default as TOML text.
    pub default: String,
    /// The lowest and the highest value, as TOML text.
    pub bounds: Option<(String, String)>,
}

/// A list of tables, `[[section.keys]]`.
#[derive(Clone, Copy)]
pub struct Entries {
    /// Its name.
    pub name: &'static str,
    /// What an entry is, line by line.
    pub doc: &'static [&'static str],
    /// The fields of an entry. An empty text is as good as none.
    pub fields: &'static [Field],
}

/// A field of an entry.
#[derive(Clone, Copy)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it means, line by line.
    pub doc: &'static [&'static str],
    /// How it is typed.
    pub shape: Shape,
    /// An example: the text itself, or a list as TOML.
    pub example: &'static str,
}

/// What a field of an entry can be.
pub trait FieldKind {
    /// How it is typed.
    const SHAPE: Shape;
}

impl FieldKind for String {
    const SHAPE: Shape = Shape::Text;
}

impl FieldKind for Vec<String> {
    const SHAPE: Shape = Shape::List;
}

/// A list of texts; `None` where nothing was typed, which may mean something else than an empty list.
pub type OptionalList = Option<Vec<String>>;

impl FieldKind for OptionalList {
    const SHAPE: Shape = Shape::List;
}

/// Parses one value and holds it to its bounds. A problem is noted and the default used instead, so that the rest
/// of the settings can be looked at too.
pub(super) fn resolve<K: Kind>(
    path: &str,
    raw: &K::Raw,
    default: K::Literal,
    bounds: Option<(K::Literal, K::Literal)>,
    problems: &mut Problems,
) -> Option<K::Value> {
    let typed = K::toml(raw);
    match K::parse(raw) {
        Ok(value) if within::<K>(&value, bounds) => return Some(value),
        Ok(_) => {
            let (low, high) = bounds.map(bounds_text::<K>).unwrap_or_default();
            let text = format!("`{path}` is {typed}, must lie between {low} and {high}");
            problems.push(Default::default(), path, text);
        }
        Err(what) => {
            problems.push(Default::default(), path, format!("`{path}` is {typed}, {what}"));
        }
    }
    K::parse(&K::raw(default)).ok()
}

fn within<K: Kind>(value: &K::Value, bounds: Option<(K::Literal, K::Literal)>) -> bool {
    let Some((low, high)) = bounds else {
        return true;
    };
    let above = K::parse(&K::raw(low)).is_ok_and(|low| low <= *value);
    above && K::parse(&K::raw(high)).is_ok_and(|high| *value <= high)
}

/// Bounds as TOML text.
pub(super) fn bounds_text<K: Kind>((low, high): (K::Literal, K::Literal)) -> (String, String) {
    (K::toml(&K::raw(low)), K::toml(&K::raw(high)))
}

/// A default as a literal of its kind: lists are slices.
macro_rules! literal {
    ([$($entry:literal),* $(,)?]) => {
        &[$($entry),*]
    };
    ($default:literal) => {
        $default
    };
}
pub(super) use literal;

/// Turns a table of sections into types. For each section: the raw type (what was typed), the effective type (what the
/// program uses), both with the documentation of the table; and [`Section`]s for whoever wants them as data.
macro_rules! sections {
    ($(
        $(#[doc = $doc:literal])+
        $section:ident: $raw:ident => $value:ident {
            $(
                $(#[doc = $key_doc:literal])+
                $key:ident: $kind:ident $([$low:literal, $high:literal])? = $default:tt,
            )*
            $(keys: $raw_entry:ident => $entries:ident,)?
            $(issuers: $raw_issuer:ident => $issuers:ident,)?
        }
    )*) => {
        $(
            $(#[doc = $doc])+
            ///
            /// As it was typed.
            #[derive(Clone, Debug, PartialEq, serde::Deserialize)]
            #[serde(deny_unknown_fields, default)]
            pub struct $raw {
                $($(#[doc = $key_doc])+ pub $key: <$kind as Kind>::Raw,)*
                $(
                    /// The list of keys.
                    pub keys: Vec<$raw_entry>,
                )?
                $(
                    /// The list of issuers.
                    pub issuers: Vec<$raw_issuer>,
                )?
            }

            impl Default for $raw {
                fn default() -> Self {
                    Self {
                        $($key: <$kind as Kind>::raw(literal!($default)),)*
                        $(keys: Vec::<$raw_entry>::new(),)?
                        $(issuers: Vec::<$raw_issuer>::new(),)?
                    }
                }
            }

            $(#[doc = $doc])+
            #[derive(Clone, Debug)]
            pub struct $value {
                $($(#[doc = $key_doc])+ pub $key: <$kind as Kind>::Value,)*
                $(
                    /// The list of keys.
                    pub keys: $entries,
                )?
                $(
                    /// The list of issuers.
                    pub issuers: $issuers,
                )?
            }

            impl $value {
                /// Parses every value of the section. `None` only when a default of the table is no value, which a
                /// test rules out.
                fn resolve(
                    raw: &$raw,
                    $(keys: $entries,)?
                    $(issuers: $issuers,)?
                    problems: &mut Problems,
                ) -> Option<Self> {
                    // A section may have a list of tables and no key of its own.
                    let _ = (raw, &problems);
                    $(
                        let path = concat!(stringify!($section), ".", stringify!($key));
                        let bounds = None$(.or(Some(($low, $high))))?;
                        let $key = schema::resolve::<$kind>(path, &raw.$key, literal!($default), bounds, problems);
                    )*
                    Some(Self {
                        $($key: $key?,)*
                        $(keys: <$entries as From<$entries>>::from(keys),)?
                        $(issuers: <$issuers as From<$issuers>>::from(issuers),)?
                    })
                }
            }
        )*

        /// All settings, as they were typed.
        #[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Raw {
            $($(#[doc = $doc])+ pub $section: $raw,)*
        }

        /// The table as data.
        #[must_use]
        pub fn sections() -> Vec<Section> {
            vec![$(Section {
                name: stringify!($section),
                doc: &[$($doc),+],
                keys: vec![$(Key {
                    name: stringify!($key),
                    doc: &[$($key_doc),+],
                    shape: <$kind as Kind>::SHAPE,
                    default: <$kind as Kind>::toml(&<$kind as Kind>::raw(literal!($default))),
                    bounds: None$(.or(Some(schema::bounds_text::<$kind>(($low, $high)))))?,
                }),*],
                lists: vec![$($raw_entry::ENTRIES,)? $($raw_issuer::ENTRIES,)?],
            }),*]
        }
    };
}
pub(super) use sections;

/// Turns a table of fields into the raw type of an entry of a list, such as `[[section.keys]]`.
macro_rules! entry {
    (
        $(#[doc = $doc:literal])+
        $list:ident: $raw:ident {
            $($(#[doc = $field_doc:literal])+ $field:ident: $kind:ty = $example:literal,)*
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $raw {
            $($(#[doc = $field_doc])+ pub $field: $kind,)*
        }

        impl $raw {
            /// The table as data.
            pub const ENTRIES: Entries = Entries {
                name: stringify!($list),
                doc: &[$($doc),+],
                fields: &[$(Field {
                    name: stringify!($field),
                    doc: &[$($field_doc),+],
                    shape: <$kind as FieldKind>::SHAPE,
                    example: $example,
                }),*],
            };
        }
    };
}
pub(super) use entry;
