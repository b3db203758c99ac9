//! Asking others over HTTP: where keys are published, and the webhook.
//!
//! Owns the client, and that an answer is bounded in bytes and in time. It blocks: only threads that do nothing else may use it.

use std::time::Duration;

use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::net::tls::provider::client_provider;

/// What we are called in others' logs.
const USER_AGENT: &str = concat!("holdfast/", env!("CARGO_PKG_VERSION"));

/// An HTTP client with one limit of time and one of bytes.
pub struct Outside {
    agent: Agent,
    bytes_max: usize,
}

fn trusted() -> Vec<Certificate<'static>> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "some certificates of the system cannot be read");
    }
    if found.certs.is_empty() {
        tracing::warn!("the system trusts no certificates: nothing can be asked over https");
    }
    found.certs.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect()
}

/// What came back.
pub struct Told {
    /// The HTTP status.
    pub status: u16,
    /// The body, whole.
    pub body: Vec<u8>,
}

impl Outside {
    /// `timeout` is for all of it, from the look-up of the name to the last byte. Certificates are checked against those that the
    /// system trusts now (`SSL_CERT_FILE`, `SSL_CERT_DIR`, or where it keeps them); they take some 400 kB, so they are read only
    /// where one of `urls` needs them.
    #[must_use]
    pub fn new(timeout: Duration, bytes_max: usize, urls: &[&str]) -> Self {
        let is_https = urls.iter().any(|url| url.starts_with("https:"));
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::from(if is_https { trusted() } else { Vec::new() }))
            .unversioned_rustls_crypto_provider(client_provider())
            .build();
        let config = Agent::config_builder()
            .timeout_global(Some(timeout))
            .http_status_as_error(false)
            // Who answers elsewhere is somebody else, and would be shown a token.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(USER_AGENT)
            .tls_config(tls)
            .build();
        Self { agent: config.into(), bytes_max }
    }

    /// Fetches a document.
    ///
    /// # Errors
    /// Why there is none, without what was asked: a URL may hold a secret.
    pub fn get(&self, url: &str) -> Result<Told, String> {
        let answer = self.agent.get(url).header("Accept", "application/json").call();
        self.read(answer)
    }

    /// Asks with a JSON body, and an `Authorization` where there is one.
    ///
    /// # Errors
    /// As for [`Outside::get`].
    pub fn post(&self, url: &str, authorization: Option<&str>, body: &[u8]) -> Result<Told, String> {
        let mut request = self.agent.post(url).header("Content-Type", "application/json");
        if let Some(authorization) = authorization {
            request = request.header("Authorization", authorization);
        }
        self.read(request.send(body))
    }

    fn read(&self, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Told, String> {
        let mut answer = answer.map_err(|error| error.to_string())?;
        // One byte more than is allowed would be read: then it is too many.
        let limit = self.bytes_max as u64;
        let body = answer.body_mut().with_config().limit(limit).read_to_vec();
        let body = body.map_err(|error| error.to_string())?;
        Ok(Told { status: answer.status().as_u16(), body })
    }
}
