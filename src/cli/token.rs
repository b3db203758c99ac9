//! `holdfast token`: makes tokens, says what is wrong with one, makes API keys.
//!
//! Owns the commands and their messages. It decides nothing about tokens itself: what is good is `auth`'s business, and
//! the settings and the time are handed in.

use std::fs;
use std::io::{self, Read, Write as _};
use std::path::Path;
use std::process::ExitCode;

mod args;
mod issuers;

pub use issuers::TokenIssuers;

pub use args::{ApiKeyArgs, MintArgs, TokenArgs, TokenCommand, VerifyArgs};

use crate::auth::api_key;
use crate::auth::claims::TENANT_WHEN_ABSENT;
use crate::auth::token::{self, Algorithm, Claims, KeySource, TOKEN_BYTES_MAX, Verifier};

/// What `holdfast token` needs of the settings.
#[derive(Clone, Debug)]
pub struct TokenSettings {
    /// `[[auth.keys]]`, their files read.
    pub keys: Vec<KeySource>,
    /// `auth.audience`, where set.
    pub audience: Option<String>,
    /// `auth.leeway`, in seconds.
    pub leeway_secs: u64,
    /// `auth.lifetime_max`, in seconds, where set.
    pub lifetime_max_secs: Option<u64>,
    /// `[[auth.issuers]]`.
    pub issuers: TokenIssuers,
}

/// Runs the command: the answer goes to standard output, a reason to standard error (then the exit code is 1).
///
/// `load` reads the settings (with the file that was named, if any: there is no usual place for one; defaults and the
/// environment count either way) and is called only where they are needed. `now_unix` is the time in seconds since the UNIX epoch.
pub fn run(
    args: &TokenArgs,
    load: impl FnOnce(Option<&Path>) -> Result<TokenSettings, String>,
    now_unix: u64,
) -> ExitCode {
    let answer = match &args.command {
        TokenCommand::Mint(args) => mint(args, load, now_unix),
        TokenCommand::Verify(args) => {
            load(args.settings.path.as_deref()).and_then(|settings| verify(args, &settings, now_unix))
        }
        TokenCommand::ApiKey(args) => new_api_key(args),
    };
    // Not `println!`, which panics when whoever reads has gone away.
    let said =
        answer.and_then(|text| writeln!(io::stdout(), "{text}").map_err(|error| format!("cannot write: {error}")));
    match said {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("holdfast: {why}");
            ExitCode::FAILURE
        }
    }
}

/// The token that `mint` asks for.
///
/// # Errors
/// What is missing or does not fit together.
pub fn mint(
    args: &MintArgs,
    load: impl FnOnce(Option<&Path>) -> Result<TokenSettings, String>,
    now_unix: u64,
) -> Result<String, String> {
    let signer = match (&args.secret_file, &args.private_key_file, args.algorithm) {
        (Some(file), _, _) => Signer::from_secret_file(file, args.algorithm)?,
        (None, Some(file), Some(algorithm)) => Signer::from_key_file(file, algorithm)?,
        (None, None, Some(_)) => {
            return Err("--algorithm goes with --secret-file or --private-key-file".into());
        }
        (None, private, None) => {
            let settings = load(args.settings.path.as_deref())?;
            Signer::from_settings(settings, args.key.as_deref(), private.as_deref())?
        }
    };
    let tenant =
        args.tenant.clone().or_else(|| signer.key.tenant.clone()).unwrap_or_else(|| TENANT_WHEN_ABSENT.to_owned());
    let mut labels = args.label.clone();
    labels.sort_unstable();
    let mut methods = args.method.clone();
    methods.sort_unstable();
    methods.dedup();
    let claims = Claims {
        agent: args.agent.clone(),
        tenant,
        labels,
        methods: (args.no_method || !methods.is_empty()).then_some(methods),
        expires_unix: now_unix.checked_add(args.ttl.as_secs()).ok_or("--ttl is too long")?,
        issued_unix: Some(now_unix),
        token_id: args.token_id.clone(),
    };
    let audience = args.audience.as_deref().or(signer.audience.as_deref());
    let token = token::mint(&signer.key, audience, &claims)?;
    signer.accepts(&token, audience, now_unix)?;
    Ok(token)
}

/// The token's claims as JSON.
///
/// # Errors
/// Exactly why it is refused, or why it could not be read.
pub fn verify(args: &VerifyArgs, settings: &TokenSettings, now_unix: u64) -> Result<String, String> {
    if settings.keys.is_empty() && settings.issuers.issuers.is_empty() {
        return Err(
            "the settings have no [[auth.keys]] and no [[auth.issuers]], so every token is refused; docs/security.md shows how to make a key"
                .into(),
        );
    }
    let audience = settings.audience.as_deref();
    let (issuers, failures) = settings.issuers.fetched(settings.leeway_secs);
    let verifier = Verifier::new(&settings.keys, audience, settings.leeway_secs)?
        .with_issuers(issuers)
        .with_lifetime_max(settings.lifetime_max_secs);
    let token = match args.token.reveal() {
        "-" => read_token(io::stdin().lock())?,
        token => token.trim().to_owned(),
    };
    let claims = verifier.examine(&token, now_unix).map_err(|fault| match fault {
        token::Fault::PendingKey(_) => format!("{fault}; {}", failures.join("; ")),
        _ => format!("the token is refused ({}): {fault}", fault.refused()),
    })?;
    serde_json::to_string_pretty(&claims).map_err(|error| error.to_string())
}

/// A new key in the first line, then the block of settings that lets it in.
///
/// # Errors
/// The system gives no random bytes.
pub fn new_api_key(args: &ApiKeyArgs) -> Result<String, String> {
    let (key, sha256) = api_key::generate()?;
    // Names need no escaping in TOML; that is what `is_name` is for.
    let mut text = format!(
        "{key}\n\n# The key is above, and it is shown this once. This goes into the settings, and holds its hash only:\n\
         [[api.keys]]\nname = \"{}\"\nsha256 = \"{sha256}\"\ntenant = \"{}\"",
        args.name, args.tenant
    );
    let labels = args.label.iter().map(|(key, value)| format!("{key}={value}"));
    for (field, values) in [
        ("allow", args.allow.iter().map(|right| right.word().to_owned()).collect::<Vec<_>>()),
        ("methods", args.method.iter().map(ToString::to_string).collect()),
        ("agents", labels.collect()),
    ] {
        if !values.is_empty() {
            text.push_str(&format!("\n{field} = {}", toml::Value::from(values)));
        }
    }
    Ok(text)
}

/// What signs, and what the gateway would check it with.
struct Signer {
    /// With the secret or the private key as its material.
    key: KeySource,
    /// The same key as the settings have it, where they do.
    checked_by: Option<KeySource>,
    /// The settings' audience.
    audience: Option<String>,
}

impl Signer {
    fn from_secret_file(file: &Path, algorithm: Option<Algorithm>) -> Result<Self, String> {
        match algorithm {
            None | Some(Algorithm::Hs256) => Ok(Self::alone(Algorithm::Hs256, read_file(file)?)),
            Some(other) => {
                Err(format!("{other} signs with a private key: use --private-key-file in place of --secret-file"))
            }
        }
    }

    fn from_key_file(file: &Path, algorithm: Algorithm) -> Result<Self, String> {
        match algorithm {
            Algorithm::Hs256 => {
                Err("HS256 signs with a secret: use --secret-file in place of --private-key-file".into())
            }
            _ => Ok(Self::alone(algorithm, read_file(file)?)),
        }
    }

    fn alone(algorithm: Algorithm, material: Vec<u8>) -> Self {
        let key = KeySource { id: String::new(), algorithm, material, tenant: None };
        Self { key, checked_by: None, audience: None }
    }

    fn from_settings(settings: TokenSettings, id: Option<&str>, private: Option<&Path>) -> Result<Self, String> {
        let checked_by = choose(&settings.keys, id)?.clone();
        let mut key = checked_by.clone();
        match (key.algorithm, private) {
            (Algorithm::Hs256, None) => {}
            (Algorithm::Hs256, Some(_)) => {
                return Err(format!(
                    "key {:?} is an HS256 secret, which the settings have: leave out --private-key-file",
                    key.id
                ));
            }
            (_, Some(file)) => key.material = read_file(file)?,
            (algorithm, None) => {
                return Err(format!(
                    "key {:?} is for {algorithm}, and the settings have its public half only: name the private one with --private-key-file",
                    key.id
                ));
            }
        }
        Ok(Self { key, checked_by: Some(checked_by), audience: settings.audience })
    }

    /// Whether the key in the settings takes the token: a private key that does not belong to it is found here, and not
    /// by an agent that gets a 401.
    fn accepts(&self, token: &str, audience: Option<&str>, now_unix: u64) -> Result<(), String> {
        let Some(key) = &self.checked_by else {
            return Ok(());
        };
        Verifier::new(std::slice::from_ref(key), audience, 0)?.examine(token, now_unix).map(drop).map_err(|fault| {
            match fault {
                token::Fault::Signature => {
                    format!("the private key does not belong to key {:?} of the settings", key.id)
                }
                fault => format!("the gateway would refuse this token: {fault}"),
            }
        })
    }
}

fn choose<'a>(keys: &'a [KeySource], id: Option<&str>) -> Result<&'a KeySource, String> {
    let ids = || {
        let ids: Vec<_> = keys.iter().map(|key| format!("{:?}", key.id)).collect();
        ids.join(", ")
    };
    match (keys, id) {
        ([], _) => Err(
            "the settings have no [[auth.keys]] to sign with: add one, or use --secret-file or --private-key-file with --algorithm".into(),
        ),
        (_, Some(id)) => keys
            .iter()
            .find(|key| key.id == id)
            .ok_or_else(|| format!("the settings have no key {id:?}, only {}", ids())),
        ([only], None) => Ok(only),
        (_, None) => Err(format!("name a key with --key: {}", ids())),
    }
}

fn read_file(file: &Path) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))
}

/// A token with white space around it, of bounded size.
fn read_token(input: impl Read) -> Result<String, String> {
    // Room for a line ending; what is longer than that is too long for a token, and its check says so.
    let bound = TOKEN_BYTES_MAX as u64 + 64;
    let mut text = String::new();
    input
        .take(bound)
        .read_to_string(&mut text)
        .map_err(|error| format!("cannot read the token from standard input: {error}"))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
