//! Backends' API keys: stored as SHA-256 hashes, compared in constant time.

/// A key as the settings give it.
#[derive(Clone, Debug)]
pub struct ApiKeySource {
    /// A name for logs.
    pub name: String,
    /// Hex SHA-256 of the key.
    pub sha256: String,
    /// The tenant that it belongs to.
    pub tenant: String,
}

/// Who a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// The key's name.
    pub name: String,
    /// Its tenant.
    pub tenant: String,
}

/// The keys of all backends.
pub struct ApiKeys {}

impl ApiKeys {
    /// Prepares the keys.
    ///
    /// # Errors
    /// Names the key and what is wrong with it.
    pub fn new(keys: &[ApiKeySource]) -> Result<Self, String> {
        let _ = keys;
        todo!()
    }

    /// Whose key this is. Takes as long for a wrong key as for a right one.
    #[must_use]
    pub fn check(&self, key: &str) -> Option<Backend> {
        let _ = key;
        todo!()
    }
}

/// A new random key and its hash in hex (for `holdfast token api-key`).
#[must_use]
pub fn generate() -> (String, String) {
    todo!()
}
