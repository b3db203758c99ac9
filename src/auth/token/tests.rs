//! Tokens of foreign make, each refusal, and each way to confuse the check.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair,
};
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::super::algorithm::KeyKind;
use super::super::claims::read_methods;
use super::super::limits::{LABEL_BYTES_MAX, LABELS_MAX, METHODS_MAX};
use super::*;

const NOW: u64 = 1_800_000_000;
const LEEWAY: u64 = 30;
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn source(id: &str, algorithm: Algorithm, material: &[u8]) -> KeySource {
    KeySource { id: id.into(), algorithm, material: material.into(), tenant: None }
}

fn hs(id: &str) -> KeySource {
    source(id, Algorithm::Hs256, SECRET)
}

fn pinned(id: &str, tenant: &str) -> KeySource {
    KeySource { tenant: Some(tenant.into()), ..hs(id) }
}

fn verifier(keys: &[KeySource]) -> Verifier {
    Verifier::new(keys, None, LEEWAY).unwrap()
}

fn claims() -> Claims {
    Claims {
        agent: "web-1".into(),
        tenant: "acme".into(),
        labels: vec![("arch".into(), "arm64".into()), ("zone".into(), "eu".into())],
        methods: None,
        expires_unix: NOW + 3600,
        issued_unix: None,
        token_id: None,
    }
}

/// A token of any header and payload, signed with HS256 by `secret`.
fn signed(header: &str, payload: &str, secret: &[u8]) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let key = jsonwebtoken::EncodingKey::from_secret(secret);
    let hs256 = jsonwebtoken::Algorithm::HS256;
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, hs256).unwrap();
    format!("{message}.{signature}")
}

/// A token that says `payload`, correctly signed.
fn saying(payload: &str) -> String {
    signed(r#"{"alg":"HS256"}"#, payload, SECRET)
}

fn pem(tag: &str, der: &[u8]) -> Vec<u8> {
    let mut text = format!("-----BEGIN {tag}-----\n");
    for line in STANDARD.encode(der).as_bytes().chunks(64) {
        text.push_str(std::str::from_utf8(line).unwrap());
        text.push('\n');
    }
    text.push_str(&format!("-----END {tag}-----\n"));
    text.into_bytes()
}

/// A fresh pair: private and public PEM.
fn pair(algorithm: Algorithm) -> (Vec<u8>, Vec<u8>) {
    let (private, public): (Pkcs8V1Der<'_>, PublicKeyX509Der<'_>) = match algorithm.key_kind() {
        KeyKind::Secret => return (SECRET.to_vec(), SECRET.to_vec()),
        KeyKind::Rsa => {
            let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
            (key.as_der().unwrap(), key.public_key().as_der().unwrap())
        }
        kind @ (KeyKind::P256 | KeyKind::P384) => {
            let p256 = kind == KeyKind::P256;
            let curve = if p256 { &ECDSA_P256_SHA256_FIXED_SIGNING } else { &ECDSA_P384_SHA384_FIXED_SIGNING };
            let key = EcdsaKeyPair::generate(curve).unwrap();
            let private = key.to_pkcs8v1().unwrap();
            let public = key.public_key().as_der().unwrap();
            return (pem("PRIVATE KEY", private.as_ref()), pem("PUBLIC KEY", public.as_ref()));
        }
        KeyKind::Ed25519 => {
            let key = Ed25519KeyPair::generate().unwrap();
            (key.as_der().unwrap(), key.public_key().as_der().unwrap())
        }
    };
    (pem("PRIVATE KEY", private.as_ref()), pem("PUBLIC KEY", public.as_ref()))
}

#[test]
fn what_is_minted_is_good_for_each_algorithm() {
    for algorithm in Algorithm::ALL {
        let (private, public) = pair(algorithm);
        for id in ["k1", ""] {
            let token = mint(&source(id, algorithm, &private), None, &claims()).unwrap();
            let checked = verifier(&[source("k1", algorithm, &public)]).examine(&token, NOW);
            assert_eq!(checked, Ok(claims()), "{algorithm} {id:?}");
        }
        let other = match algorithm {
            Algorithm::Hs256 => vec![b'x'; 32],
            _ => pair(algorithm).1,
        };
        let token = mint(&source("k1", algorithm, &private), None, &claims()).unwrap();
        let checked = verifier(&[source("k1", algorithm, &other)]).examine(&token, NOW);
        assert_eq!(checked, Err(Fault::Signature), "{algorithm}");
    }
}

/// Tokens and PEM files that Node's crypto module made: `{sub: web-1, tenant: acme, labels, aud: [holdfast, other], nbf, exp}`.
#[test]
fn tokens_of_foreign_make_are_read() {
    let foreign: [(Algorithm, &str, &[u8], &str); 4] = [
        (Algorithm::Hs256, "hs", SECRET, include_str!("../fixtures/hs256.jwt")),
        (Algorithm::Rs256, "rs256", include_bytes!("../fixtures/rs256.pub.pem"), include_str!("../fixtures/rs256.jwt")),
        (Algorithm::Es256, "es256", include_bytes!("../fixtures/es256.pub.pem"), include_str!("../fixtures/es256.jwt")),
        (Algorithm::EdDsa, "eddsa", include_bytes!("../fixtures/eddsa.pub.pem"), include_str!("../fixtures/eddsa.jwt")),
    ];
    let expected = Claims { expires_unix: 2_000_000_000, ..claims() };
    let keys: Vec<_> = foreign.iter().map(|(algorithm, id, key, _)| source(id, *algorithm, key)).collect();
    let all = Verifier::new(&keys, Some("holdfast"), 0).unwrap();
    for (algorithm, _, _, token) in foreign {
        let token = token.trim();
        assert_eq!(all.examine(token, NOW), Ok(expected.clone()), "{algorithm}");
        assert_eq!(all.verify(token, 1_600_000_000), Err(Refused::NotYet));
        assert_eq!(all.verify(token, 2_000_000_000), Err(Refused::Expired));
        let changed = token.replacen(".eyJ", ".eyK", 1);
        assert_eq!(all.verify(&changed, NOW), Err(Refused::Unverified));
    }
}

/// RFC 7515 appendix A.1: the signature is right, and the claims are not ours.
#[test]
fn the_example_of_the_rfc_passes_as_far_as_its_claims() {
    let secret = URL_SAFE_NO_PAD
        .decode("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
        .unwrap();
    let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let check = verifier(&[source("rfc", Algorithm::Hs256, &secret)]);
    assert_eq!(check.examine(token, 1_300_819_379), Err(Fault::NoSubject));
    assert_eq!(check.examine(token, 1_300_819_380 + LEEWAY), Err(Fault::Expired(0)));
}

#[test]
fn each_refusal_of_the_claims() {
    let over = |n: usize| {
        let labels: Vec<_> = (0..n).map(|i| format!(r#""k{i}":"v""#)).collect();
        format!(r#"{{"sub":"a","exp":9e9,"labels":{{{}}}}}"#, labels.join(","))
    };
    let label = |key: usize, value: usize| {
        let (key, value) = ("k".repeat(key), "v".repeat(value));
        format!(r#"{{"sub":"a","exp":9e9,"labels":{{"{key}":"{value}"}}}}"#)
    };
    let check = verifier(&[hs("k")]);
    let max = LABEL_BYTES_MAX;
    for good in [
        r#"{"sub":"a","exp":9e9}"#,
        r#"{"sub":"a","exp":9000000000,"nbf":null,"tenant":null,"labels":null,"iss":"x","x":{"y":[1]}}"#,
        r#"{"sub":"a","exp":1800000000.5}"#,
        r#"{"sub":"a","exp":1e300,"nbf":-5}"#,
        &over(LABELS_MAX),
        &label(max, max),
        &label(1, 0),
    ] {
        assert!(check.examine(&saying(good), NOW).is_ok(), "{good}");
    }
    let cases = [
        (r#"{"sub":"a"}"#, Refused::Expired),
        (r#"{"sub":"a","exp":null}"#, Refused::Expired),
        (r#"{"sub":"a","exp":-1}"#, Refused::Expired),
        (r#"{"sub":"a","exp":"9000000000"}"#, Refused::Claims),
        (r#"{"sub":"a","exp":true}"#, Refused::Claims),
        (r#"{"sub":"a","exp":9e9,"exp":9e9}"#, Refused::Claims),
        (r#"{"sub":"a","exp":9e9,"nbf":8e9}"#, Refused::NotYet),
        (r#"{"sub":"a","exp":9e9,"nbf":"0"}"#, Refused::Claims),
        (r#"{"exp":9e9}"#, Refused::Claims),
        (r#"{"sub":"","exp":9e9}"#, Refused::Claims),
        (r#"{"sub":7,"exp":9e9}"#, Refused::Claims),
        (r#"{"sub":"a/b","exp":9e9}"#, Refused::Claims),
        (r#"{"sub":"a\u0000","exp":9e9}"#, Refused::Claims),
        (r#"{"sub":"a","sub":"b","exp":9e9}"#, Refused::Claims),
        (r#"{"sub":"a","exp":9e9,"tenant":""}"#, Refused::Claims),
        (r#"{"sub":"a","exp":9e9,"tenant":["t"]}"#, Refused::Claims),
        (r#"{"sub":"a","exp":9e9,"labels":{"k":1}}"#, Refused::Claims),
        (r#"{"sub":"a","exp":9e9,"labels":["k"]}"#, Refused::Claims),
        (r#"{"sub":"a","exp":9e9,"labels":{"k":"1","k":"1"}}"#, Refused::Claims),
        (r#"{"sub":"a","exp":9e9,"labels":{"":"1"}}"#, Refused::Claims),
        (&over(LABELS_MAX + 1), Refused::Claims),
        (&label(max + 1, 1), Refused::Claims),
        (&label(1, max + 1), Refused::Claims),
        (r#"{"sub":"a","exp":9e9} x"#, Refused::Claims),
        (r#"["a"]"#, Refused::Claims),
        ("", Refused::Claims),
    ];
    for (payload, expected) in cases {
        let token = saying(payload);
        assert_eq!(check.verify(&token, NOW), Err(expected), "{payload}");
    }
}

/// Absent is all, empty is none, and what is malformed lets nobody in: not even `null`, whoever wrote that may have meant none.
#[test]
fn the_methods_of_a_token_are_listed_or_it_is_refused() {
    let check = verifier(&[hs("k")]);
    let saying = |methods: &str| saying(&format!(r#"{{"sub":"a","exp":9e9{methods}}}"#));
    let many = |n: usize| (0..n).map(|i| format!(r#""m{i}""#)).collect::<Vec<_>>().join(",");
    let long = |n: usize| format!(r#","methods":["{}*"]"#, "m".repeat(n));
    for (claim, expected) in [
        ("", None),
        (r#","methods":[]"#, Some("")),
        (r#","methods":["*"]"#, Some("*")),
        (r#","methods":["ping","disk.*","ping","\u0061"]"#, Some("a ping disk.*")),
    ] {
        let methods = check.verify(&saying(claim), NOW).unwrap().methods;
        let text = |methods: Vec<_>| methods.iter().map(ToString::to_string).collect::<Vec<String>>().join(" ");
        assert_eq!(methods.map(text).as_deref(), expected, "{claim}");
    }
    for claim in [long(256), format!(r#","methods":[{}]"#, many(METHODS_MAX))] {
        assert!(check.verify(&saying(&claim), NOW).is_ok(), "{claim}");
    }
    for claim in [
        r#","methods":null"#,
        r#","methods":"*""#,
        r#","methods":{}"#,
        r#","methods":true"#,
        r#","methods":[7]"#,
        r#","methods":[null]"#,
        r#","methods":[["a"]]"#,
        r#","methods":[""]"#,
        r#","methods":["a*b"]"#,
        r#","methods":["ok","**"]"#,
        r#","methods":["a"],"methods":["a"]"#,
        &long(257),
        &format!(r#","methods":[{}]"#, many(METHODS_MAX + 1)),
    ] {
        assert_eq!(check.verify(&saying(claim), NOW), Err(Refused::Claims), "{claim}");
    }
}

#[test]
fn the_tenant_is_default_where_a_token_names_none_and_escapes_are_read() {
    let read = verifier(&[hs("k")]).verify(&saying(r#"{"sub":"\u0061","exp":9e9}"#), NOW).unwrap();
    assert_eq!((&*read.agent, &*read.tenant), ("a", "default"));
}

#[test]
fn the_edges_of_exp_and_nbf() {
    let token = saying(r#"{"sub":"a","exp":2000,"nbf":1000}"#);
    for leeway in [0, 30] {
        let check = Verifier::new(&[hs("k")], None, leeway).unwrap();
        for (now, expected) in [
            (1000 - leeway - 1, Some(Fault::NotYet(1))),
            (1000 - leeway, None),
            (1000, None),
            (2000 + leeway - 1, None),
            (2000 + leeway, Some(Fault::Expired(0))),
            (2000 + leeway + 7, Some(Fault::Expired(7))),
        ] {
            let fault = check.examine(&token, now).err();
            assert_eq!(fault, expected, "now {now}, leeway {leeway}");
        }
    }
    // Numbers at the end of their range are weather, too.
    let last = saying(r#"{"sub":"a","exp":18446744073709551615,"nbf":0}"#);
    let check = Verifier::new(&[hs("k")], None, u64::MAX).unwrap();
    assert!(check.verify(&last, 0).is_ok());
    assert_eq!(check.verify(&last, u64::MAX), Err(Refused::Expired));
}

#[test]
fn the_audience_must_be_ours_and_only_ours_when_we_have_one() {
    let with = |aud: &str| saying(&format!(r#"{{"sub":"a","exp":9e9{aud}}}"#));
    let named = Verifier::new(&[hs("k")], Some("gate"), LEEWAY).unwrap();
    let nameless = verifier(&[hs("k")]);
    for (aud, with_name, without) in [
        ("", Err(Refused::Audience), Ok(())),
        (r#","aud":null"#, Err(Refused::Audience), Ok(())),
        (r#","aud":"gate""#, Ok(()), Err(Refused::Audience)),
        (r#","aud":"g\u0061te""#, Ok(()), Err(Refused::Audience)),
        (r#","aud":["x","gate"]"#, Ok(()), Err(Refused::Audience)),
        (r#","aud":"Gate""#, Err(Refused::Audience), Err(Refused::Audience)),
        (r#","aud":[]"#, Err(Refused::Audience), Err(Refused::Audience)),
        (r#","aud":7"#, Err(Refused::Claims), Err(Refused::Claims)),
        (r#","aud":["gate",7]"#, Err(Refused::Claims), Err(Refused::Claims)),
    ] {
        let token = with(aud);
        assert_eq!(named.verify(&token, NOW).map(drop), with_name, "{aud}");
        assert_eq!(nameless.verify(&token, NOW).map(drop), without, "{aud}");
    }
    let minted = mint(&hs("k"), Some("gate"), &claims()).unwrap();
    assert_eq!(named.verify(&minted, NOW), Ok(claims()));
}

#[test]
fn a_kid_names_the_only_key_that_is_asked() {
    let other = source("other", Algorithm::Hs256, &[b'o'; 32]);
    let (_, public) = pair(Algorithm::Es256);
    let check = verifier(&[hs("mine"), other.clone(), source("ec", Algorithm::Es256, &public)]);
    let payload = r#"{"sub":"a","exp":9e9}"#;
    let fault = |header: &str| check.examine(&signed(header, payload, SECRET), NOW).err();
    assert_eq!(fault(r#"{"alg":"HS256","kid":"mine"}"#), None);
    assert_eq!(fault(r#"{"alg":"HS256"}"#), None);
    assert_eq!(fault(r#"{"alg":"HS256","kid":null}"#), None);
    assert_eq!(fault(r#"{"alg":"HS256","kid":"other"}"#), Some(Fault::Signature));
    assert_eq!(
        fault(r#"{"alg":"HS256","kid":"ec"}"#),
        Some(Fault::PinnedAlgorithm { key: "ec".into(), pinned: Algorithm::Es256, header: Algorithm::Hs256 })
    );
    for unknown in ["", "Mine", "../../etc/passwd"] {
        let header = format!(r#"{{"alg":"HS256","kid":"{unknown}"}}"#);
        assert_eq!(fault(&header), Some(Fault::UnknownKey(unknown.into())));
    }
    // Without a `kid`, the second key of the algorithm is asked as well.
    let by_other = signed(r#"{"alg":"HS256"}"#, payload, &other.material);
    assert!(check.verify(&by_other, NOW).is_ok());
}

#[test]
fn no_header_makes_a_key_into_something_else() {
    let (_, public) = pair(Algorithm::Rs256);
    let rs = source("rs", Algorithm::Rs256, &public);
    let payload = r#"{"sub":"a","exp":9e9}"#;
    let only_rsa = verifier(std::slice::from_ref(&rs));
    let both = verifier(&[rs, hs("hs")]);
    let text = std::str::from_utf8(&public).unwrap();
    let der = STANDARD.decode(text.lines().filter(|l| !l.starts_with('-')).collect::<String>()).unwrap();
    // The classic: the public key, which everybody has, as an HMAC secret.
    for secret in [&public[..], text.trim_end().as_bytes(), &der] {
        for header in [r#"{"alg":"HS256"}"#, r#"{"alg":"HS256","kid":"rs"}"#] {
            let token = signed(header, payload, secret);
            for check in [&only_rsa, &both] {
                assert_eq!(check.verify(&token, NOW), Err(Refused::Unverified));
            }
        }
    }
    // Signed over this very header by a secret that is good for HS256, so that only the `alg` is wrong.
    for alg in ["none", "None", "NONE", "", "hs256", "HS384", "HS512", "PS256", "ES384", "RS256", "EdDSA"] {
        let token = signed(&format!(r#"{{"alg":"{alg}"}}"#), payload, SECRET);
        let (message, _) = token.rsplit_once('.').unwrap();
        for token in [&token, &format!("{message}.")] {
            assert_eq!(both.verify(token, NOW), Err(Refused::Unverified), "{alg:?}");
        }
    }
    assert!(both.verify(&saying(payload), NOW).is_ok());
}

#[test]
fn headers_that_are_none() {
    let check = verifier(&[hs("k")]);
    let payload = r#"{"sub":"a","exp":9e9}"#;
    for header in [
        "",
        "{}",
        "[]",
        "null",
        r#""HS256""#,
        r#"{"alg":null}"#,
        r#"{"alg":["HS256"]}"#,
        r#"{"alg":"HS256","alg":"HS256"}"#,
        r#"{"alg":"HS256","kid":7}"#,
        r#"{"alg":"HS256","kid":"k","kid":"k"}"#,
        r#"{"alg":"HS256","crit":["exp"]}"#,
        r#"{"alg":"HS256","crit":["b64"],"b64":false}"#,
        r#"{"alg":"HS256"}}"#,
    ] {
        let token = signed(header, payload, SECRET);
        assert_eq!(check.verify(&token, NOW), Err(Refused::Unverified), "{header}");
    }
    // A key that the token brings along is not looked at, and does no harm.
    let jwk = r#"{"alg":"HS256","typ":"JWT","jku":"http://x/","jwk":{"kty":"oct","k":"AAAA"}}"#;
    assert!(check.verify(&signed(jwk, payload, SECRET), NOW).is_ok());
    assert_eq!(check.verify(&signed(jwk, payload, &[0; 32]), NOW), Err(Refused::Unverified));
}

#[test]
fn what_is_no_token() {
    let check = verifier(&[hs("k")]);
    assert_eq!(check.verify("", NOW), Err(Refused::Missing));
    let good = saying(r#"{"sub":"a","exp":9e9}"#);
    for bad in [
        ".",
        "..",
        "...",
        "a.b.c",
        "Bearer x.y.z",
        &format!("{good}."),
        &format!("{good}.{good}"),
        &format!("{good}="),
        &format!(" {good}"),
        &format!("{good}\n"),
        &good.replacen('.', "", 1),
    ] {
        assert_eq!(check.verify(bad, NOW), Err(Refused::Unverified), "{bad:?}");
    }
    for parts in ["a", "a.b", "a.b.c.d", "a.b.c.d.e"] {
        assert_eq!(check.examine(parts, NOW), Err(Fault::NotThreeParts));
    }
    assert!(check.verify(&good, NOW).is_ok());
}

#[test]
fn the_size_limit_holds_to_the_byte() {
    let check = verifier(&[hs("k")]);
    // base64 grows in steps of four characters for three bytes, so the pad is tried until the length fits.
    let of_size = |wanted: usize| {
        (0..wanted)
            .rev()
            .map(|pad| format!(r#"{{"sub":"a","exp":9e9,"pad":"{}"}}"#, "x".repeat(pad)))
            .map(|payload| saying(&payload))
            .find(|token| token.len() <= wanted)
            .unwrap()
    };
    let fits = of_size(TOKEN_BYTES_MAX);
    assert!(fits.len() > TOKEN_BYTES_MAX - 4);
    assert!(check.verify(&fits, NOW).is_ok());
    let large = of_size(TOKEN_BYTES_MAX + 4);
    assert!(large.len() > TOKEN_BYTES_MAX);
    assert_eq!(check.examine(&large, NOW), Err(Fault::TooLong(large.len())));
}

#[test]
fn a_pinned_key_speaks_for_its_tenant_alone() {
    let check = verifier(&[pinned("k", "acme")]);
    let of = |tenant: &str| {
        let claims = Claims { tenant: tenant.into(), ..claims() };
        mint(&hs("k"), None, &claims).unwrap()
    };
    assert!(check.verify(&of("acme"), NOW).is_ok());
    for other in ["other", "Acme", "default"] {
        let fault = check.examine(&of(other), NOW).unwrap_err();
        assert_eq!(fault, Fault::TenantOfKey("acme".into()));
        assert_eq!(fault.refused(), Refused::Claims);
    }
    let absent = saying(r#"{"sub":"a","exp":9e9}"#);
    assert_eq!(check.verify(&absent, NOW), Err(Refused::Claims));
    let mut foreign = claims();
    foreign.tenant = "other".into();
    assert!(mint(&pinned("k", "acme"), None, &foreign).is_err());
}

#[test]
fn without_keys_every_token_is_refused() {
    let token = mint(&hs("k"), None, &claims()).unwrap();
    assert_eq!(verifier(&[]).verify(&token, NOW), Err(Refused::Unverified));
}

#[test]
fn bad_keys_are_named_with_what_is_wrong() {
    let (private_rs, public_rs) = pair(Algorithm::Rs256);
    let (_, public_ec) = pair(Algorithm::Es256);
    let (_, public_ed) = pair(Algorithm::EdDsa);
    let certificate = pem("CERTIFICATE", &[0x30, 0]);
    let garbage = pem("PUBLIC KEY", &[0xff; 40]);
    let x25519 = b"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VuAyEAU0r8FVdkfQ8nfvsN1UnWUsFFzC5a6BoXTGNWCKCEJdo=\n-----END PUBLIC KEY-----\n";
    let small = include_bytes!("../fixtures/rsa1024.pub.pem");
    let p384 = include_bytes!("../fixtures/p384.pub.pem");
    let k256 = include_bytes!("../fixtures/k256.pub.pem");
    use Algorithm::{EdDsa, Es256, Hs256, Rs256};
    let cases: [(Algorithm, &[u8], &str); 21] = [
        (Hs256, b"", "has 0"),
        (Hs256, &SECRET[1..], "has 31"),
        (Hs256, b"0123456789abcdef0123456789abcde\r\n", "has 31"),
        (Hs256, &public_rs, "PEM file (PUBLIC KEY)"),
        (Hs256, &private_rs, "PEM file (PRIVATE KEY)"),
        (Rs256, SECRET, "not PEM"),
        (Rs256, b"", "not PEM"),
        (Es256, &[0xff; 64], "not PEM"),
        (Rs256, small, "has 1024"),
        (Rs256, &public_ec, "this is an EC key"),
        (Rs256, &public_ed, "this is an Ed25519 key"),
        (Es256, &public_rs, "this is an RSA key"),
        (Es256, &public_ed, "this is an Ed25519 key"),
        (EdDsa, &public_ec, "this is an EC key"),
        (EdDsa, &public_rs, "this is an RSA key"),
        (Es256, p384, "P-256"),
        (Es256, k256, "P-256"),
        (Rs256, &private_rs, "a private key"),
        (Rs256, &certificate, "a certificate"),
        (EdDsa, &garbage, "damaged PEM"),
        (EdDsa, x25519, "neither RSA, EC nor Ed25519"),
    ];
    for (algorithm, material, expected) in cases {
        let error = Verifier::new(&[source("k7", algorithm, material)], None, 0)
            .err()
            .unwrap_or_else(|| panic!("{algorithm} took what lacks {expected:?}"));
        assert!(error.starts_with("key \"k7\": "), "{error}");
        assert!(error.contains(expected), "{algorithm}: {error}");
    }
    let twice = Verifier::new(&[hs("a"), hs("b"), hs("a")], None, 0);
    assert!(twice.err().unwrap().starts_with("key \"a\": two keys"));
    assert!(Verifier::new(&[hs("")], None, 0).is_err());
    assert!(Verifier::new(&[pinned("k", "a b")], None, 0).is_err());
}

#[test]
fn a_line_ending_is_no_part_of_a_text_secret_but_a_byte_of_a_binary_one() {
    let with = |ending: &[u8]| [SECRET, ending].concat();
    for ending in [&b""[..], b"\n", b"\r\n", b"\n\n"] {
        let key = source("k", Algorithm::Hs256, &with(ending));
        let token = mint(&key, None, &claims()).unwrap();
        assert!(verifier(&[hs("k")]).verify(&token, NOW).is_ok());
    }
    for byte in [0x80, 0x01] {
        let binary = [&[byte; 32][..], b"\n"].concat();
        let token = signed(r#"{"alg":"HS256"}"#, r#"{"sub":"a","exp":9e9}"#, &binary);
        let check = verifier(&[source("k", Algorithm::Hs256, &binary)]);
        assert!(check.verify(&token, NOW).is_ok());
    }
    let phrase = "the wörds of a phrase, with spaces";
    let key = source("k", Algorithm::Hs256, format!("{phrase}\n").as_bytes());
    let token = signed(r#"{"alg":"HS256"}"#, r#"{"sub":"a","exp":9e9}"#, phrase.as_bytes());
    assert!(verifier(&[key]).verify(&token, NOW).is_ok());
}

#[test]
fn keys_that_cannot_sign_say_why() {
    let (_, public) = pair(Algorithm::Es256);
    let (private, _) = pair(Algorithm::EdDsa);
    let sec1 = pem("EC PRIVATE KEY", &[0x30, 0]);
    let sealed = pem("ENCRYPTED PRIVATE KEY", &[0x30, 0]);
    for (algorithm, material, expected) in [
        (Algorithm::Es256, &public[..], "signing needs the private"),
        (Algorithm::Es256, &private, "this is an Ed25519 key"),
        (Algorithm::Es256, &sec1, "PKCS #8"),
        (Algorithm::Rs256, &sealed, "encrypted"),
        (Algorithm::Rs256, b"x", "not PEM"),
        (Algorithm::Hs256, b"x", "has 1"),
    ] {
        let error = mint(&source("k", algorithm, material), None, &claims()).unwrap_err();
        assert!(error.contains(expected), "{algorithm}: {error}");
    }
    let mut nameless = claims();
    nameless.agent = "a b".into();
    assert!(mint(&hs("k"), None, &nameless).unwrap_err().contains("sub"));
}

#[test]
fn debug_shows_no_key() {
    let text = format!("{:?}", source("k", Algorithm::Hs256, b"visible-secret"));
    assert!(text.contains("\"k\"") && !text.contains("visible"));
    assert!(!text.contains("118"), "nor as a list of bytes: {text}");
}

#[test]
fn a_refusal_has_one_label_each() {
    let mut labels: Vec<_> = Refused::ALL.map(Refused::label).into();
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), Refused::ALL.len());
}

/// Every bit of a token counts: none can be turned, and no byte cut off.
#[test]
fn no_change_of_a_good_token_is_good() {
    let check = verifier(&[hs("k")]);
    let good = mint(&hs("k"), None, &claims()).unwrap();
    for cut in 0..good.len() {
        assert!(check.verify(&good[..cut], NOW).is_err(), "cut at {cut}");
    }
    for place in 0..good.len() {
        for bit in 0..7 {
            let mut bytes = good.clone().into_bytes();
            bytes[place] ^= 1 << bit;
            let changed = String::from_utf8(bytes).unwrap();
            assert!(check.verify(&changed, NOW).is_err(), "{place} {bit}");
        }
    }
}

fn name() -> impl Strategy<Value = String> {
    "[A-Za-z0-9._:@-]{1,128}"
}

proptest! {
    #[test]
    fn any_claims_in_form_survive_their_token(
        agent in name(),
        tenant in name(),
        labels in proptest::collection::btree_map("\\PC{1,32}", "\\PC{0,32}", 0..8),
        patterns in proptest::option::of(proptest::collection::btree_set("[^*]{1,32}\\*?", 0..8)),
        expires_unix in NOW + 1..u64::MAX,
        issued_unix in proptest::option::of(0..u64::MAX),
        token_id in proptest::option::of("\\PC{1,32}"),
    ) {
        let labels = labels.into_iter().collect();
        let methods = patterns.map(|patterns| read_methods(&patterns.into_iter().collect::<Vec<_>>()).unwrap());
        let claims = Claims { agent, tenant, labels, methods, expires_unix, issued_unix, token_id };
        let token = mint(&hs("k"), None, &claims).unwrap();
        prop_assert_eq!(verifier(&[hs("k")]).verify(&token, NOW), Ok(claims));
    }

    #[test]
    fn garbage_is_refused_without_a_panic(text in "\\PC{0,300}", header in ".{0,80}", payload in ".{0,200}") {
        let check = verifier(&[hs("k")]);
        prop_assert!(check.verify(&text, NOW).is_err());
        prop_assert!(check.verify(&signed(&header, &payload, SECRET), NOW).is_err());
        prop_assert!(check.verify(&saying(&payload), NOW).is_err());
    }

    #[test]
    fn garbage_with_the_look_of_json_is_refused_without_a_panic(
        sub in ".{0,8}", exp in any::<f64>(), nbf in any::<i64>(), extra in "[\\[{\"\\\\:,0-9a-f}\\]]{0,40}",
    ) {
        let payload = format!(r#"{{"sub":{sub:?},"exp":{exp},"nbf":{nbf},"labels":{extra}}}"#);
        let _ = verifier(&[hs("k")]).examine(&saying(&payload), NOW).map_err(|fault| fault.to_string());
    }

    #[test]
    fn key_files_of_garbage_are_refused_without_a_panic(der in proptest::collection::vec(any::<u8>(), 0..120), place in 0_usize..400, byte: u8) {
        for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa] {
            let private = source("k", algorithm, &pem("PRIVATE KEY", &der));
            prop_assert!(mint(&private, None, &claims()).is_err());
            prop_assert!(Verifier::new(&[source("k", algorithm, &pem("PUBLIC KEY", &der))], None, 0).is_err());
            // A real key with one byte changed may still be a key; it must not panic.
            let mut real = include_bytes!("../fixtures/rs256.pub.pem").to_vec();
            let place = place.min(real.len() - 1);
            real[place] = byte;
            let _ = Verifier::new(&[source("k", algorithm, &real)], None, 0);
        }
    }
}
