//! Where a gateway serves links, from a URL.

use std::fmt;

use tungstenite::http::Uri;

/// Path of the control link.
const PATH: &str = "/v1/link";

/// Where a gateway serves links, from a URL such as `ws://127.0.0.1:8082`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub(super) host: String,
    pub(super) port: u16,
    authority: String,
}

/// Why a URL names no link that this client can reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadTarget(String);

impl fmt::Display for BadTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadTarget {}

impl Target {
    /// Reads a `ws://` URL: a host, a port (80 where it has none), and no path but `/v1/link`.
    ///
    /// # Errors
    /// No URL, another scheme, `wss://` (TLS is left to a proxy), a user name, another path.
    pub fn parse(url: &str) -> Result<Self, BadTarget> {
        let bad = |why: &str| BadTarget(format!("`{url}` {why}"));
        let uri: Uri = url.parse().map_err(|error| bad(&format!("is no URL: {error}")))?;
        match uri.scheme_str() {
            Some("ws") => {}
            Some("wss") => return Err(bad("asks for TLS, which a link does not speak yet: put a proxy in between")),
            _ => return Err(bad("must begin with ws://")),
        }
        let authority = uri.authority().ok_or_else(|| bad("has no host"))?.to_string();
        if authority.contains('@') {
            return Err(bad("holds a user name, but backends show an API key"));
        }
        if !matches!(uri.path(), "" | "/" | PATH) || uri.query().is_some() {
            return Err(bad("has a path: links are at /v1/link, which need not be said"));
        }
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(bad("has no host"));
        }
        Ok(Self { host: host.to_owned(), port: uri.port_u16().unwrap_or(80), authority })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ws://{}{PATH}", self.authority)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (url, host, port, shown) in [
            ("ws://127.0.0.1:8082", "127.0.0.1", 8082, "ws://127.0.0.1:8082/v1/link"),
            ("ws://gw.example/v1/link", "gw.example", 80, "ws://gw.example/v1/link"),
            ("ws://[::1]:9/", "::1", 9, "ws://[::1]:9/v1/link"),
        ] {
            let target = Target::parse(url).unwrap();
            assert_eq!((target.host.as_str(), target.port, target.to_string().as_str()), (host, port, shown));
        }
        for (url, word) in [
            ("wss://gw.example", "proxy"),
            ("http://gw.example", "ws://"),
            ("ws://user:pw@gw.example", "key"),
            ("ws://gw.example/v1/agent", "path"),
            ("ws://gw.example?x=y", "path"),
            ("ws://", "URL"),
        ] {
            let error = Target::parse(url).unwrap_err().to_string();
            assert!(error.contains(word), "{url}: {error}");
        }
    }
}
