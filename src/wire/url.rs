//! A `ws://` URL: where a WebSocket client connects, and what it asks for there (RFC 6455 section 3).
//!
//! Owns what such a URL may hold. Which paths make sense is known to who reads it; nothing is resolved or opened here.

use std::fmt;

use tungstenite::http::Uri;

/// The port where the URL has none.
const PORT: u16 = 80;

/// A `ws://` URL, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WsUrl {
    /// A name or an address, without the brackets of IPv6; never empty.
    pub host: String,
    /// The port; 80 where the URL has none.
    pub port: u16,
    /// Host and port as they were written.
    pub authority: String,
    /// What follows, up to a `?`; `/` where there is nothing.
    pub path: String,
    /// What follows a `?`, without it. It may hold a token: never show it.
    pub query: Option<String>,
}

/// Why a text is no URL that a client of ours can connect to: the URL, and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadUrl(String);

impl BadUrl {
    /// Says of `url` that it `why`, such as "has no host".
    pub(crate) fn new(url: &str, why: &str) -> Self {
        Self(format!("`{url}` {why}"))
    }
}

impl fmt::Display for BadUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadUrl {}

impl WsUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// No URL, another scheme, `wss://` (TLS is left to a proxy), no host, no such port, a user name in it.
    pub fn parse(url: &str) -> Result<Self, BadUrl> {
        let bad = |why: &str| BadUrl::new(url, why);
        let uri: Uri = url.parse().map_err(|error| bad(&format!("is no URL: {error}")))?;
        match uri.scheme_str().map(str::to_ascii_lowercase).as_deref() {
            Some("ws") => {}
            Some("wss") => {
                return Err(bad(
                    "asks for TLS, which this client does not speak yet: run a proxy that does (stunnel, nginx, envoy) next to it and connect to that with ws://",
                ));
            }
            _ => return Err(bad("must begin with ws://")),
        }
        let authority = uri.authority().ok_or_else(|| bad("has no host"))?.as_str();
        if authority.contains('@') {
            return Err(bad(
                "holds a user name, but agents show a token and backends an API key: there is an option for it",
            ));
        }
        let bracketed = uri.host().unwrap_or_default();
        let host = bracketed.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(bad("has no host"));
        }
        // An empty port is allowed, and is the usual one (RFC 3986 section 3.2.3).
        let port = match uri.port_u16() {
            None if !matches!(authority.strip_prefix(bracketed), Some("" | ":")) => {
                return Err(bad("has a port that is none: 0 to 65535"));
            }
            port => port.unwrap_or(PORT),
        };
        Ok(Self {
            host: host.to_owned(),
            port,
            authority: authority.to_owned(),
            path: if uri.path().is_empty() { "/" } else { uri.path() }.to_owned(),
            query: uri.query().map(str::to_owned),
        })
    }

    /// The path, or `usual` where the URL names none.
    #[must_use]
    pub fn path_or<'a>(&'a self, usual: &'a str) -> &'a str {
        if self.path == "/" { usual } else { &self.path }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (url, host, port, authority, path, query) in [
            ("ws://127.0.0.1:8080", "127.0.0.1", 8080, "127.0.0.1:8080", "/", None),
            ("ws://gw.example/", "gw.example", 80, "gw.example", "/", None),
            ("ws://gw.example/v1/link", "gw.example", 80, "gw.example", "/v1/link", None),
            ("ws://[::1]:9/x?y=z", "::1", 9, "[::1]:9", "/x", Some("y=z")),
            ("ws://[::1]", "::1", 80, "[::1]", "/", None),
            ("ws://h:/x", "h", 80, "h:", "/x", None),
            ("WS://h?access_token=t", "h", 80, "h", "/", Some("access_token=t")),
        ] {
            let read = WsUrl::parse(url).unwrap_or_else(|error| panic!("{error}"));
            let (host, authority, path) = (host.to_owned(), authority.to_owned(), path.to_owned());
            assert_eq!(read, WsUrl { host, port, authority, path, query: query.map(str::to_owned) }, "{url}");
        }
    }

    #[test]
    fn bad_urls_say_why() {
        for (url, word) in [
            ("wss://gw.example", "proxy"),
            ("http://gw.example", "ws://"),
            ("gw.example:80", "ws://"),
            ("/v1/agent", "ws://"),
            ("ws://user:pw@gw.example", "token"),
            ("ws://:80", "no host"),
            ("ws://h:65536", "65535"),
            ("ws://[::1]:99999", "65535"),
            ("", "URL"),
            ("ws://", "URL"),
        ] {
            let error = WsUrl::parse(url).expect_err("a bad URL").to_string();
            assert!(error.starts_with(&format!("`{url}` ")) && error.contains(word), "{url}: {error}");
        }
    }

    #[test]
    fn a_path_that_is_named_stays() {
        for (url, path) in [("ws://h", "/usual"), ("ws://h/?q", "/usual"), ("ws://h/x", "/x"), ("ws://h//", "//")] {
            assert_eq!(WsUrl::parse(url).expect("a good URL").path_or("/usual"), path, "{url}");
        }
    }
}
