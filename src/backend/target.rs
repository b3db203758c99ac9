//! Where a gateway serves links, from a URL.

use std::fmt;

use crate::wire::url::{BadUrl, WsUrl};

/// Path of the control link.
const PATH: &str = "/v1/link";

/// Where a gateway serves links, from a URL such as `ws://127.0.0.1:8082`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target(pub(super) WsUrl);

impl Target {
    /// Reads a `ws://` or `wss://` URL: a host, a port (80 or 443 where it has none), and no path but `/v1/link`.
    ///
    /// # Errors
    /// As [`WsUrl::parse`]; another path, a query.
    pub fn parse(url: &str) -> Result<Self, BadUrl> {
        let read = WsUrl::parse(url)?;
        if read.path_or(PATH) != PATH || read.query.is_some() {
            return Err(BadUrl::new(url, "has a path or a query: links are at /v1/link, which need not be said"));
        }
        Ok(Self(read))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{PATH}", self.0.scheme, self.0.authority)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_link_has_one_path() {
        for (url, shown) in [
            ("ws://127.0.0.1:8082", "ws://127.0.0.1:8082/v1/link"),
            ("ws://gw.example/v1/link", "ws://gw.example/v1/link"),
            ("ws://[::1]:9/", "ws://[::1]:9/v1/link"),
            ("wss://gw.example", "wss://gw.example/v1/link"),
        ] {
            assert_eq!(Target::parse(url).unwrap().to_string(), shown);
        }
        for (url, word) in [
            ("ws://gw.example/v1/agent", "path"),
            ("ws://gw.example/v1/link/", "path"),
            ("ws://gw.example?x=y", "query"),
        ] {
            let error = Target::parse(url).unwrap_err().to_string();
            assert!(error.contains(word), "{url}: {error}");
        }
        let (bad, good) = ("ws://gw.example?access_token=hush", "ws://gw.example/v1/link");
        assert!(!Target::parse(bad).unwrap_err().to_string().contains("hush"));
        assert!(format!("{:?}", Target::parse(good).unwrap()).contains("gw.example"));
    }
}
