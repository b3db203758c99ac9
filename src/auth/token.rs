//! Agents' tokens: JSON Web Tokens (RFC 7519), the algorithm pinned to each key.

/// An algorithm that a key is pinned to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256; the key is a secret of 32 bytes or more.
    Hs256,
    /// RSA with SHA-256, 2048 bits or more; the key is a public key in PEM.
    Rs256,
    /// ECDSA on P-256 with SHA-256; the key is a public key in PEM.
    Es256,
    /// Ed25519; the key is a public key in PEM.
    EdDsa,
}

/// A key as the settings give it, its file read.
#[derive(Clone, Debug)]
pub struct KeySource {
    /// `kid`: tokens that name one are checked with that key alone; tokens that name none with each key of their algorithm.
    pub id: String,
    /// What it may be used for.
    pub algorithm: Algorithm,
    /// Secret bytes, or PEM.
    pub material: Vec<u8>,
    /// Where set, the only tenant that this key's tokens may name.
    pub tenant: Option<String>,
}

/// What a good token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// `sub`: the agent's id, a name.
    pub agent: String,
    /// `tenant`: a name; "default" where absent.
    pub tenant: String,
    /// `labels`, sorted by key; at most 32, keys and values of at most 128 bytes.
    pub labels: Vec<(String, String)>,
    /// `exp`, in seconds since the UNIX epoch.
    pub expires_unix: u64,
}

/// Why a token was refused: for the log and the metric, never for the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No token.
    Missing,
    /// Not a token, an algorithm that no key allows, an unknown `kid`, or a bad signature.
    Unverified,
    /// `exp` has passed, or is missing.
    Expired,
    /// `nbf` has not come.
    NotYet,
    /// `aud` is not ours.
    Audience,
    /// A claim that is missing or out of form.
    Claims,
}

/// The keys and rules that tokens are checked by.
pub struct Verifier {}

impl Verifier {
    /// Prepares the keys. `audience`: tokens must name it when set. `leeway_secs` for clocks that differ.
    ///
    /// # Errors
    /// Names the key and what is wrong with it.
    pub fn new(
        keys: &[KeySource],
        audience: Option<&str>,
        leeway_secs: u64,
    ) -> Result<Self, String> {
        let _ = (keys, audience, leeway_secs);
        todo!()
    }

    /// Checks a token at `now_unix` (seconds since the UNIX epoch).
    ///
    /// # Errors
    /// Why it was refused.
    pub fn verify(&self, token: &str, now_unix: u64) -> Result<Claims, Refused> {
        let _ = (token, now_unix);
        todo!()
    }
}

/// Signs a token (for `holdfast token mint` and tests).
///
/// # Errors
/// What is wrong with the key.
pub fn mint(key: &KeySource, audience: Option<&str>, claims: &Claims) -> Result<String, String> {
    let _ = (key, audience, claims);
    todo!()
}
