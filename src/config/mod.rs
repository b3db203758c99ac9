//! Settings: what an operator may say, and what the program uses.
//!
//! Layers, each over the one before: defaults, a TOML file, environment variables (`HOLDFAST_SECTION__KEY`), flags. All
//! problems are told at once. This is the only home of defaults; lower floors take plain values. Nothing here starts anything.

pub mod derived;
#[doc(hidden)]
pub mod fuzz_bodies;
pub mod group;
pub mod host;
pub mod issuers;
pub mod keys;
pub mod kind;
mod layers;
mod permissions;
pub mod problem;
mod relations;
mod schema;
mod settings;
pub mod template;
pub mod tls;
pub mod tls_keys;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use self::issuers::IssuerSettings;
pub use self::kind::{LogFormat, LogLevel, MetricsReaders, PortTls, ProxyProtocol};
pub use self::problem::{Origin, Problem, Problems};
pub use self::settings::{
    Api, Audit, Auth, Calls, Control, Drain, Heartbeat, Limits, Log, Rates, Raw, Server, Settings,
};

use self::layers::Layers;
use self::schema::Section;

/// Where settings come from. Kept by whoever may load them again (SIGHUP).
#[derive(Clone, Default)]
pub struct Sources {
    /// The configuration file, where there is one.
    pub file: Option<PathBuf>,
    /// Environment variables; those that are not ours are passed over.
    pub env: Vec<(String, OsString)>,
    /// Flags of the command line.
    pub flags: Vec<Flag>,
    /// The node's name where the settings give none.
    pub host_name: String,
}

impl fmt::Debug for Sources {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values of the environment may be secrets: names only.
        let env: Vec<_> = self.env.iter().map(|(name, _)| name).collect();
        out.debug_struct("Sources")
            .field("file", &self.file)
            .field("env", &env)
            .field("flags", &self.flags)
            .finish_non_exhaustive()
    }
}

/// A flag that stands for a key.
#[derive(Clone, Debug)]
pub struct Flag {
    /// The flag, with its dashes.
    pub name: &'static str,
    /// Section and key.
    pub key: [&'static str; 2],
    /// What was typed.
    pub value: String,
}

impl Sources {
    /// What a path in the settings means: relative to their file; without one, to where the process was started.
    #[must_use]
    pub fn place(&self, path: &Path) -> PathBuf {
        let base = self.file.as_deref().and_then(Path::parent);
        base.map_or_else(|| path.to_owned(), |base| base.join(path))
    }

    /// The file, this process' environment, and flags.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>, flags: Vec<Flag>) -> Self {
        let env = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .filter(|(name, _)| name.starts_with(layers::ENV_PREFIX))
            .collect();
        Self { file, env, flags, host_name: host::name() }
    }
}

/// What loading gives.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the program uses.
    pub settings: Settings,
    /// Every value as it was typed, in the order of the table; secrets are hidden.
    pub listing: Vec<Listed>,
}

/// One value of the listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its path, such as `limits.queue_soft`.
    pub key: String,
    /// TOML text.
    pub value: String,
    /// Where it was typed.
    pub origin: Origin,
}

/// Reads all layers and checks them.
///
/// # Errors
/// Everything that is wrong, each with the place where it was typed.
pub fn load(sources: &Sources) -> Result<Loaded, Problems> {
    let mut problems = Problems::default();
    let text = sources.file.as_deref().and_then(|file| {
        let read = std::fs::read_to_string(file);
        read.map_err(|error| {
            let text = format!("cannot read the configuration file: {error}");
            problems.push(file_origin(file), "", text);
        })
        .ok()
    });
    let file = sources.file.as_deref().zip(text.as_deref());
    let loaded = load_layers(file, sources, &mut problems);
    match loaded {
        Some(loaded) if problems.is_empty() => Ok(loaded),
        _ => Err(problems),
    }
}

/// The defaults, with nothing over them, for a node of this name.
///
/// # Errors
/// Never, unless the table of defaults contradicts itself, which a test rules out.
pub fn defaults(host_name: &str) -> Result<Settings, Problems> {
    let sources = Sources { host_name: host_name.to_owned(), ..Sources::default() };
    load(&sources).map(|loaded| loaded.settings)
}

fn file_origin(file: &Path) -> Origin {
    Origin::File { name: file.display().to_string(), line: 0 }
}

fn load_layers(file: Option<(&Path, &str)>, sources: &Sources, problems: &mut Problems) -> Option<Loaded> {
    let sections = settings::sections();
    let mut layers = Layers::new(&sections);
    if let Some((path, text)) = file {
        layers.lay_file(&path.display().to_string(), text, problems);
    }
    layers.lay_env(&sources.env, problems);
    for flag in &sources.flags {
        layers.lay_text(&flag.key, &flag.value, Origin::Flag(flag.name), problems);
    }
    let raw = match Raw::deserialize(layers.table.clone()) {
        Ok(raw) => raw,
        Err(error) => {
            problems.push(Origin::Default, "", error.message());
            return None;
        }
    };
    let settings = resolve(&raw, sources, &layers, problems);
    for problem in &mut problems.0 {
        if problem.origin == Origin::Default {
            problem.origin = layers.origin(&problem.key);
        }
    }
    Some(Loaded { settings: settings?, listing: listing(&sections, &layers) })
}

fn resolve(raw: &Raw, sources: &Sources, layers: &Layers<'_>, problems: &mut Problems) -> Option<Settings> {
    let read = |path: &Path| std::fs::read(sources.place(path));
    let auth_keys = keys::resolve_auth(&raw.auth.keys, &read, problems);
    let in_place = |path: &str| sources.place(Path::new(path));
    let issuers = issuers::resolve(&raw.auth.issuers, &in_place, problems);
    let api_keys = keys::resolve_api(&raw.api.keys, problems);
    let mut settings = Settings::resolve(raw, (auth_keys, issuers), api_keys, sources, problems)?;
    settings.webhook_secret = issuers::webhook_secret(&raw.webhook.secret_file, &read, problems);
    if !settings.revocations.file.is_empty() {
        settings.revocations.file = in_place(&settings.revocations.file).to_string_lossy().into_owned();
    }
    relations::check(&settings, raw, &|key| layers.origin(key), problems);
    // What is typed wrong would only be told twice.
    let is_told = |problem: &Problem| ["tls.", "server.tls", "link.tls"].iter().any(|key| problem.key.starts_with(key));
    if !problems.0.iter().any(is_told) {
        match tls::load(&settings, None) {
            Ok(secure) => settings.secure = secure,
            Err(wrong) => wrong.into_iter().for_each(|(key, text)| problems.push(Origin::Default, key, text)),
        }
    }
    if settings.server.node.is_empty() {
        settings.server.node.clone_from(&sources.host_name);
    }
    Some(settings)
}

/// Every value of the table, and of the lists what is not secret.
fn listing(sections: &[Section], layers: &Layers<'_>) -> Vec<Listed> {
    let mut listing = Vec::new();
    for section in sections {
        let typed = layers.table.get(section.name);
        for key in &section.keys {
            let path = format!("{}.{}", section.name, key.name);
            let value = typed.and_then(|typed| typed.get(key.name));
            listing.push(Listed {
                value: value.map_or_else(|| key.default.clone(), ToString::to_string),
                origin: layers.origin(&path),
                key: path,
            });
        }
        for list in &section.lists {
            let entries = typed.and_then(|typed| typed.get(list.name)?.as_array());
            for (index, entry) in entries.into_iter().flatten().enumerate() {
                for (field, value) in entry.as_table().into_iter().flatten() {
                    let key = format!("{}.{}.{index}.{field}", section.name, list.name);
                    let hidden = field == "secret";
                    listing.push(Listed {
                        value: if hidden { "(hidden)".to_owned() } else { value.to_string() },
                        origin: layers.origin(&key),
                        key,
                    });
                }
            }
        }
    }
    listing
}

#[cfg(test)]
mod tests;
