//! What the fuzz target checks of tokens about any bytes at all; `fuzz/` and property tests run it.
//!
//! A body panics when an invariant breaks. Nothing in the product calls it. Its keys are those of the tests.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::claims::{self, Rules};
use super::limits::{LABEL_BYTES_MAX, LABELS_MAX, METHODS_MAX};
use super::token::{Algorithm, Claims, KeySource, Verifier};
use crate::kit::ids::is_name;

/// When tokens are looked at.
const NOW_UNIX: u64 = 1_800_000_000;
const LEEWAY_SECS: u64 = 30;
const AUDIENCE: &str = "holdfast";
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

static VERIFIER: LazyLock<Result<Verifier, String>> = LazyLock::new(|| {
    let keys: [(&str, Algorithm, &[u8]); 4] = [
        ("hs", Algorithm::Hs256, SECRET),
        ("rs", Algorithm::Rs256, include_bytes!("fixtures/rs256.pub.pem")),
        ("es", Algorithm::Es256, include_bytes!("fixtures/es256.pub.pem")),
        ("ed", Algorithm::EdDsa, include_bytes!("fixtures/eddsa.pub.pem")),
    ];
    let keys = keys.map(|(id, algorithm, material)| KeySource {
        id: id.to_owned(),
        algorithm,
        material: material.to_vec(),
        tenant: None,
    });
    Verifier::new(&keys, Some(AUDIENCE), LEEWAY_SECS)
});

/// The first byte says what the rest is: a token as it is sent; a header, a line's end and a payload that nobody has signed; or a
/// payload whose signature was good. Nobody gets in who has not the key, and whoever gets in has a name, an end and few labels.
pub fn token(bytes: &[u8]) {
    let (Some((&what, rest)), Ok(verifier)) = (bytes.split_first(), &*VERIFIER) else {
        return;
    };
    match what % 3 {
        0 => as_sent(verifier, rest),
        1 => unsigned(verifier, rest),
        _ => {
            let rules = Rules { audiences: vec![AUDIENCE.to_owned()], leeway_secs: LEEWAY_SECS, ..Rules::default() };
            if let Ok(claims) = claims::read(rest, &rules, NOW_UNIX) {
                check_claims(&claims);
            }
        }
    }
}

fn as_sent(verifier: &Verifier, bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match verifier.examine(text, NOW_UNIX) {
        Ok(claims) => {
            check_claims(&claims);
            assert!(verifier.examine(&format!("{text}A"), NOW_UNIX).is_err(), "a longer signature is no signature");
            assert!(verifier.examine(&format!("A{text}"), NOW_UNIX).is_err(), "another header was not signed");
            assert!(verifier.examine(text, claims.expires_unix + LEEWAY_SECS).is_err(), "it has an end");
        }
        Err(fault) => assert_eq!(verifier.verify(text, NOW_UNIX).err(), Some(fault.refused())),
    }
}

fn unsigned(verifier: &Verifier, bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (header, payload) = bytes.split_at(end);
    let [header, payload] = [header, payload].map(|part| URL_SAFE_NO_PAD.encode(part));
    for signature in ["", "AAAA", &payload] {
        let token = format!("{header}.{payload}.{signature}");
        assert!(verifier.verify(&token, NOW_UNIX).is_err(), "nobody signed {token}");
    }
}

fn check_claims(claims: &Claims) {
    assert!(is_name(&claims.agent) && is_name(&claims.tenant), "{claims:?}");
    assert!(claims.expires_unix.saturating_add(LEEWAY_SECS) > NOW_UNIX, "{claims:?}");
    assert!(claims.labels.len() <= LABELS_MAX, "{claims:?}");
    let is_short = |text: &String| text.len() <= LABEL_BYTES_MAX;
    assert!(claims.labels.iter().all(|(key, value)| !key.is_empty() && is_short(key) && is_short(value)), "{claims:?}");
    assert!(claims.labels.windows(2).all(|pair| pair[0].0 < pair[1].0), "{claims:?}");
    let methods = claims.methods.as_deref().unwrap_or_default();
    assert!(methods.len() <= METHODS_MAX && methods.is_sorted(), "{claims:?}");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::kit::seeds;

    proptest! {
        #[test]
        fn token(what in 0..3u8, header in r#"\{"alg":"(HS256|none|RS256|EdDSA|hs256)"(,"(kid|crit|typ|alg)":("hs"|"rs"|\["x"\]|null)){0,2}\}"#,
                 payload in r#"\{("(sub|exp|nbf|aud|tenant|labels|methods)":("[a-z:]{0,3}"|\["[a-z*]{0,3}"\]|[0-9.e+-]{1,9}|\{"a":"b"\}|"holdfast"|1900000000|null),?){0,6}\}"#) {
            let text = match what {
                0 => format!("\0{header}.{payload}.x"),
                1 => format!("\x01{header}\n{payload}"),
                _ => format!("\x02{payload}"),
            };
            super::token(text.as_bytes());
        }
    }

    #[test]
    fn seeds() {
        seeds::run("token", super::token);
    }
}
