//! Each way to sign, and each message for what does not fit.

use std::path::PathBuf;

use clap::Parser;

use super::*;
use crate::auth::api_key::{ApiKeySource, ApiKeys};
use crate::auth::permissions::Permissions;
use crate::cli::settings_file::SettingsFile;

const NOW: u64 = 1_800_000_000;
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// The command line as `holdfast token` has it.
#[derive(Parser, Debug)]
struct Line {
    #[command(flatten)]
    token: TokenArgs,
}

fn parse(line: &str) -> Result<TokenCommand, String> {
    let words = ["token"].into_iter().chain(line.split_whitespace());
    Line::try_parse_from(words).map(|line| line.token.command).map_err(|error| error.to_string())
}

fn hs(id: &str) -> KeySource {
    KeySource { id: id.into(), algorithm: Algorithm::Hs256, material: SECRET.into(), tenant: None }
}

fn es(id: &str) -> KeySource {
    KeySource {
        algorithm: Algorithm::Es256,
        material: include_bytes!("../../auth/fixtures/es256.pub.pem").to_vec(),
        ..hs(id)
    }
}

fn settings(keys: &[KeySource]) -> TokenSettings {
    TokenSettings {
        keys: keys.to_vec(),
        audience: Some("gate".into()),
        leeway_secs: 30,
        lifetime_max_secs: None,
        issuers: no_issuers(),
    }
}

fn minted(line: &str, keys: &[KeySource]) -> Result<String, String> {
    match parse(&format!("mint {line}"))? {
        TokenCommand::Mint(args) => mint(&args, |_| Ok(settings(keys)), NOW),
        other => Err(format!("{other:?}")),
    }
}

fn verified(token: &str, keys: &[KeySource], now: u64) -> Result<serde_json::Value, String> {
    let args = VerifyArgs { token: token.to_owned().into(), settings: SettingsFile::default() };
    verify(&args, &settings(keys), now).map(|json| serde_json::from_str(&json).unwrap())
}

/// A file that is removed when the test ends.
struct TempFile(PathBuf);

impl TempFile {
    fn with(name: &str, bytes: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("holdfast-{}-{name}", std::process::id()));
        fs::write(&path, bytes).unwrap();
        Self(path)
    }

    fn path(&self) -> String {
        self.0.display().to_string()
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn no_issuers() -> TokenIssuers {
    let limits = crate::auth::jwks::SetLimits { bytes_max: 1024, keys_max: 1 };
    TokenIssuers { issuers: Vec::new(), limits, timeout: std::time::Duration::from_secs(1) }
}

#[test]
fn a_minted_token_verifies_and_shows_its_claims() {
    let line = "--agent web-1 --label zone=eu --label arch=a=b --ttl 90s";
    let token = minted(line, &[hs("k")]).unwrap();
    assert_eq!(
        verified(&token, &[hs("k")], NOW),
        Ok(serde_json::json!({
            "sub": "web-1", "tenant": "default", "labels": {"arch": "a=b", "zone": "eu"}, "exp": NOW + 90,
            "iat": NOW, "iat": NOW,
        }))
    );
    let padded = format!("  {token}\n");
    assert!(verified(&padded, &[hs("k")], NOW + 90 + 29).is_ok());
    let late = verified(&token, &[hs("k")], NOW + 90 + 31).unwrap_err();
    assert_eq!(late, "the token is refused (expired): it expired 1 s ago (leeway included)");
}

#[test]
fn a_token_may_name_the_methods_that_its_agent_is_called_with() {
    for (line, expected) in [
        ("--agent a", serde_json::Value::Null),
        ("--agent a --method ping --method disk.* --method ping", serde_json::json!(["ping", "disk.*"])),
        ("--agent a --no-method", serde_json::json!([])),
    ] {
        let token = minted(line, &[hs("k")]).unwrap();
        assert_eq!(verified(&token, &[hs("k")], NOW).unwrap()["methods"], expected, "{line}");
    }
}

#[test]
fn the_default_life_is_a_day_and_the_key_gives_the_tenant() {
    let acme = KeySource { tenant: Some("acme".into()), ..hs("k") };
    let keys = [acme];
    let token = minted("--agent a", &keys).unwrap();
    let claims = verified(&token, &keys, NOW).unwrap();
    assert_eq!(claims["tenant"], "acme");
    assert_eq!(claims["exp"], NOW + 24 * 3600);
    let error = minted("--agent a --tenant other", &keys).unwrap_err();
    assert!(error.contains("for tenant \"acme\" only"), "{error}");
}

#[test]
fn keys_are_chosen_by_name_where_there_are_several() {
    let keys = [hs("old"), hs("new"), es("ec")];
    let error = minted("--agent a", &keys).unwrap_err();
    assert_eq!(error, r#"name a key with --key: "old", "new", "ec""#);
    let error = minted("--agent a --key nwe", &keys).unwrap_err();
    assert!(error.contains(r#"no key "nwe", only "old""#), "{error}");
    let token = minted("--agent a --key new", &keys).unwrap();
    assert!(verified(&token, &keys[1..2], NOW).is_ok());
    let error = verified(&token, &keys[..1], NOW).unwrap_err();
    assert!(error.contains("no key has that id"), "{error}");
    let error = minted("--agent a", &[]).unwrap_err();
    assert!(error.contains("no [[auth.keys]]"), "{error}");
    let error = minted("--agent a --key ec", &keys).unwrap_err();
    assert!(error.contains("--private-key-file"), "{error}");
}

#[test]
fn a_private_key_must_belong_to_the_key_it_signs_for() {
    let pair = |id| {
        let algorithm = &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let key = aws_lc_rs::signature::EcdsaKeyPair::generate(algorithm).unwrap();
        use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
        use aws_lc_rs::signature::KeyPair;
        let public: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
        let key_source = KeySource { material: pem("PUBLIC KEY", public.as_ref()), ..es(id) };
        (pem("PRIVATE KEY", key.to_pkcs8v1().unwrap().as_ref()), key_source)
    };
    let (private, public) = pair("mine");
    let file = TempFile::with("private.pem", &private);
    let keys = [public, es("other"), hs("hs")];
    let line = |key: &str| format!("--agent a --key {key} --private-key-file {path}", path = file.path());
    let token = minted(&line("mine"), &keys).unwrap();
    assert!(verified(&token, &keys, NOW).is_ok());
    let error = minted(&line("other"), &keys).unwrap_err();
    assert!(error.contains("does not belong to key \"other\""), "{error}");
    let error = minted(&line("hs"), &keys).unwrap_err();
    assert!(error.contains("leave out --private-key-file"), "{error}");

    let alone = format!("--agent a --audience gate --algorithm ES256 --private-key-file {}", file.path());
    let token = minted(&alone, &[]).unwrap();
    assert!(verified(&token, &keys, NOW).is_ok(), "without a kid");
    let error = minted(&alone.replace("ES256", "EdDSA"), &[]).unwrap_err();
    assert!(error.contains("this is an EC key"), "{error}");
    let error = minted(&alone.replace("ES256", "HS256"), &[]).unwrap_err();
    assert!(error.contains("use --secret-file"), "{error}");
}

fn pem(tag: &str, der: &[u8]) -> Vec<u8> {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {tag}-----\n{text}\n-----END {tag}-----\n").into_bytes()
}

#[test]
fn a_secret_file_needs_no_settings() {
    let file = TempFile::with("secret", &[SECRET, b"\n"].concat());
    let line = format!("--agent a --audience gate --secret-file {}", file.path());
    let TokenCommand::Mint(args) = parse(&format!("mint {line}")).unwrap() else {
        panic!("not mint");
    };
    let token = mint(&args, |_| Err("settings were read".into()), NOW).unwrap();
    assert!(verified(&token, &[hs("k")], NOW).is_ok());
    assert!(minted(&format!("{line} --algorithm HS256"), &[]).is_ok());
    let error = minted(&format!("{line} --algorithm RS256"), &[]).unwrap_err();
    assert!(error.contains("use --private-key-file"), "{error}");
    let error = minted("--agent a --secret-file /no/such/file", &[]).unwrap_err();
    assert!(error.contains("cannot read /no/such/file"), "{error}");
    let error = minted("--agent a --algorithm HS256", &[]).unwrap_err();
    assert!(error.contains("goes with --secret-file"), "{error}");
}

#[test]
fn wrong_arguments_are_named() {
    for (line, expected) in [
        ("mint", "--agent"),
        ("mint --agent a/b", "1 to 128 characters"),
        ("mint --agent a --tenant ü", "1 to 128 characters"),
        ("mint --agent a --label zone", "KEY=VALUE"),
        ("mint --agent a --label =x", "KEY=VALUE"),
        ("mint --agent a --ttl 5", "90s, 15m"),
        ("mint --agent a --ttl 0s", "a second or more"),
        ("mint --agent a --algorithm none", "HS256, RS256"),
        ("mint --agent a --secret-file f --key k", "cannot be used with"),
        ("mint --agent a --algorithm HS256 --config f", "cannot be used with"),
        ("verify", "TOKEN"),
        ("api-key --name a/b", "1 to 128 characters"),
        ("api-key --allow calls", "must be one of \"call\""),
        ("api-key --method a*b", "may have one star"),
    ] {
        let error = parse(line).unwrap_err();
        assert!(error.contains(expected), "{line}: {error}");
    }
    let twice = minted("--agent a --label k=1 --label k=2", &[hs("k")]).unwrap_err();
    assert!(twice.contains("\"k\" is there twice"), "{twice}");
    let forever = minted("--agent a --ttl 18446744073709551615s", &[hs("k")]);
    assert_eq!(forever, Err("--ttl is too long".into()));
}

#[test]
fn verify_says_why() {
    let token = minted("--agent a", &[hs("k")]).unwrap();
    let none = verified(&token, &[], NOW).unwrap_err();
    assert!(none.contains("no [[auth.keys]]"), "{none}");
    let other = KeySource { material: vec![b'x'; 32], ..hs("k") };
    let error = verified(&token, &[other], NOW).unwrap_err();
    assert!(error.starts_with("the token is refused (unverified): its signature is wrong"));
    let short = KeySource { material: b"short".to_vec(), ..hs("k") };
    let error = verified(&token, &[short], NOW).unwrap_err();
    assert!(error.starts_with("key \"k\": an HS256 secret needs 32"), "{error}");
    let error = verified("", &[hs("k")], NOW).unwrap_err();
    assert!(error.contains("there is no token"), "{error}");
}

#[test]
fn standard_input_is_read_to_a_bound() {
    assert_eq!(read_token(&b" a.b.c \r\n"[..]), Ok("a.b.c".into()));
    let endless = io::repeat(b'a');
    let token = read_token(endless).unwrap();
    assert!(token.len() > TOKEN_BYTES_MAX);
    let error = verified(&token, &[hs("k")], NOW).unwrap_err();
    assert!(error.contains("may have 8192"), "{error}");
    assert!(read_token(&[0xff, 0xfe][..]).is_err());
}

#[test]
fn an_api_key_fits_the_block_that_is_printed_with_it() {
    let line = "api-key --name ci --tenant acme --allow call,list --method disk.* --method df --label site=ams";
    let Ok(TokenCommand::ApiKey(args)) = parse(line) else {
        panic!("not api-key");
    };
    let text = new_api_key(&args).unwrap();
    let (key, block) = text.split_once("\n\n").unwrap();
    let table: toml::Table = block.parse().unwrap();
    let entry = &table["api"]["keys"][0];
    let field = |name: &str| entry[name].as_str().unwrap().to_owned();
    let keys = ApiKeys::new(&[ApiKeySource {
        name: field("name"),
        sha256: field("sha256"),
        tenant: field("tenant"),
        permissions: Permissions::everything(),
    }])
    .unwrap();
    let backend = keys.check(key).unwrap();
    let list =
        |name: &str| entry[name].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(
        (list("allow"), list("methods"), list("agents")),
        (vec!["call", "list"], vec!["disk.*", "df"], vec!["site=ams"])
    );
    let Ok(TokenCommand::ApiKey(args)) = parse("api-key") else {
        panic!("not api-key");
    };
    let least = new_api_key(&args).unwrap();
    assert!(least.contains("\nallow = [\"call\"]") && !least.contains("methods"), "{least}");
    assert_eq!((&*backend.name, &*backend.tenant), ("ci", "acme"));
    assert_eq!(text.matches(key).count(), 1, "the key is shown once");
}

/// `holdfast token verify` fetches the keys of an issuer, here from a file; one that cannot be had is told where it matters alone.
#[test]
fn a_token_of_an_issuer_is_checked_with_its_keys() {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use crate::auth::ring::Source;
    use crate::config::IssuerSettings;
    let issuer = |iss: &str, file: &str| IssuerSettings {
        name: iss.to_owned(),
        iss: iss.to_owned(),
        source: Source::File(file.into()),
        audiences: vec!["gate".to_owned()],
        tenants: Vec::new(),
        algorithms: vec![Algorithm::EdDsa],
        leeway: None,
    };
    // RFC 8037 appendix A.2.
    let set = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let file = TempFile::with("set.json", set.as_bytes());
    let issuers =
        TokenIssuers { issuers: vec![issuer("good", &file.path()), issuer("gone", "/no/such/file")], ..no_issuers() };
    let settings = TokenSettings { keys: Vec::new(), audience: None, leeway_secs: 0, lifetime_max_secs: None, issuers };
    let told = |iss: &str| {
        let part = |text: String| URL_SAFE_NO_PAD.encode(text);
        let token = format!("{}.{}.AAAA", part(r#"{"alg":"EdDSA"}"#.into()), part(format!(r#"{{"iss":"{iss}"}}"#)));
        let args = VerifyArgs { token: token.into(), settings: SettingsFile::default() };
        verify(&args, &settings, NOW).unwrap_err()
    };
    assert!(told("good").contains("signature is wrong"), "{}", told("good"));
    assert!(told("gone").contains("/no/such/file"), "{}", told("gone"));
    assert!(told("nobody").contains("algorithm"), "{}", told("nobody"));
}
