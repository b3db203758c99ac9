//! A `ws://` or `wss://` URL: where a WebSocket client connects, and what it asks for there (RFC 6455 section 3).
//!
//! Owns what such a URL may hold, and how much of it may be shown. Which paths make sense is known to who reads it; nothing is
//! resolved or opened here.

use std::fmt;

use tungstenite::http::Uri;

/// How a client connects (RFC 6455 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `ws://`: without TLS.
    Plain,
    /// `wss://`: with TLS.
    Secured,
}

impl Scheme {
    /// The port where the URL has none.
    fn port(self) -> u16 {
        match self {
            Self::Plain => 80,
            Self::Secured => 443,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "ws",
            Self::Secured => "wss",
        })
    }
}

/// A `ws://` or `wss://` URL, taken apart.
#[derive(Clone, PartialEq, Eq)]
pub struct WsUrl {
    /// With TLS or without.
    pub scheme: Scheme,
    /// A name or an address, without the brackets of IPv6; never empty.
    pub host: String,
    /// The port; 80, or 443 with TLS, where the URL has none.
    pub port: u16,
    /// Host and port as they were written.
    pub authority: String,
    /// What follows, up to a `?`; `/` where there is nothing.
    pub path: String,
    /// What follows a `?`, without it. It may hold a token: never show it.
    pub query: Option<String>,
}

/// Why a text is no URL that a client of ours can connect to: the URL without what may be secret in it, and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadUrl(String);

impl BadUrl {
    /// Says of `url` that it `why`, such as "has no host". Of `url` only what may be shown is kept.
    pub(crate) fn new(url: &str, why: &str) -> Self {
        Self(format!("`{}` {why}", shown(url)))
    }
}

impl fmt::Display for BadUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadUrl {}

/// Without the query.
impl fmt::Debug for WsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WsUrl")
            .field("scheme", &self.scheme)
            .field("host", &self.host)
            .field("port", &self.port)
            .field("authority", &self.authority)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// What may be shown of a text that was to be a URL: neither what follows a `?` or a `#`, where tokens are, nor what is before an
/// `@`, where passwords are. The text need not be a URL, so it is cut without being understood, and too much rather than too little.
fn shown(url: &str) -> String {
    let cut = url.find(['?', '#']).unwrap_or(url.len());
    let (head, tail) = url.split_at(cut);
    let is_scheme = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let (scheme, rest) = match head.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => (format!("{scheme}://"), rest),
        _ => (String::new(), head),
    };
    // A password with a `?` in it ends behind the cut, and all before it may be a part of it.
    let rest = if tail.contains('@') { "…" } else { rest.rsplit('@').next().unwrap_or_default() };
    scheme + rest
}

impl WsUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// No URL, another scheme, no host, no such port, a user name in it.
    pub fn parse(url: &str) -> Result<Self, BadUrl> {
        let bad = |why: &str| BadUrl::new(url, why);
        let uri: Uri = url.parse().map_err(|error| bad(&format!("is no URL: {error}")))?;
        let scheme = match uri.scheme_str().map(str::to_ascii_lowercase).as_deref() {
            Some("ws") => Scheme::Plain,
            Some("wss") => Scheme::Secured,
            _ => return Err(bad("must begin with ws:// or wss://")),
        };
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
            port => port.unwrap_or(scheme.port()),
        };
        Ok(Self {
            scheme,
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
            ("wss://h/x", "h", 443, "h", "/x", None),
            ("wss://h:8443", "h", 8443, "h:8443", "/", None),
            ("WS://h?access_token=t", "h", 80, "h", "/", Some("access_token=t")),
        ] {
            let read = WsUrl::parse(url).unwrap_or_else(|error| panic!("{error}"));
            let (host, authority, path) = (host.to_owned(), authority.to_owned(), path.to_owned());
            let scheme = if url.starts_with("wss") { Scheme::Secured } else { Scheme::Plain };
            assert_eq!(read, WsUrl { scheme, host, port, authority, path, query: query.map(str::to_owned) }, "{url}");
        }
    }

    #[test]
    fn bad_urls_say_why() {
        for (url, word) in [
            ("http://gw.example", "ws://"),
            ("gw.example:80", "ws://"),
            ("/v1/agent", "ws://"),
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
    fn what_may_be_secret_is_never_shown() {
        for (url, told) in [
            ("http://gw.example?access_token=hush", "`http://gw.example` must begin"),
            ("gw.example:80?access_token=hush", "`gw.example:80` "),
            ("/v1/agent?access_token=hush", "`/v1/agent` must begin"),
            ("ws://h:65536?access_token=hush", "`ws://h:65536` has a port"),
            ("ws://:80/x?access_token=hush", "`ws://:80/x` has no host"),
            ("ws:// h?access_token=hush", "`ws:// h` is no URL"),
            ("ws://hush:hush@gw.example/x", "`ws://gw.example/x` holds a user name"),
            ("hush:hush@gw.example", "`gw.example` "),
            ("ws://hush@hush@h/", "`ws://h/` "),
            ("ws://user:hu/sh@h\u{7f}", "`ws://h\u{7f}` is no URL"),
            ("hush@x://h", "`x://h` "),
            // Where the password ends is not to be told from a query.
            ("ws://hush:hush?hush@h", "`ws://…` "),
            ("ws://hush:hush/hush#hush@h", "`ws://…` "),
            ("hush?hush@h", "`…` "),
            ("http://h?access_token=hush@hush", "`http://…` "),
        ] {
            let error = WsUrl::parse(url).expect_err("a bad URL");
            for text in [error.to_string(), format!("{error:?}")] {
                assert!(!text.contains("hu") && !text.contains("sh@"), "{url}: {text}");
            }
            assert!(error.to_string().starts_with(told), "{url}: {error}");
        }
        let read = WsUrl::parse("ws://gw.example:9/x?access_token=hush").expect("a good URL");
        assert_eq!(
            format!("{read:?}"),
            r#"WsUrl { scheme: Plain, host: "gw.example", port: 9, authority: "gw.example:9", path: "/x", .. }"#
        );
    }

    #[test]
    fn a_path_that_is_named_stays() {
        for (url, path) in [("ws://h", "/usual"), ("ws://h/?q", "/usual"), ("ws://h/x", "/x"), ("ws://h//", "//")] {
            assert_eq!(WsUrl::parse(url).expect("a good URL").path_or("/usual"), path, "{url}");
        }
    }
}
