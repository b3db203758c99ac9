//! Where a request came from, as its `Origin` and `Host` fields say: is that this machine?
//!
//! Owns the reading of these two values. It never decides what a foreign one may do: that is for the port that was asked.
//!
//! A browser writes `Origin` itself (RFC 6454, section 7) and pages cannot change it, so it tells a page of another site
//! from a page of this machine. `Host` is the name that the browser believes in: a foreign name that was made to resolve
//! to this machine (DNS rebinding) stands there as the foreign name.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Whether the value of an `Origin` field, `scheme://host[:port]`, names a loopback host. `null`, lists of origins and
/// whatever else is not one origin do not.
#[must_use]
pub fn is_loopback(origin: &str) -> bool {
    origin.split_once("://").is_some_and(|(scheme, authority)| is_scheme(scheme) && is_loopback_host(authority))
}

/// Whether the value of a `Host` field, `host[:port]`, names a loopback host: `localhost`, a name below `.localhost`
/// (RFC 6761, section 6.3), 127.0.0.0/8 or `[::1]`.
#[must_use]
pub fn is_loopback_host(authority: &str) -> bool {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest
            .split_once(']')
            .is_some_and(|(address, port)| address.parse() == Ok(Ipv6Addr::LOCALHOST) && is_port(port));
    }
    let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
    is_port(port) && (is_loopback_name(host) || is_loopback_v4(host))
}

/// RFC 3986, section 3.1.
pub(super) fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

/// Nothing, or a colon and a number.
fn is_port(text: &str) -> bool {
    text.strip_prefix(':')
        .map_or(text.is_empty(), |port| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok())
}

fn is_loopback_name(host: &str) -> bool {
    let mut labels = host.rsplit('.');
    labels.next().is_some_and(|last| last.eq_ignore_ascii_case("localhost")) && labels.all(is_label)
}

/// A part of a name between its dots, as loosely as resolvers take it.
pub(super) fn is_label(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

fn is_loopback_v4(host: &str) -> bool {
    host.parse().is_ok_and(|address: Ipv4Addr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: [&str; 9] = [
        "localhost",
        "LocalHost:8081",
        "app.localhost",
        "a.b-c.localhost:3000",
        "127.0.0.1",
        "127.0.0.1:8081",
        "127.255.3.4:65535",
        "[::1]",
        "[::1]:8081",
    ];

    const FOREIGN: [&str; 27] = [
        "",
        ":80",
        ".localhost",
        "a..localhost",
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "notlocalhost",
        "evil.example/.localhost",
        "evil.example?.localhost",
        "evil.example#.localhost",
        "evil.example\\.localhost",
        "user@localhost",
        "localhost@evil.example",
        "localhost:",
        "localhost:+80",
        "localhost:65536",
        "localhost:80:80",
        "localhost /",
        "128.0.0.1",
        "10.0.0.1:8081",
        "0.0.0.0",
        "127.1",
        "[::2]",
        "[::1",
        "[::1]x",
        "::1",
    ];

    #[test]
    fn hosts_of_this_machine_are_told_from_others() {
        for host in LOOPBACK {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in FOREIGN {
            assert!(!is_loopback_host(host), "{host}");
        }
    }

    #[test]
    fn an_origin_is_a_scheme_and_a_host() {
        for host in LOOPBACK {
            for scheme in ["http", "HTTPS", "app+x.y-1"] {
                assert!(is_loopback(&format!("{scheme}://{host}")), "{host}");
            }
            for wrong in [
                host.to_owned(),
                format!("://{host}"),
                format!("//{host}"),
                format!("1x://{host}"),
                format!("http:{host}"),
                format!("http://{host}/"),
                format!("http://{host} http://{host}"),
                format!("http://{host}://{host}"),
            ] {
                assert!(!is_loopback(&wrong), "{wrong}");
            }
        }
        for host in FOREIGN {
            assert!(!is_loopback(&format!("http://{host}")), "{host}");
        }
        assert!(!is_loopback("null"));
    }
}
