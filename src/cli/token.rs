//! `holdfast token`: makes tokens, says what is wrong with one, makes API keys.
//!
//! Owns the arguments and the messages. It decides nothing about tokens itself: what is good is `auth`'s business, and
//! the settings and the time are handed in.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::auth::api_key;
use crate::auth::claims::TENANT_WHEN_ABSENT;
use crate::auth::token::{self, Algorithm, Claims, KeySource, TOKEN_BYTES_MAX, Verifier};
use crate::kit::ids::is_name;

/// Arguments of `holdfast token`.
#[derive(Args, Debug)]
pub struct TokenArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: TokenCommand,
}

/// The subcommands.
#[derive(Subcommand, Debug)]
pub enum TokenCommand {
    /// Sign a token for an agent and print it.
    Mint(MintArgs),
    /// Print a token's claims as JSON, or say exactly why the gateway would refuse it (exit code 1).
    Verify(VerifyArgs),
    /// Make an API key for a backend, and the settings' block with its hash.
    ApiKey(ApiKeyArgs),
}

/// Arguments of `holdfast token mint`.
#[derive(Args, Debug)]
pub struct MintArgs {
    /// The agent's id.
    #[arg(long, value_name = "ID", value_parser = parse_name)]
    pub agent: String,
    /// Its tenant; without it, the tenant that the key is for, or `default`.
    #[arg(long, value_name = "TENANT", value_parser = parse_name)]
    pub tenant: Option<String>,
    /// A label; may be given more than once.
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_label)]
    pub label: Vec<(String, String)>,
    /// How long the token is good, from now: 90s, 15m, 24h, 30d.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_ttl)]
    pub ttl: Duration,
    /// The key of the settings to sign for; needed only where they have several.
    #[arg(long, value_name = "KEYID")]
    pub key: Option<String>,
    /// Sign with the HS256 secret in this file, without settings.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "private_key_file", "config"])]
    pub secret_file: Option<PathBuf>,
    /// The private key in PEM (PKCS #8), for RS256, ES256 and EdDSA: the settings have its public half only.
    #[arg(long, value_name = "FILE")]
    pub private_key_file: Option<PathBuf>,
    /// The algorithm, to sign without settings: HS256, RS256, ES256 or EdDSA.
    #[arg(long, value_name = "ALGORITHM", conflicts_with_all = ["key", "config"])]
    pub algorithm: Option<Algorithm>,
    /// Whom the token is for (`aud`); without it, what the settings require.
    #[arg(long, value_name = "AUDIENCE")]
    pub audience: Option<String>,
    /// The settings file.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Arguments of `holdfast token verify`.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// The token, or `-` to read it from standard input (which keeps it out of the shell's history).
    #[arg(value_name = "TOKEN|-")]
    pub token: String,
    /// The settings file.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Arguments of `holdfast token api-key`.
#[derive(Args, Debug)]
pub struct ApiKeyArgs {
    /// A name for the key, for logs.
    #[arg(long, value_name = "NAME", default_value = "backend", value_parser = parse_name)]
    pub name: String,
    /// The tenant whose agents it may call.
    #[arg(long, value_name = "TENANT", default_value = TENANT_WHEN_ABSENT, value_parser = parse_name)]
    pub tenant: String,
}

/// What `holdfast token` needs of the settings.
#[derive(Clone, Debug)]
pub struct TokenSettings {
    /// `[[auth.keys]]`, their files read.
    pub keys: Vec<KeySource>,
    /// `auth.audience`, where set.
    pub audience: Option<String>,
    /// `auth.leeway`, in seconds.
    pub leeway_secs: u64,
}

/// Runs the command: the answer goes to standard output, a reason to standard error (then the exit code is 1).
///
/// `load` reads the settings (from the file that was named, or the usual place) and is called only where they are
/// needed. `now_unix` is the time in seconds since the UNIX epoch.
pub fn run(
    args: &TokenArgs,
    load: impl FnOnce(Option<&Path>) -> Result<TokenSettings, String>,
    now_unix: u64,
) -> ExitCode {
    let answer = match &args.command {
        TokenCommand::Mint(args) => mint(args, load, now_unix),
        TokenCommand::Verify(args) => {
            load(args.config.as_deref()).and_then(|settings| verify(args, &settings, now_unix))
        }
        TokenCommand::ApiKey(args) => new_api_key(args),
    };
    match answer {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
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
            let settings = load(args.config.as_deref())?;
            Signer::from_settings(settings, args.key.as_deref(), private.as_deref())?
        }
    };
    let tenant = args
        .tenant
        .clone()
        .or_else(|| signer.key.tenant.clone())
        .unwrap_or_else(|| TENANT_WHEN_ABSENT.to_owned());
    let mut labels = args.label.clone();
    labels.sort_unstable();
    let claims = Claims {
        agent: args.agent.clone(),
        tenant,
        labels,
        expires_unix: now_unix
            .checked_add(args.ttl.as_secs())
            .ok_or("--ttl is too long")?,
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
pub fn verify(
    args: &VerifyArgs,
    settings: &TokenSettings,
    now_unix: u64,
) -> Result<String, String> {
    if settings.keys.is_empty() {
        return Err(
            "the settings have no [[auth.keys]], so every token is refused; docs/security.md shows how to make a key".into(),
        );
    }
    let audience = settings.audience.as_deref();
    let verifier = Verifier::new(&settings.keys, audience, settings.leeway_secs)?;
    let token = match args.token.as_str() {
        "-" => read_token(io::stdin().lock())?,
        token => token.trim().to_owned(),
    };
    let claims = verifier
        .examine(&token, now_unix)
        .map_err(|fault| format!("the token is refused ({}): {fault}", fault.refused()))?;
    serde_json::to_string_pretty(&claims).map_err(|error| error.to_string())
}

/// A new key in the first line, then the block of settings that lets it in.
///
/// # Errors
/// The system gives no random bytes.
pub fn new_api_key(args: &ApiKeyArgs) -> Result<String, String> {
    let (key, sha256) = api_key::generate()?;
    let mut text = format!("{key}\n\n");
    // Names need no escaping in TOML; that is what `is_name` is for.
    let _ = write!(
        text,
        "# The key is above, and it is shown this once. This goes into the settings, and holds its hash only:\n\
         [[api.keys]]\nname = \"{}\"\nsha256 = \"{sha256}\"\ntenant = \"{}\"",
        args.name, args.tenant
    );
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
            Some(other) => Err(format!(
                "{other} signs with a private key: use --private-key-file in place of --secret-file"
            )),
        }
    }

    fn from_key_file(file: &Path, algorithm: Algorithm) -> Result<Self, String> {
        match algorithm {
            Algorithm::Hs256 => Err(
                "HS256 signs with a secret: use --secret-file in place of --private-key-file"
                    .into(),
            ),
            _ => Ok(Self::alone(algorithm, read_file(file)?)),
        }
    }

    fn alone(algorithm: Algorithm, material: Vec<u8>) -> Self {
        let key = KeySource {
            id: String::new(),
            algorithm,
            material,
            tenant: None,
        };
        Self {
            key,
            checked_by: None,
            audience: None,
        }
    }

    fn from_settings(
        settings: TokenSettings,
        id: Option<&str>,
        private: Option<&Path>,
    ) -> Result<Self, String> {
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
        Ok(Self {
            key,
            checked_by: Some(checked_by),
            audience: settings.audience,
        })
    }

    /// Whether the key in the settings takes the token: a private key that does not belong to it is found here, and not
    /// by an agent that gets a 401.
    fn accepts(&self, token: &str, audience: Option<&str>, now_unix: u64) -> Result<(), String> {
        let Some(key) = &self.checked_by else {
            return Ok(());
        };
        Verifier::new(std::slice::from_ref(key), audience, 0)?
            .examine(token, now_unix)
            .map(drop)
            .map_err(|fault| match fault {
                token::Fault::Signature => {
                    format!(
                        "the private key does not belong to key {:?} of the settings",
                        key.id
                    )
                }
                fault => format!("the gateway would refuse this token: {fault}"),
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

fn parse_name(text: &str) -> Result<String, String> {
    if is_name(text) {
        Ok(text.to_owned())
    } else {
        Err("must be 1 to 128 characters of A-Z a-z 0-9 . _ : @ -".into())
    }
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("must be KEY=VALUE".into()),
    }
}

fn parse_ttl(text: &str) -> Result<Duration, String> {
    let ttl = humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write it like 90s, 15m, 24h or 30d"))?;
    if ttl < Duration::from_secs(1) {
        return Err("must be a second or more".into());
    }
    Ok(ttl)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
