//! Keys and tokens of the tests, made here: whatever a token can say, right or wrong.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

/// A key that signs, and the block of settings that lets its tokens in.
pub struct Key {
    id: &'static str,
    algorithm: Algorithm,
    signs: EncodingKey,
    /// What the settings say of it.
    pub settings: String,
    /// The public half, in PEM; empty for a secret.
    pub public_pem: String,
    /// The public half as a point; empty for a secret.
    point: Vec<u8>,
}

impl Key {
    /// A shared secret.
    pub fn hs256(id: &'static str) -> Self {
        let secret = format!("the secret of {id}, that is long enough");
        Self {
            id,
            algorithm: Algorithm::HS256,
            signs: EncodingKey::from_secret(secret.as_bytes()),
            settings: format!("[[auth.keys]]\nid = \"{id}\"\nalgorithm = \"HS256\"\nsecret = \"{secret}\"\n"),
            public_pem: String::new(),
            point: Vec::new(),
        }
    }

    /// A pair of keys; the settings name the file `<id>.pem`.
    pub fn es256(id: &'static str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let private = pair.to_pkcs8v1().expect("PKCS #8");
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().expect("X.509");
        let text = STANDARD.encode(public.as_ref());
        Self {
            id,
            algorithm: Algorithm::ES256,
            signs: EncodingKey::from_ec_der(private.as_ref()),
            settings: format!("[[auth.keys]]\nid = \"{id}\"\nalgorithm = \"ES256\"\nfile = \"{id}.pem\"\n"),
            point: pair.public_key().as_ref().to_vec(),
            public_pem: format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n"),
        }
    }

    /// The public half as an issuer publishes it (RFC 7517).
    pub fn jwk(&self) -> Value {
        // SEC 1 section 2.3.3: a 4, then both coordinates.
        let (x, y) = self.point[1..].split_at(32);
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": self.id, "x": text(x), "y": text(y)})
    }

    /// A token that names this key and says this.
    pub fn token(&self, claims: &Value) -> String {
        self.token_as(Some(self.id), claims)
    }

    /// A token of this key that names any key, or none.
    pub fn token_as(&self, kid: Option<&str>, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = kid.map(str::to_owned);
        jsonwebtoken::encode(&header, claims, &self.signs).expect("a token")
    }
}

/// Claims of an agent whose token runs out in an hour.
pub fn claims(agent: &str) -> Value {
    json!({"sub": agent, "exp": unix_secs() + 3600})
}

/// The same with more members, or others.
pub fn claims_with(agent: &str, more: Value) -> Value {
    let mut all = claims(agent);
    for (name, value) in more.as_object().expect("an object") {
        all[name] = value.clone();
    }
    all
}

/// Header and claims without a signature (`alg` none).
pub fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(header), part(claims))
}

/// The block of settings that lets an API key in.
pub fn api_key(key: &str, tenant: &str) -> String {
    let mut hash = String::new();
    for byte in digest(&SHA256, key.as_bytes()).as_ref() {
        write!(hash, "{byte:02x}").expect("a text");
    }
    format!("[[api.keys]]\nname = \"of-{tenant}\"\nsha256 = \"{hash}\"\ntenant = \"{tenant}\"\n")
}

/// Seconds since 1970.
pub fn unix_secs() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}
