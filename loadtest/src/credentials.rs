//! Tokens of agents, made at less cost than the gateway has in checking them.
//!
//! Owns the secret in the form that signing needs it: everything that all tokens share is prepared once. HS256 alone
//! (RFC 7515, RFC 7518 section 3.2), since a load client holds the gateway's own secret.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// How long tokens live, in seconds.
const TOKEN_SECS: u64 = 24 * 3600;

/// What makes tokens.
#[derive(Clone)]
pub struct Signer {
    key: hmac::Key,
    /// The header in base64url, and a dot.
    head: String,
    /// The claims in JSON, without the agent's id at their beginning.
    claims: String,
}

impl fmt::Debug for Signer {
    /// Nothing of the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}

impl Signer {
    /// Prepares `secret`, which the gateway knows as `key_id`. Tokens are good for a day from now.
    ///
    /// # Errors
    /// The clock stands before 1970.
    pub fn new(secret: &str, key_id: &str, audience: Option<&str>, tenant: &str) -> Result<Self, String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|error| error.to_string())?;
        let header = format!(r#"{{"typ":"JWT","alg":"HS256","kid":{}}}"#, quoted(key_id));
        let audience = audience.map_or_else(String::new, |name| format!(r#","aud":{}"#, quoted(name)));
        Ok(Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()),
            head: URL_SAFE_NO_PAD.encode(header) + ".",
            claims: format!(r#","tenant":{},"exp":{}{audience}}}"#, quoted(tenant), now.as_secs() + TOKEN_SECS),
        })
    }

    /// Appends the token of the agent `id`, which needs no escapes in JSON.
    pub fn append(&self, id: &str, out: &mut String) {
        let begin = out.len();
        out.push_str(&self.head);
        let claims = format!(r#"{{"sub":"{id}"{}"#, self.claims);
        URL_SAFE_NO_PAD.encode_string(claims, out);
        let signature = hmac::sign(&self.key, &out.as_bytes()[begin..]);
        out.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, out);
    }
}

/// A text as JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use holdfast::auth::token::{Algorithm, KeySource, Verifier};

    use super::*;

    #[test]
    fn the_gateway_takes_our_tokens_and_no_others() {
        let secret = "0123456789abcdef0123456789abcdef";
        let key = KeySource {
            id: "lo\"ad".to_owned(),
            algorithm: Algorithm::Hs256,
            material: secret.as_bytes().to_vec(),
            tenant: None,
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        for audience in [None, Some("fleet")] {
            let verifier = Verifier::new(std::slice::from_ref(&key), audience, 0).expect("a good key");
            let mut token = String::new();
            let signer = Signer::new(secret, &key.id, audience, "acme").expect("prepared");
            signer.append("load-7", &mut token);
            let claims = verifier.verify(&token, now).expect("a good token");
            assert_eq!((claims.agent.as_str(), claims.tenant.as_str()), ("load-7", "acme"));
            assert!(claims.expires_unix >= now + TOKEN_SECS - 5);
            let mut forged = String::new();
            let other = Signer::new("fedcba9876543210fedcba9876543210", &key.id, audience, "acme").expect("prepared");
            other.append("load-7", &mut forged);
            assert!(verifier.verify(&forged, now).is_err());
        }
    }
}
