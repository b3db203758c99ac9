//! What must hold of any text that is taken for an origin or a URL.

use crate::wire::origin;
use crate::wire::origins::{AllowedOrigin, AllowedOrigins};
use crate::wire::url::{Scheme, WsUrl};

/// A part of a URL that is as long is not in its error by chance.
const TELLING_BYTES: usize = 8;

/// The first line is an entry of the allow-list, the rest what a browser sends. What is allowed is one origin, and the entry itself,
/// or one label in place of its star.
pub fn origins(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (entry, origin) = text.split_once('\n').unwrap_or((text, text));
    if origin::is_loopback(origin) || origin::is_loopback_host(origin) {
        assert!(!origin.contains(['@', ' ', ',', '?', '#', '\\', '\0']), "{origin}");
    }
    let Ok(entry) = entry.parse::<AllowedOrigin>() else {
        return;
    };
    let list = AllowedOrigins(vec![entry.clone()]);
    if !list.allow(origin) {
        return;
    }
    assert!(origin.is_ascii() && !origin.contains(['@', ' ', ',', '?', '#', '\\', '*']), "{origin}");
    let itself = origin.parse::<AllowedOrigin>();
    assert!(itself.is_ok(), "{origin}");
    assert_eq!(origin.matches("://").count(), 1, "{origin}");
    if itself.as_ref() != Ok(&entry) {
        assert_eq!(starred(origin).and_then(|starred| starred.parse().ok()), Some(entry), "{origin}");
    }
}

/// An origin with a star in place of its first label.
fn starred(origin: &str) -> Option<String> {
    let (scheme, host) = origin.split_once("://")?;
    let (_, rest) = host.split_once('.')?;
    Some(format!("{scheme}://*.{rest}"))
}

/// A URL that is taken has a host, no user, and reads the same when it is written again; one that is refused is told without what
/// may be secret in it.
pub fn url(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match WsUrl::parse(text) {
        Ok(url) => {
            assert!(!url.host.is_empty() && !url.authority.contains('@') && url.path.starts_with('/'), "{url:?}");
            let query = url.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
            let scheme = match url.scheme {
                Scheme::Plain => "ws",
                Scheme::Secured => "wss",
            };
            let again = WsUrl::parse(&format!("{scheme}://{}{}{query}", url.authority, url.path));
            assert!(again.as_ref() == Ok(&url), "{again:?} {url:?}");
            assert!(url.query.is_none_or(|query| !is_telling(text, &query) || !format!("{again:?}").contains(&query)));
        }
        Err(error) => {
            let error = error.to_string();
            // The URL, without the words about it, which the URL may hold by chance.
            let told = error.rsplit_once("` ").map_or(error.as_str(), |(url, _)| url);
            let (open, hidden) = text.split_at(text.find(['?', '#']).unwrap_or(text.len()));
            assert!(!is_telling(open, hidden) || !told.contains(hidden), "{told}");
            let user = open.split_once("://").map_or(open, |(_, rest)| rest).rsplit_once('@');
            // What is shown begins with the scheme, and its end may look like the beginning of a user.
            let is_hidden = |(user, rest)| !is_telling(&format!("://{rest}"), user) || !told.contains(user);
            assert!(user.is_none_or(is_hidden), "{told}");
        }
    }
}

/// Whether a part that is found in a message must have come from the hidden part: long, and not also in what may be shown.
fn is_telling(shown: &str, hidden: &str) -> bool {
    hidden.len() >= TELLING_BYTES && !shown.replace(hidden, "").is_empty() && !shown.contains(hidden)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::kit::seeds;

    proptest! {
        #[test]
        fn origins(entry in "https?://(\\*\\.)?([a-z]{1,3}\\.){0,2}(com|192\\.0\\.2\\.1|\\[::1\\])(:[0-9]{0,5})?",
                   origin in "(https?|null)?(://)?([a-b.@:/*]|\\PC|com|192\\.0\\.2\\.1){0,8}(:443|:80)?") {
            super::origins(format!("{entry}\n{origin}").as_bytes());
            super::origins(format!("{entry}\n{entry}").as_bytes());
        }

        #[test]
        fn url(text in "(ws|wss|http|x)?(:/?/?)?(user:password1@)?([a-z.:\\[\\]0-9]|\\PC){0,9}(:[0-9]{0,6})?(/[a-z%]{0,4})?([?#]access_token=[a-z@?]{0,9})?") {
            super::url(text.as_bytes());
        }
    }

    #[test]
    fn seeds_of_origins() {
        seeds::run("origins", super::origins);
    }

    #[test]
    fn seeds_of_url() {
        seeds::run("url", super::url);
    }
}
