//! The list of issuers in the settings, and what the webhook knows us by.
//!
//! Owns what an issuer's entry must say. Its keys are not read here: they change while the node runs.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::keys::ReadFile;
use super::kind::{Kind, Span, parse_algorithm, parse_http_url};
use super::problem::Problems;
use super::schema::{Entries, Field, FieldKind, entry};
use crate::auth::algorithm::{Algorithm, KeyKind};
use crate::auth::ring::Source;
use crate::kit::ids::{NAME_RULE, is_name};
use crate::kit::secret::Secret;

entry! {
    /// An issuer of tokens, whose keys are fetched as a JWKS. Tokens that name it in `iss` are checked with its keys alone, and no other token is.
    issuers: RawIssuer {
        /// A name for the log and the metrics.
        name: String = "corporate",
        /// What its tokens say in `iss`, to the letter.
        iss: String = "https://id.example.com/",
        /// Where its keys are published. Exactly one of `jwks_url` and `jwks_file`.
        jwks_url: String = "https://id.example.com/keys",
        /// A file with its keys, relative to this file; read again as often as a URL is asked.
        jwks_file: String = "",
        /// One of these must be named in `aud`. Required.
        audiences: Vec<String> = "[\"holdfast\"]",
        /// The tenants that it may speak for. A token that names none gets the only one. Empty: any tenant.
        tenants: Vec<String> = "[\"acme\"]",
        /// What its keys may be used for: "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA". A token cannot choose another.
        algorithms: Vec<String> = "[\"RS256\", \"PS256\", \"ES256\"]",
        /// How far its clock may be off. Empty: `auth.leeway`.
        leeway: String = "",
    }
}

/// An issuer as the settings give it.
#[derive(Clone, Debug)]
pub struct IssuerSettings {
    /// For the log.
    pub name: String,
    /// `iss`.
    pub iss: String,
    /// Where its keys come from.
    pub source: Source,
    /// `aud`.
    pub audiences: Vec<String>,
    /// The tenants that it may speak for; none for any.
    pub tenants: Vec<String>,
    /// What its keys may be used for.
    pub algorithms: Vec<Algorithm>,
    /// How far its clock may be off, where that is its own.
    pub leeway: Option<Duration>,
}

/// The issuers.
#[derive(Clone, Debug, Default)]
pub struct Issuers(pub Vec<IssuerSettings>);

impl Deref for Issuers {
    type Target = [IssuerSettings];

    fn deref(&self) -> &[IssuerSettings] {
        &self.0
    }
}

/// The issuers, as far as they are right. `in_place` says what a relative path means.
pub(super) fn resolve(raw: &[RawIssuer], in_place: &dyn Fn(&str) -> PathBuf, problems: &mut Problems) -> Issuers {
    let mut issuers = Vec::with_capacity(raw.len());
    for (index, typed) in raw.iter().enumerate() {
        let mut entry = Entry { index, problems };
        entry.names(typed, &raw[..index]);
        let source = entry.source(typed, in_place);
        let algorithms = entry.algorithms(&typed.algorithms);
        if typed.audiences.iter().all(String::is_empty) {
            entry.problem("audiences", "is empty: a token for another service of this issuer would do");
        }
        for tenant in typed.tenants.iter().filter(|tenant| !is_name(tenant)) {
            let what = format!("has \"{tenant}\", which is no name: {NAME_RULE}");
            entry.problem("tenants", what);
        }
        let leeway = entry.leeway(&typed.leeway);
        if let Some(source) = source {
            issuers.push(IssuerSettings {
                name: typed.name.clone(),
                iss: typed.iss.clone(),
                source,
                audiences: typed.audiences.clone(),
                tenants: typed.tenants.clone(),
                algorithms,
                leeway,
            });
        }
    }
    Issuers(issuers)
}

/// The text of the file that the webhook knows us by.
pub(super) fn webhook_secret(file: &str, read: ReadFile<'_>, problems: &mut Problems) -> Secret {
    let key = "webhook.secret_file";
    if file.is_empty() {
        return Secret::default();
    }
    let problem = match read(Path::new(file)) {
        Err(error) => format!("`{key}`: \"{file}\" cannot be read: {error}"),
        Ok(bytes) => match String::from_utf8(bytes).map(|text| text.trim().to_owned()) {
            Ok(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) => {
                return Secret::new(text);
            }
            _ => format!("`{key}`: \"{file}\" must hold one word of visible ASCII"),
        },
    };
    problems.push(Default::default(), key, problem);
    Secret::default()
}

/// One entry while it is looked at.
struct Entry<'a> {
    index: usize,
    problems: &'a mut Problems,
}

impl Entry<'_> {
    fn problem(&mut self, field: &str, what: impl std::fmt::Display) {
        let key = format!("auth.issuers.{}.{field}", self.index);
        let text = format!("`{key}` {what}");
        self.problems.push(Default::default(), key, text);
    }

    fn names(&mut self, typed: &RawIssuer, earlier: &[RawIssuer]) {
        if !is_name(&typed.name) {
            self.problem("name", format!("must be a name: {NAME_RULE}"));
        } else if earlier.iter().any(|other| other.name == typed.name) {
            self.problem("name", format!("\"{}\" is used twice", typed.name));
        }
        if typed.iss.is_empty() {
            self.problem("iss", "is missing");
        } else if earlier.iter().any(|other| other.iss == typed.iss) {
            self.problem("iss", "is that of an earlier issuer");
        }
    }

    fn source(&mut self, typed: &RawIssuer, in_place: &dyn Fn(&str) -> PathBuf) -> Option<Source> {
        match (typed.jwks_url.as_str(), typed.jwks_file.as_str()) {
            ("", "") => {
                self.problem("jwks_url", "is missing: give `jwks_url` or `jwks_file`");
                None
            }
            ("", file) => Some(Source::File(in_place(file))),
            (url, "") => match parse_http_url(url) {
                Ok(url) => Some(Source::Url(url)),
                Err(what) => {
                    self.problem("jwks_url", format!("is \"{url}\", {what}"));
                    None
                }
            },
            _ => {
                self.problem("jwks_file", "is given beside `jwks_url`: give exactly one of them");
                None
            }
        }
    }

    fn algorithms(&mut self, typed: &[String]) -> Vec<Algorithm> {
        if typed.is_empty() {
            self.problem("algorithms", "is empty: name what its keys may be used for");
        }
        let mut algorithms = Vec::new();
        for name in typed {
            match parse_algorithm(name) {
                Ok(algorithm) if algorithm.key_kind() == KeyKind::Secret => {
                    self.problem("algorithms", "has \"HS256\": keys that are published sign nothing in secret");
                }
                Ok(algorithm) if algorithms.contains(&algorithm) => {
                    self.problem("algorithms", format!("has \"{name}\" twice"));
                }
                Ok(algorithm) => algorithms.push(algorithm),
                Err(what) => self.problem("algorithms", format!("has \"{name}\", {what}")),
            }
        }
        algorithms
    }

    fn leeway(&mut self, typed: &str) -> Option<Duration> {
        const MOST: Duration = Duration::from_secs(3600);
        if typed.is_empty() {
            return None;
        }
        match Span::parse(&typed.to_owned()) {
            Ok(leeway) if leeway <= MOST => return Some(leeway),
            Ok(_) => self.problem("leeway", format!("is \"{typed}\", must lie between 0s and 1h")),
            Err(what) => self.problem("leeway", format!("is \"{typed}\", {what}")),
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer() -> RawIssuer {
        RawIssuer {
            name: "corporate".into(),
            iss: "https://id.example.com/".into(),
            jwks_url: "https://id.example.com/keys".into(),
            jwks_file: String::new(),
            audiences: vec!["holdfast".into()],
            tenants: vec!["acme".into()],
            algorithms: vec!["PS256".into(), "EdDSA".into()],
            leeway: "5s".into(),
        }
    }

    fn told(raw: &[RawIssuer]) -> Vec<String> {
        let mut problems = Problems::default();
        resolve(raw, &|path| Path::new("/etc").join(path), &mut problems);
        problems.0.into_iter().map(|problem| problem.text).collect()
    }

    #[test]
    fn a_good_entry_is_taken_as_it_is() {
        let mut problems = Problems::default();
        let file = RawIssuer {
            name: "file".into(),
            iss: "f".into(),
            jwks_url: String::new(),
            jwks_file: "keys.json".into(),
            leeway: String::new(),
            ..issuer()
        };
        let issuers = resolve(&[issuer(), file], &|path| Path::new("/etc").join(path), &mut problems);
        assert!(problems.is_empty(), "{problems}");
        assert_eq!(issuers[0].source, Source::Url("https://id.example.com/keys".into()));
        assert_eq!(issuers[1].source, Source::File("/etc/keys.json".into()));
        assert_eq!(issuers[0].algorithms, [Algorithm::Ps256, Algorithm::EdDsa]);
        assert_eq!((issuers[0].leeway, issuers[1].leeway), (Some(Duration::from_secs(5)), None));
    }

    #[test]
    fn what_is_wrong_is_named() {
        type Spoil = fn(&mut RawIssuer);
        let cases: [(Spoil, &str); 15] = [
            (|issuer| issuer.name = "a b".into(), "issuers.0.name` must be a name"),
            (|issuer| issuer.iss.clear(), "issuers.0.iss` is missing"),
            (|issuer| issuer.jwks_url.clear(), "jwks_url` is missing"),
            (|issuer| issuer.jwks_file = "f".into(), "exactly one"),
            (|issuer| issuer.jwks_url = "ftp://x/".into(), "must be a URL"),
            (|issuer| issuer.jwks_url = "https://".into(), "must be a URL"),
            (|issuer| issuer.jwks_url = "https://user:pass@x/".into(), "must be a URL"),
            (|issuer| issuer.audiences.clear(), "audiences` is empty"),
            (|issuer| issuer.tenants.push("a/b".into()), "is no name"),
            (|issuer| issuer.algorithms.clear(), "algorithms` is empty"),
            (|issuer| issuer.algorithms.push("HS256".into()), "in secret"),
            (|issuer| issuer.algorithms.push("none".into()), "must be one of"),
            (|issuer| issuer.algorithms.push("PS256".into()), "twice"),
            (|issuer| issuer.leeway = "2h".into(), "between"),
            (|issuer| issuer.leeway = "soon".into(), "must be a duration"),
        ];
        for (spoil, word) in cases {
            let mut bad = issuer();
            spoil(&mut bad);
            let told = told(&[bad]);
            assert!(matches!(told.as_slice(), [only] if only.contains(word)), "{word}: {told:?}");
        }
        let told = told(&[issuer(), issuer()]);
        assert_eq!(told.len(), 2, "{told:?}");
    }

    #[test]
    fn the_webhooks_secret_is_one_word() {
        for (text, good) in [("abc\n", true), (" abc ", true), ("", false), ("a b", false), ("\u{e4}", false)] {
            let mut problems = Problems::default();
            let secret = webhook_secret("f", &|_| Ok(text.as_bytes().to_vec()), &mut problems);
            assert_eq!((secret.reveal() == "abc", problems.is_empty()), (good, good), "{text:?}");
        }
    }
}
