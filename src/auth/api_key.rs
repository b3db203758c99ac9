//! Backends' API keys: stored as SHA-256 hashes, compared in constant time.
//!
//! The keys are random (256 bits), so a fast hash is enough. It never keeps a key, only its hash.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::permissions::Permissions;
use crate::kit::ids::is_name;

/// What every generated key starts with, so that scanners and people recognise one that leaked.
pub const PREFIX: &str = "hfk_";
/// Random bytes of a key.
const RANDOM_BYTES: usize = 32;

/// A key as the settings give it.
#[derive(Clone, Debug)]
pub struct ApiKeySource {
    /// A name for logs.
    pub name: String,
    /// Hex SHA-256 of the key.
    pub sha256: String,
    /// The tenant that it belongs to.
    pub tenant: String,
    /// What it may do.
    pub permissions: Permissions,
}

/// Who a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// The key's name.
    pub name: Arc<str>,
    /// Its tenant.
    pub tenant: Arc<str>,
    /// What it may do.
    pub permissions: Permissions,
}

/// What tells one key from another without being one: its SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; SHA256_OUTPUT_LEN]);

impl Fingerprint {
    /// Of a key.
    #[must_use]
    pub fn of(key: &str) -> Self {
        let mut fingerprint = [0; SHA256_OUTPUT_LEN];
        fingerprint.copy_from_slice(digest(&SHA256, key.as_bytes()).as_ref());
        Self(fingerprint)
    }
}

/// The keys of all backends.
pub struct ApiKeys {
    keys: Vec<([u8; SHA256_OUTPUT_LEN], Arc<Backend>)>,
}

impl ApiKeys {
    /// Prepares the keys.
    ///
    /// # Errors
    /// Names the key and what is wrong with it.
    pub fn new(keys: &[ApiKeySource]) -> Result<Self, String> {
        let mut ready: Vec<([u8; SHA256_OUTPUT_LEN], Arc<Backend>)> = Vec::with_capacity(keys.len());
        for key in keys {
            let hash = read_source(key).map_err(|why| format!("API key {:?}: {why}", key.name))?;
            for (other_hash, other) in &ready {
                if *other.name == *key.name {
                    return Err(format!("API key {:?}: two keys have this name", key.name));
                }
                if *other_hash == hash {
                    return Err(format!("API key {:?}: the same key as {:?}", key.name, other.name));
                }
            }
            let (name, tenant) = (key.name.as_str().into(), key.tenant.as_str().into());
            ready.push((hash, Arc::new(Backend { name, tenant, permissions: key.permissions.clone() })));
        }
        Ok(Self { keys: ready })
    }

    /// Whose key this is. Takes as long for a wrong key as for a right one.
    #[must_use]
    pub fn check(&self, key: &str) -> Option<Arc<Backend>> {
        self.find(Fingerprint::of(key)).cloned()
    }

    /// Whose key has this fingerprint, in the same time for each.
    #[must_use]
    pub fn find(&self, Fingerprint(hash): Fingerprint) -> Option<&Arc<Backend>> {
        let mut found = None;
        // Without a way out of the loop: the time must not tell which key came close.
        for (known, backend) in &self.keys {
            if verify_slices_are_equal(known, &hash).is_ok() {
                found = Some(backend);
            }
        }
        found
    }
}

/// A new random key and its hash in hex (for `holdfast token api-key`).
///
/// # Errors
/// The system gives no random bytes.
pub fn generate() -> Result<(String, String), String> {
    let mut random = [0; RANDOM_BYTES];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| "the system gives no random bytes")?;
    let key = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random));
    let hash = digest(&SHA256, key.as_bytes());
    let hex = hash.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    Ok((key, hex))
}

fn read_source(key: &ApiKeySource) -> Result<[u8; SHA256_OUTPUT_LEN], String> {
    const NAME: &str = "1 to 128 characters of A-Z a-z 0-9 . _ : @ -";
    if !is_name(&key.name) {
        return Err(format!("its name must be {NAME}"));
    }
    if !is_name(&key.tenant) {
        return Err(format!("its tenant {:?} must be {NAME}", key.tenant));
    }
    if key.sha256.starts_with(PREFIX) {
        return Err(
            "sha256 holds the key itself: put its hash there, and make a new key if this file was ever shared".into()
        );
    }
    let hash = from_hex(&key.sha256).ok_or("sha256 must be 64 hex digits, as `holdfast token api-key` prints them")?;
    if digest(&SHA256, b"").as_ref() == hash {
        return Err("sha256 is the hash of nothing: the key was empty when it was hashed".into());
    }
    Ok(hash)
}

fn from_hex(hex: &str) -> Option<[u8; SHA256_OUTPUT_LEN]> {
    let digits: Vec<u8> = hex.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
    if digits.len() != 2 * SHA256_OUTPUT_LEN {
        return None;
    }
    bytes.try_into().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn source(name: &str, sha256: &str, tenant: &str) -> ApiKeySource {
        let permissions = Permissions::everything();
        ApiKeySource { name: name.into(), sha256: sha256.into(), tenant: tenant.into(), permissions }
    }

    const TEST_HASH: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_key_finds_its_backend_and_nothing_else_does() {
        let (first, first_hash) = generate().unwrap();
        let (second, second_hash) = generate().unwrap();
        let (stranger, _) = generate().unwrap();
        let keys =
            ApiKeys::new(&[source("ci", &first_hash, "acme"), source("web", &second_hash.to_uppercase(), "other")])
                .unwrap();
        let found = |key: &str| keys.check(key).map(|backend| (backend.name.to_string(), backend.tenant.to_string()));
        assert_eq!(found(&first), Some(("ci".to_owned(), "acme".to_owned())));
        assert_eq!(found(&second), Some(("web".to_owned(), "other".to_owned())));
        for wrong in
            ["", &stranger, &first_hash, &first[..first.len() - 1], &format!("{first} "), &first.to_uppercase()]
        {
            assert_eq!(keys.check(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn without_keys_nobody_comes_in() {
        let keys = ApiKeys::new(&[]).unwrap();
        assert_eq!(keys.check(""), None);
        assert_eq!(keys.check(&generate().unwrap().0), None);
    }

    #[test]
    fn the_hash_is_plain_sha256_in_hex() {
        // FIPS 180-4's example, so that `printf %s KEY | sha256sum` gives what the settings want.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let keys = ApiKeys::new(&[source("abc", abc, "t")]).unwrap();
        assert_eq!(&*keys.check("abc").unwrap().name, "abc");
    }

    #[test]
    fn generated_keys_have_their_form_and_differ() {
        let (key, hash) = generate().unwrap();
        assert_eq!((key.len(), hash.len()), (4 + 43, 64));
        let random = key.strip_prefix("hfk_").unwrap();
        assert!(random.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)));
        assert_ne!(key, generate().unwrap().0);
    }

    #[test]
    fn bad_sources_are_named() {
        let good = TEST_HASH;
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let cases = [
            (source("a b", good, "t"), "its name"),
            (source("", good, "t"), "its name"),
            (source("a", good, "t/x"), "its tenant"),
            (source("a", &good[1..], "t"), "64 hex digits"),
            (source("a", &format!("{good}00"), "t"), "64 hex digits"),
            (source("a", &good.replace("b", "g"), "t"), "64 hex digits"),
            (source("a", &"ü".repeat(32), "t"), "64 hex digits"),
            (source("a", "hfk_abc", "t"), "the key itself"),
            (source("a", empty, "t"), "hash of nothing"),
        ];
        for (bad, expected) in cases {
            let error = ApiKeys::new(std::slice::from_ref(&bad)).err().unwrap();
            assert!(error.contains(expected), "{bad:?}: {error}");
            assert!(error.starts_with(&format!("API key {:?}", bad.name)), "{error}");
        }
        let twice = [source("a", good, "t"), source("b", good, "t")];
        assert!(ApiKeys::new(&twice).err().unwrap().contains("the same key as \"a\""));
        let named_twice = [source("a", good, "t"), source("a", &"1".repeat(64), "t")];
        assert!(ApiKeys::new(&named_twice).err().unwrap().contains("two keys"));
    }
}
