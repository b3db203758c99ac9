//! The two lists of keys in the settings: agents' token keys and backends' API keys.
//!
//! Owns reading their files and keeping their secrets out of every `Debug`. What a key must be like is `auth`'s business.

use std::fmt;
use std::io;
use std::ops::Deref;
use std::path::Path;

use super::kind::{Shape, parse_algorithm};
use super::permissions;
use super::problem::Problems;
use super::schema::{Entries, Field, FieldKind, OptionalList, entry};
use crate::auth::api_key::{self, ApiKeySource};
use crate::auth::claims::TENANT_WHEN_ABSENT;
use crate::auth::token::{Algorithm, KeySource, Verifier};
use crate::kit::ids::{NAME_RULE, is_name};
use crate::kit::secret::Secret;

/// Reads a file, from a place that relative paths mean.
pub type ReadFile<'a> = &'a dyn Fn(&Path) -> io::Result<Vec<u8>>;

entry! {
    /// A key that agents' tokens are checked with.
    keys: RawAuthKey {
        /// The key's id; tokens that name a `kid` are checked with that key alone.
        id: String = "main",
        /// "HS256", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384" or "EdDSA"; the key checks nothing else.
        algorithm: String = "ES256",
        /// The public key in PEM, or for HS256 a file with the secret; relative to this file. Exactly one of `file` and `secret`.
        file: String = "agents.pem",
        /// For HS256, the secret itself, 32 bytes or more. Better from the environment: `HOLDFAST_AUTH__KEYS__0__SECRET`.
        secret: Secret = "",
        /// Where set, the only tenant that this key's tokens may name.
        tenant: String = "",
    }
}

entry! {
    /// An API key of a backend; `holdfast token api-key` makes one.
    keys: RawApiKey {
        /// A name for the log.
        name: String = "billing",
        /// The SHA-256 of the key, 64 hex digits.
        sha256: String = "",
        /// The tenant whose agents it is for.
        tenant: String = "default",
        /// What it may do: "call", "list" (and look at one), "disconnect", "observe" (the node, metrics), "administer". Left out, all but the last.
        allow: OptionalList = "[\"call\"]",
        /// The methods that it may call: "disk.free" is one, "disk.*" all that begin so. Left out, all.
        methods: OptionalList = "[\"disk.*\"]",
        /// Labels that an agent must have, "key=value", all of them. To this key any other agent is not connected. Left out, all agents.
        agents: OptionalList = "[\"site=ams\"]",
    }
}

impl FieldKind for Secret {
    const SHAPE: Shape = Shape::Text;
}

/// Token keys, their files read.
#[derive(Clone, Default)]
pub struct AuthKeys(pub Vec<KeySource>);

impl Deref for AuthKeys {
    type Target = [KeySource];

    fn deref(&self) -> &[KeySource] {
        &self.0
    }
}

impl fmt::Debug for AuthKeys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.iter().map(|key| (&key.id, key.algorithm, &key.tenant));
        out.debug_list().entries(shown).finish()
    }
}

/// API keys.
#[derive(Clone, Default)]
pub struct ApiKeys(pub Vec<ApiKeySource>);

impl Deref for ApiKeys {
    type Target = [ApiKeySource];

    fn deref(&self) -> &[ApiKeySource] {
        &self.0
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.iter().map(|key| (&key.name, &key.tenant));
        out.debug_list().entries(shown).finish()
    }
}

/// The token keys, as far as they are right.
pub(super) fn resolve_auth(raw: &[RawAuthKey], read: ReadFile<'_>, problems: &mut Problems) -> AuthKeys {
    let mut keys: Vec<KeySource> = Vec::with_capacity(raw.len());
    for (index, key) in raw.iter().enumerate() {
        let mut entry = Entry::new("auth", index, problems);
        if entry.present("id", &key.id) && raw[..index].iter().any(|other| other.id == key.id) {
            entry.problem("id", format!("\"{}\" is used twice", key.id));
        }
        let algorithm = entry.algorithm(&key.algorithm);
        let material = entry.material(key, algorithm, read);
        let tenant = entry.tenant(&key.tenant);
        if let (Some(algorithm), Some(material)) = (algorithm, material) {
            let source = KeySource { id: key.id.clone(), algorithm, material, tenant };
            // Whether it is a good key is for `auth` to say; one at a time, so that each bad one is told.
            let judged = Verifier::new(std::slice::from_ref(&source), None, 0);
            if let (Err(what), false) = (judged, entry.has_problem()) {
                entry.bad(&what);
            }
            keys.push(source);
        }
    }
    AuthKeys(keys)
}

/// The API keys, as far as they are right.
pub(super) fn resolve_api(raw: &[RawApiKey], problems: &mut Problems) -> ApiKeys {
    let mut keys = Vec::with_capacity(raw.len());
    for (index, key) in raw.iter().enumerate() {
        let mut entry = Entry::new("api", index, problems);
        let earlier = &raw[..index];
        if entry.present("name", &key.name) && earlier.iter().any(|other| other.name == key.name) {
            entry.problem("name", format!("\"{}\" is used twice", key.name));
        }
        let hex = key.sha256.len() == 64 && key.sha256.bytes().all(|b| b.is_ascii_hexdigit());
        if entry.present("sha256", &key.sha256) && !hex {
            // Whoever typed the key itself in here must not find it in a log.
            let what = "must be the SHA-256 of the key, 64 hex digits (`holdfast token api-key` makes both)";
            entry.problem("sha256", what);
        }
        let same = |other: &RawApiKey| other.sha256.eq_ignore_ascii_case(&key.sha256);
        if hex && earlier.iter().any(same) {
            entry.problem("sha256", "is that of an earlier key");
        }
        let tenant = entry.tenant(&key.tenant);
        let permissions = permissions::resolve(&key.allow, &key.methods, &key.agents, &mut |field, what| {
            entry.problem(field, what);
        });
        let source = ApiKeySource {
            name: key.name.clone(),
            sha256: key.sha256.to_ascii_lowercase(),
            tenant: tenant.unwrap_or_else(|| TENANT_WHEN_ABSENT.to_owned()),
            permissions,
        };
        // As above: `auth` has the last word, here and not when the gateway starts.
        let judged = api_key::ApiKeys::new(std::slice::from_ref(&source));
        if let (Err(what), false) = (judged, entry.has_problem()) {
            entry.bad(&what);
        }
        keys.push(source);
    }
    ApiKeys(keys)
}

/// One entry of a list while it is looked at.
struct Entry<'a> {
    section: &'static str,
    index: usize,
    problems: &'a mut Problems,
    /// How many problems there were before this entry.
    before: usize,
}

impl<'a> Entry<'a> {
    fn new(section: &'static str, index: usize, problems: &'a mut Problems) -> Self {
        Self { before: problems.0.len(), section, index, problems }
    }

    fn problem(&mut self, field: &str, what: impl std::fmt::Display) {
        let key = format!("{}.keys.{}.{field}", self.section, self.index);
        let text = format!("`{key}` {what}");
        self.problems.push(Default::default(), key, text);
    }

    fn has_problem(&self) -> bool {
        self.problems.0.len() > self.before
    }

    fn bad(&mut self, what: &str) {
        let key = format!("{}.keys.{}", self.section, self.index);
        self.problems.push(Default::default(), key.as_str(), format!("`{key}`: {what}"));
    }

    fn present(&mut self, field: &str, text: &str) -> bool {
        if text.is_empty() {
            self.problem(field, "is missing");
        }
        !text.is_empty()
    }

    fn tenant(&mut self, text: &str) -> Option<String> {
        if !text.is_empty() && !is_name(text) {
            let what = format!("must be a name: {NAME_RULE}");
            self.problem("tenant", what);
        }
        (!text.is_empty()).then(|| text.to_owned())
    }

    fn algorithm(&mut self, text: &str) -> Option<Algorithm> {
        if !self.present("algorithm", text) {
            return None;
        }
        let parsed = parse_algorithm(text);
        if let Err(what) = &parsed {
            self.problem("algorithm", format!("is \"{text}\", {what}"));
        }
        parsed.ok()
    }

    fn material(&mut self, key: &RawAuthKey, algorithm: Option<Algorithm>, read: ReadFile<'_>) -> Option<Vec<u8>> {
        let algorithm = algorithm?;
        match (key.file.is_empty(), key.secret.is_empty()) {
            (true, true) => {
                self.problem("file", "is missing: give `file` or `secret`");
                None
            }
            (false, false) => {
                self.problem("secret", "is given beside `file`: give exactly one of them");
                None
            }
            (true, false) if algorithm != Algorithm::Hs256 => {
                let what = "is for HS256 alone; other algorithms take the `file` of a public key";
                self.problem("secret", what);
                None
            }
            (true, false) => Some(key.secret.as_bytes().to_vec()),
            (false, true) => self.read(&key.file, read),
        }
    }

    fn read(&mut self, file: &str, read: ReadFile<'_>) -> Option<Vec<u8>> {
        match read(Path::new(file)) {
            Ok(bytes) if bytes.is_empty() => {
                self.problem("file", format!("\"{file}\" is empty"));
                None
            }
            Ok(bytes) => Some(bytes),
            Err(error) => {
                self.problem("file", format!("\"{file}\" cannot be read: {error}"));
                None
            }
        }
    }
}
