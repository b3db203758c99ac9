//! The arguments of `holdfast token`, and what their values must look like.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::super::settings_file::SettingsFile;
use crate::auth::claims::TENANT_WHEN_ABSENT;
use crate::auth::permissions::{Methods, Right};
use crate::auth::token::Algorithm;
use crate::kit::ids::{NAME_RULE, is_name};
use crate::kit::labels;
use crate::kit::secret::Secret;

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
    /// A method that backends may call the agent with, or `disk.*` for all that begin so; may be given more than once. All, where none is.
    #[arg(long, value_name = "METHOD", value_parser = Methods::from_str, conflicts_with = "no_method")]
    pub method: Vec<Methods>,
    /// No method at all: the agent cannot be called.
    #[arg(long)]
    pub no_method: bool,
    /// How long the token is good, from now: 90s, 15m, 24h, 30d.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_ttl)]
    pub ttl: Duration,
    /// The token's own id (`jti`), by which it alone can be revoked.
    #[arg(long, value_name = "ID", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub token_id: Option<String>,
    /// The key of the settings to sign for; needed only where they have several.
    #[arg(long, value_name = "KEYID")]
    pub key: Option<String>,
    /// Sign with the HS256 secret in this file, without settings.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "private_key_file", "config"])]
    pub secret_file: Option<PathBuf>,
    /// The private key in PEM (PKCS #8), for all but HS256: the settings have its public half only.
    #[arg(long, value_name = "FILE")]
    pub private_key_file: Option<PathBuf>,
    /// The algorithm, to sign without settings: HS256, RS256, PS256, ES256, EdDSA, or one of the longer ones (RS384, RS512, PS384, PS512, ES384).
    #[arg(long, value_name = "ALGORITHM", conflicts_with_all = ["key", "config"])]
    pub algorithm: Option<Algorithm>,
    /// Whom the token is for (`aud`); without it, what the settings require.
    #[arg(long, value_name = "AUDIENCE")]
    pub audience: Option<String>,
    /// Which settings count.
    #[command(flatten)]
    pub settings: SettingsFile,
}

/// Arguments of `holdfast token verify`.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// The token, or `-` to read it from standard input (which keeps it out of the shell's history).
    #[arg(value_name = "TOKEN|-")]
    pub token: Secret,
    /// Which settings count.
    #[command(flatten)]
    pub settings: SettingsFile,
}

/// Arguments of `holdfast token api-key`.
#[derive(Args, Debug)]
pub struct ApiKeyArgs {
    /// A name for the key, for logs.
    #[arg(long, value_name = "NAME", default_value = "backend", value_parser = parse_name)]
    pub name: String,
    /// The tenant whose agents it is for.
    #[arg(long, value_name = "TENANT", default_value = TENANT_WHEN_ABSENT, value_parser = parse_name)]
    pub tenant: String,
    /// What it may do: call, list, disconnect, observe, administer.
    #[arg(long, value_name = "RIGHT,...", default_value = Right::Call.word(), value_delimiter = ',', value_parser = Right::from_str)]
    pub allow: Vec<Right>,
    /// A method that it may call, or `disk.*` for all that begin so; may be given more than once. All, where none is.
    #[arg(long, value_name = "METHOD", value_parser = Methods::from_str)]
    pub method: Vec<Methods>,
    /// A label that agents must have for it; may be given more than once.
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_label)]
    pub label: Vec<(String, String)>,
}

fn parse_name(text: &str) -> Result<String, String> {
    if is_name(text) { Ok(text.to_owned()) } else { Err(format!("must be {NAME_RULE}")) }
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    labels::condition(text).ok_or_else(|| "must be KEY=VALUE".into())
}

fn parse_ttl(text: &str) -> Result<Duration, String> {
    let ttl =
        humantime::parse_duration(text).map_err(|error| format!("{error}; write it like 90s, 15m, 24h or 30d"))?;
    if ttl < Duration::from_secs(1) {
        return Err("must be a second or more".into());
    }
    Ok(ttl)
}
