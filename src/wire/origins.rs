//! Which web pages may open a WebSocket here: the allow-list that a browser's `Origin` is held against.
//!
//! Owns how an entry is written and what it allows. A request without `Origin` comes from no browser: that it passes is for the
//! caller to say. Names are compared as they are given, in ASCII without regard to case; nothing is decoded, resolved or looked up.
//!
//! A page cannot change its `Origin` (RFC 6454 section 7), and unlike other requests a WebSocket is no concern of CORS: without this
//! list any page that a user looks at could open one with whatever lets that user's browser in.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::origin::{is_label, is_scheme};

/// One entry: `scheme://host[:port]`, where the first label of the host may be `*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd)]
pub struct AllowedOrigin {
    /// Lower case.
    scheme: String,
    host: Host,
    /// `None` where there is none and the scheme has none by itself.
    port: Option<u16>,
}

/// Lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd)]
enum Host {
    Exact(String),
    /// One label, then this, which begins with a dot.
    Under(String),
}

impl AllowedOrigin {
    fn allows(&self, origin: &Origin<'_>) -> bool {
        let host = match &self.host {
            Host::Exact(host) => origin.host.eq_ignore_ascii_case(host),
            Host::Under(rest) => is_one_label_under(origin.host, rest),
        };
        host && origin.scheme.eq_ignore_ascii_case(&self.scheme) && origin.port == self.port
    }
}

/// An `Origin` field's value, cut into its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Origin<'a> {
    scheme: &'a str,
    /// A name, an IPv4 address, or an IPv6 address in brackets.
    host: &'a str,
    /// With the scheme's own port put in where none is written: browsers leave it out.
    port: Option<u16>,
}

impl<'a> Origin<'a> {
    /// Exactly `scheme://host[:port]`: no `null`, no list of origins, no user, path, query or fragment.
    fn parse(text: &'a str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let end = rest.find(']')? + 2;
                rest[..end - 2].parse::<Ipv6Addr>().ok()?;
                authority.split_at(end)
            }
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => default_port(scheme),
            Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().ok()?)
            }
            _ => return None,
        };
        (is_scheme(scheme) && is_host(host)).then_some(Self { scheme, host, port })
    }
}

/// Labels with dots between, of which one more may end the name; or what stands in brackets, which was parsed.
fn is_host(text: &str) -> bool {
    text.starts_with('[') || text.strip_suffix('.').unwrap_or(text).split('.').all(is_label)
}

fn default_port(scheme: &str) -> Option<u16> {
    let is_any = |names: [&str; 2]| names.iter().any(|name| scheme.eq_ignore_ascii_case(name));
    match () {
        () if is_any(["https", "wss"]) => Some(443),
        () if is_any(["http", "ws"]) => Some(80),
        () => None,
    }
}

/// Whether `host` is a label that is not empty, then `rest`.
fn is_one_label_under(host: &str, rest: &str) -> bool {
    let split = host.len().checked_sub(rest.len()).and_then(|at| host.split_at_checked(at));
    split.is_some_and(|(label, end)| is_label(label) && end.eq_ignore_ascii_case(rest))
}

/// Why a text is no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAnOrigin {
    /// Not `scheme://host[:port]`.
    Form,
    /// Letters outside of ASCII: browsers send the other form of such a name.
    NotAscii,
    /// A star that is not the whole first label.
    Star,
    /// A star before a single label, which would be half of the world.
    TooWide,
}

impl fmt::Display for NotAnOrigin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Form => "must be an origin as browsers send it, \"https://app.example.com\", with a port where it is not the usual one, and no path",
            Self::NotAscii => "must be written in ASCII: browsers send an international name as \"xn--…\"",
            Self::Star => "may have one star, which stands for the first label: \"https://*.example.com\"",
            Self::TooWide => "must have two labels or more behind its star",
        })
    }
}

impl std::error::Error for NotAnOrigin {}

impl FromStr for AllowedOrigin {
    type Err = NotAnOrigin;

    fn from_str(text: &str) -> Result<Self, NotAnOrigin> {
        if !text.is_ascii() {
            return Err(NotAnOrigin::NotAscii);
        }
        let starred = text.split_once("://*.").map(|(scheme, rest)| format!("{scheme}://{rest}"));
        let plain = starred.as_deref().unwrap_or(text);
        if plain.contains('*') {
            return Err(NotAnOrigin::Star);
        }
        let Origin { scheme, host, port } = Origin::parse(plain).ok_or(NotAnOrigin::Form)?;
        let host = host.to_ascii_lowercase();
        let host = match starred.is_some() {
            false => Host::Exact(host),
            true if host.starts_with('[') || host.parse::<Ipv4Addr>().is_ok() => return Err(NotAnOrigin::Form),
            true if !host.trim_end_matches('.').contains('.') => return Err(NotAnOrigin::TooWide),
            true => Host::Under(format!(".{host}")),
        };
        Ok(Self { scheme: scheme.to_ascii_lowercase(), host, port })
    }
}

/// The list. An empty one allows no browser at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd)]
pub struct AllowedOrigins(pub Vec<AllowedOrigin>);

impl AllowedOrigins {
    /// Whether the value of an `Origin` field is on the list. `null` and whatever is not one origin never is.
    #[must_use]
    pub fn allow(&self, origin: &str) -> bool {
        Origin::parse(origin).is_some_and(|origin| self.0.iter().any(|allowed| allowed.allows(&origin)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(entries: &[&str]) -> AllowedOrigins {
        AllowedOrigins(entries.iter().map(|entry| entry.parse().unwrap()).collect())
    }

    #[test]
    fn an_exact_entry_allows_itself_alone() {
        let list = list(&["https://app.example.com"]);
        for same in [
            "https://app.example.com",
            "https://app.example.com:443",
            "HTTPS://App.Example.COM",
            "https://app.example.com:0443",
        ] {
            assert!(list.allow(same), "{same}");
        }
        for other in [
            "",
            "null",
            "app.example.com",
            "//app.example.com",
            "http://app.example.com",
            "wss://app.example.com",
            "https://app.example.com:80",
            "https://app.example.com:8443",
            "https://app.example.com:",
            "https://app.example.com:+443",
            "https://app.example.com:65979",
            "https://app.example.com:443:443",
            "https://app.example.com.",
            "https://.app.example.com",
            "https://app..example.com",
            "https://app.example.com/",
            "https://app.example.com?x",
            "https://app.example.com#x",
            "https://app.example.com\\",
            "https://app.example.com.evil.example",
            "https://evilapp.example.com",
            "https://evil.app.example.com",
            "https://example.com",
            "https://app.example.co",
            "https://app.example.comm",
            "https://appxexample.com",
            "https://user@app.example.com",
            "https://app.example.com@evil.example",
            "https://app.example.com:443@evil.example",
            "https://app.example.com,https://app.example.com",
            "https://app.example.com https://app.example.com",
            "https://app.example.com https://evil.example",
            "https://https://app.example.com",
            "https://app%2eexample.com",
            "https://app\u{3002}example.com",
            " https://app.example.com",
            "https://*.example.com",
            "https://*",
        ] {
            assert!(!list.allow(other), "{other}");
        }
    }

    #[test]
    fn a_star_is_one_label() {
        let list = list(&["https://*.example.com", "http://*.dev.test:3000"]);
        for under in ["https://a.example.com", "https://A-1_b.EXAMPLE.com:443", "http://x.dev.test:3000"] {
            assert!(list.allow(under), "{under}");
        }
        for other in [
            "https://example.com",
            "https://.example.com",
            "https://a.b.example.com",
            "https://a..example.com",
            "https://aexample.com",
            "https://evil-example.com",
            "https://a.example.com.",
            "https://a.example.com.evil.example",
            "https://evil.example/.example.com",
            "https://evil.example#.example.com",
            "https://evil.example\\.example.com",
            "https://user@a.example.com",
            "https://a:b@c.example.com",
            "http://a.example.com",
            "https://a.example.com:8443",
            "http://x.dev.test",
            "http://x.dev.test:80",
            "http://x.dev.test:30000",
            "https://*.example.com",
            "null",
        ] {
            assert!(!list.allow(other), "{other}");
        }
    }

    #[test]
    fn every_form_of_host_can_be_listed() {
        for (entry, same, other) in [
            ("http://localhost:3000", "http://localhost:3000", "http://localhost:3001"),
            ("http://192.0.2.1", "http://192.0.2.1:80", "http://192.0.2.10"),
            ("https://[2001:db8::1]:8443", "https://[2001:DB8::1]:8443", "https://[2001:db8::1]"),
            ("https://xn--bcher-kva.example", "https://XN--bcher-kva.example", "https://bcher.example"),
            ("https://example.com.", "https://example.com.", "https://example.com"),
            ("https://app.example.com:443", "https://app.example.com", "https://app.example.com:444"),
            ("capacitor://localhost", "capacitor://localhost", "capacitor://localhost:80"),
            ("chrome-extension://abcdef", "chrome-extension://abcdef", "chrome-extension://abcdeg"),
        ] {
            let list = list(&["https://else.example", entry]);
            assert!(list.allow(same), "{entry} {same}");
            assert!(!list.allow(other), "{entry} {other}");
        }
        assert!(!AllowedOrigins::default().allow("https://app.example.com"));
    }

    #[test]
    fn what_is_no_origin_is_no_entry() {
        use NotAnOrigin::{Form, NotAscii, Star, TooWide};
        for (entry, why) in [
            ("", Form),
            ("null", Form),
            ("app.example.com", Form),
            ("https://", Form),
            ("https://app.example.com/", Form),
            ("https://user@app.example.com", Form),
            ("https://app.example.com:", Form),
            ("https://a b.example.com", Form),
            ("https://[::1", Form),
            ("https://::1", Form),
            ("1https://example.com", Form),
            ("https://*.192.0.2.1", Form),
            ("https://b\u{fc}cher.example", NotAscii),
            ("*", Star),
            ("https://*", Star),
            ("https://a*.example.com", Star),
            ("https://a.*.example.com", Star),
            ("https://*.*.example.com", Star),
            ("*://app.example.com", Star),
            ("https://app.example.com:*", Star),
            ("https://*.com", TooWide),
            ("https://*.com.", TooWide),
        ] {
            assert_eq!(entry.parse::<AllowedOrigin>(), Err(why), "{entry}");
        }
    }

    proptest! {
        /// Whatever a page may send: what is allowed has the listed host at its end, with one label before it at most.
        #[test]
        fn nothing_else_is_allowed(origin in "(https?|null)(://)?([a-b.@:/*]|example\\.com|evil){0,6}") {
            let list = list(&["https://*.example.com", "https://a.example.com"]);
            if list.allow(&origin) {
                let host = origin.strip_prefix("https://").unwrap();
                let label = host.strip_suffix(".example.com").unwrap();
                prop_assert!(!label.is_empty() && label.bytes().all(|byte| byte.is_ascii_lowercase()), "{}", origin);
            }
        }
    }
}
