//! Under `serve --dev`, where no key is asked for: keeps web pages of other sites out.
//!
//! Owns which requests are foreign. It knows nothing of keys: with them, a page that has none gets no further anyway.
//!
//! Any page in a browser on this machine may send requests to loopback, and a simple POST needs no preflight. The browser
//! writes where the page came from into `Origin`, and pages cannot change that. A page whose own name was made to resolve to
//! loopback (DNS rebinding) is of the same origin as this port, but its name stands in `Host`.

use axum::http::header::{self, HeaderName};
use axum::http::{HeaderMap, HeaderValue};

use super::problem::{Fault, Kind, Problem};
use super::setup::Access;
use crate::wire::origin;

/// Lets a request pass that comes from this machine's own pages or from no page at all. Programs that are no browsers send
/// no `Origin`, and call this port by a loopback name or address.
///
/// # Errors
/// 403 that names the field.
pub fn check(access: &Access, headers: &HeaderMap) -> Result<(), Problem> {
    match access {
        Access::Keys(_) => Ok(()),
        Access::Dev => {
            all(headers, header::ORIGIN, origin::is_loopback)?;
            all(headers, header::HOST, origin::is_loopback_host)
        }
    }
}

fn all(headers: &HeaderMap, name: HeaderName, is_ours: impl Fn(&str) -> bool) -> Result<(), Problem> {
    let ours = |value: &HeaderValue| value.to_str().is_ok_and(&is_ours);
    if headers.get_all(&name).iter().all(ours) {
        return Ok(());
    }
    let fault = Fault::parameter(name.as_str(), "is not localhost, *.localhost, 127.0.0.0/8 or [::1]");
    Err(Problem::new(Kind::ForeignOrigin).errors(vec![fault]))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::auth::api_key::ApiKeys;

    fn headers(fields: &[(HeaderName, &[u8])]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_bytes(value).unwrap())).collect()
    }

    #[test]
    fn only_this_machine_passes_in_development() {
        const HOST: (HeaderName, &[u8]) = (header::HOST, b"localhost:8081");
        let origin = |value| (header::ORIGIN, value);
        for (fields, passes) in [
            (vec![], true),
            (vec![HOST], true),
            (vec![HOST, origin(b"http://localhost:3000" as &[u8])], true),
            (vec![HOST, origin(b"https://app.localhost")], true),
            (vec![HOST, origin(b"https://evil.example")], false),
            (vec![HOST, origin(b"null")], false),
            (vec![HOST, origin(b"")], false),
            (vec![HOST, origin(b"http://localhost\xff")], false),
            (vec![HOST, origin(b"http://localhost"), origin(b"http://evil.example")], false),
            (vec![(header::HOST, b"evil.example:8081")], false),
            (vec![HOST, (header::HOST, b"evil.example")], false),
        ] {
            let headers = headers(&fields);
            assert_eq!(check(&Access::Dev, &headers).is_ok(), passes, "{fields:?}");
            let keys = Access::Keys(ApiKeys::new(&[]).unwrap());
            assert!(check(&keys, &headers).is_ok(), "{fields:?}");
        }
    }
}
