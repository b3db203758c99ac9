//! Sets of keys as issuers publish them, and as nobody should.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair,
};
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::EncodingKey;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::issuer::Issuer;
use super::super::ring::{Freshness, Ring, Source};
use super::super::token::{Fault, Refused, Verifier};
use super::*;

const NOW: u64 = 1_800_000_000;
const LIMITS: SetLimits = SetLimits { bytes_max: 64 * 1024, keys_max: 8 };
const ISS: &str = "https://id.example.com/";

/// A key that signs, and its public half as a set has it.
struct Pair {
    signs: EncodingKey,
    public: Value,
}

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn rsa(size: KeySize) -> Pair {
    let key = RsaKeyPair::generate(size).unwrap();
    let private: Pkcs8V1Der<'_> = key.as_der().unwrap();
    let public = key.public_key();
    let (n, e) =
        (public.modulus().big_endian_without_leading_zero(), public.exponent().big_endian_without_leading_zero());
    let pem =
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(private.as_ref()));
    let signs = EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap();
    Pair { signs, public: json!({"kty": "RSA", "n": text(n), "e": text(e)}) }
}

fn ec(curve: &str) -> Pair {
    let algorithm = if curve == "P-256" { &ECDSA_P256_SHA256_FIXED_SIGNING } else { &ECDSA_P384_SHA384_FIXED_SIGNING };
    let key = EcdsaKeyPair::generate(algorithm).unwrap();
    let point = key.public_key().as_ref()[1..].to_vec();
    let (x, y) = point.split_at(point.len() / 2);
    Pair {
        signs: EncodingKey::from_ec_der(key.to_pkcs8v1().unwrap().as_ref()),
        public: json!({"kty": "EC", "crv": curve, "x": text(x), "y": text(y)}),
    }
}

fn ed() -> Pair {
    let key = Ed25519KeyPair::generate().unwrap();
    let private: Pkcs8V1Der<'_> = key.as_der().unwrap();
    Pair {
        signs: EncodingKey::from_ed_der(private.as_ref()),
        public: json!({"kty": "OKP", "crv": "Ed25519", "x": text(key.public_key().as_ref())}),
    }
}

fn with(public: &Value, more: Value) -> Value {
    let mut all = public.clone();
    for (name, value) in more.as_object().unwrap() {
        all[name] = value.clone();
    }
    all
}

fn set(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

fn token(pair: &Pair, algorithm: Algorithm, kid: Option<&str>, claims: &Value) -> String {
    let mut header = jsonwebtoken::Header::new(algorithm.backend());
    header.kid = kid.map(str::to_owned);
    jsonwebtoken::encode(&header, claims, &pair.signs).unwrap()
}

fn claims() -> Value {
    json!({"iss": ISS, "sub": "web-1", "aud": "holdfast", "tenant": "acme", "exp": NOW + 60})
}

fn ring(algorithms: &[Algorithm]) -> std::sync::Arc<Ring> {
    let (bell, _) = crossbeam_channel::bounded(1);
    let source = Source::Url("http://127.0.0.1/".into());
    std::sync::Arc::new(Ring::new("corporate".into(), source, algorithms.to_vec(), LIMITS, bell))
}

fn verifier(ring: &std::sync::Arc<Ring>, tenants: &[&str]) -> Verifier {
    let tenants = tenants.iter().map(|tenant| (*tenant).to_owned()).collect();
    let issuer = Issuer::new(ISS.into(), std::sync::Arc::clone(ring), vec!["holdfast".into()], tenants, 0);
    Verifier::new(&[], None, 0).unwrap().with_issuers(vec![issuer])
}

#[test]
fn each_algorithm_is_checked_with_a_published_key() {
    let pairs = [(rsa(KeySize::Rsa2048), "r"), (ec("P-256"), "p"), (ec("P-384"), "q"), (ed(), "e")];
    let published: Vec<Value> = pairs.iter().map(|(pair, kid)| with(&pair.public, json!({"kid": kid}))).collect();
    let all = &Algorithm::ALL[1..];
    let ring = ring(all);
    ring.put(&set(&published)).unwrap();
    let check = verifier(&ring, &["acme"]);
    for algorithm in all {
        let (pair, kid) = match algorithm.key_kind() {
            KeyKind::Rsa => &pairs[0],
            KeyKind::P256 => &pairs[1],
            KeyKind::P384 => &pairs[2],
            _ => &pairs[3],
        };
        for named in [Some(*kid), None] {
            let token = token(pair, *algorithm, named, &claims());
            let login = check.vouch(&token, NOW).unwrap_or_else(|fault| panic!("{algorithm} {named:?}: {fault}"));
            assert_eq!((login.claims.agent.as_str(), login.ends_unix), ("web-1", Some(NOW + 60)));
        }
        // Another key of the same kind, under the same id.
        let stranger = match algorithm.key_kind() {
            KeyKind::Rsa => rsa(KeySize::Rsa2048),
            KeyKind::P256 => ec("P-256"),
            KeyKind::P384 => ec("P-384"),
            _ => ed(),
        };
        let forged = token(&stranger, *algorithm, Some(kid), &claims());
        assert_eq!(check.verify(&forged, NOW), Err(Refused::Unverified), "{algorithm}");
    }
}

#[test]
fn no_token_chooses_what_a_published_key_is_used_for() {
    let pair = rsa(KeySize::Rsa2048);
    let pinned = with(&pair.public, json!({"kid": "k", "alg": "PS256"}));
    let ring = ring(&[Algorithm::Rs256, Algorithm::Ps256]);
    ring.put(&set(&[pinned])).unwrap();
    let check = verifier(&ring, &[]);
    let signed = |algorithm| check.vouch(&token(&pair, algorithm, Some("k"), &claims()), NOW).map(drop);
    assert_eq!(signed(Algorithm::Ps256), Ok(()));
    // Allowed for the issuer, not for this key; and good for the key, not allowed for the issuer.
    for algorithm in [Algorithm::Rs256, Algorithm::Ps384] {
        let fault = signed(algorithm).unwrap_err();
        assert!(matches!(fault, Fault::PinnedAlgorithm { .. }), "{algorithm}: {fault}");
    }
    // The classic: an HMAC with what everybody can read.
    let modulus = URL_SAFE_NO_PAD.decode(pair.public["n"].as_str().unwrap()).unwrap();
    for secret in
        [modulus, pair.public["n"].as_str().unwrap().as_bytes().to_vec(), set(std::slice::from_ref(&pair.public))]
    {
        for kid in [Some("k".to_owned()), None] {
            let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
            header.kid = kid;
            let forged = jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(&secret)).unwrap();
            let refused = check.verify(&forged, NOW).unwrap_err();
            assert!(matches!(refused, Refused::Unverified | Refused::Pending), "{refused}");
        }
    }
}

#[test]
fn issuers_vouch_for_their_own_tokens_and_tenants_alone() {
    let (ours, theirs) = (ed(), ed());
    let (one, other) = (ring(&[Algorithm::EdDsa]), ring(&[Algorithm::EdDsa]));
    one.put(&set(&[with(&ours.public, json!({"kid": "k"}))])).unwrap();
    other.put(&set(&[with(&theirs.public, json!({"kid": "k"}))])).unwrap();
    let audience = || vec!["holdfast".to_owned()];
    let check = Verifier::new(&[], None, 0).unwrap().with_issuers(vec![
        Issuer::new(ISS.into(), one, audience(), vec!["acme".into()], 0),
        Issuer::new("other".into(), other, audience(), vec!["globex".into(), "initech".into()], 0),
    ]);
    let say =
        |pair: &Pair, more: Value| check.vouch(&token(pair, Algorithm::EdDsa, Some("k"), &with(&claims(), more)), NOW);
    let tenant = |login: Result<super::super::token::Login, Fault>| login.map(|login| login.claims.tenant);
    assert_eq!(tenant(say(&ours, json!({}))), Ok("acme".into()));
    // Where an issuer has one tenant, its tokens need not name it; where it has two, they must.
    assert_eq!(tenant(say(&ours, json!({"tenant": null}))), Ok("acme".into()));
    assert_eq!(tenant(say(&theirs, json!({"iss": "other", "tenant": null}))), Err(Fault::TenantOfIssuer));
    assert_eq!(tenant(say(&theirs, json!({"iss": "other", "tenant": "initech"}))), Ok("initech".into()));
    assert_eq!(tenant(say(&theirs, json!({"iss": "other"}))), Err(Fault::TenantOfIssuer));
    // Another's key, another's name, no name, a name that nobody has.
    assert_eq!(tenant(say(&theirs, json!({}))), Err(Fault::Signature));
    assert_eq!(tenant(say(&ours, json!({"iss": "other", "tenant": "globex"}))), Err(Fault::Signature));
    for iss in [json!(null), json!("nobody"), json!("https://id.example.com"), json!(7), json!([ISS])] {
        assert_eq!(tenant(say(&ours, json!({"iss": iss}))), Err(Fault::UnknownKey("k".into())), "{iss}");
    }
    // Whoever is refused is written down as who it would have been let in as.
    let named = |pair: &Pair, more: Value| {
        check.claimed_agent(&token(pair, Algorithm::EdDsa, Some("k"), &with(&claims(), more)))
    };
    assert_eq!(named(&ours, json!({"tenant": null, "exp": 1})).as_deref(), Some("acme/web-1"));
    assert_eq!(named(&theirs, json!({"iss": "other", "tenant": null})).as_deref(), Some("default/web-1"));
    assert_eq!(named(&theirs, json!({"iss": "other", "tenant": "initech"})).as_deref(), Some("initech/web-1"));
    for aud in [json!(null), json!("other"), json!([])] {
        let fault = say(&ours, json!({"aud": aud})).unwrap_err();
        assert_eq!(fault.refused(), Refused::Audience, "{aud}");
    }
}

#[test]
fn an_unknown_key_may_be_a_new_one() {
    let (old, new) = (ed(), ed());
    let (bell, rung) = crossbeam_channel::bounded(1);
    let source = Source::Url("http://127.0.0.1/".into());
    let ring = std::sync::Arc::new(Ring::new("c".into(), source, vec![Algorithm::EdDsa], LIMITS, bell));
    let check = verifier(&ring, &[]);
    let by = |pair: &Pair, kid| check.verify(&token(pair, Algorithm::EdDsa, kid, &claims()), NOW).map(drop);
    // Nothing was ever fetched.
    assert_eq!(by(&old, Some("old")), Err(Refused::Pending));
    ring.put(&set(&[with(&old.public, json!({"kid": "old"}))])).unwrap();
    assert_eq!((by(&old, Some("old")), by(&new, Some("new"))), (Ok(()), Err(Refused::Unverified)));
    assert!(rung.try_recv().is_err(), "it was fetched just now");
    ring.set_freshness(Freshness::MayAsk);
    assert_eq!((by(&new, Some("new")), by(&new, None)), (Err(Refused::Pending), Err(Refused::Pending)));
    // A known id with a wrong signature is no news.
    assert_eq!(by(&new, Some("old")), Err(Refused::Unverified));
    assert!(rung.try_recv().is_ok());
    // What cannot be read leaves the keys as they are.
    for bad in [&b"{}"[..], b"", b"{\"keys\":[]}", b"<html>"] {
        assert!(ring.put(bad).is_err());
    }
    assert_eq!(by(&old, Some("old")), Ok(()));
    ring.put(&set(&[with(&new.public, json!({"kid": "new"}))])).unwrap();
    assert_eq!((by(&old, Some("old")), by(&new, Some("new"))), (Err(Refused::Unverified), Ok(())));
}

#[test]
fn what_is_of_no_use_is_passed_over_and_secrets_are_never_taken() {
    let (good, small) = (ec("P-256"), rsa(KeySize::Rsa2048));
    let all = &Algorithm::ALL;
    let p = &good.public;
    for (what, key) in [
        ("a secret", json!({"kty": "oct", "k": text(&[7; 32]), "alg": "HS256"})),
        ("another use", with(p, json!({"use": "enc"}))),
        ("other operations", with(p, json!({"key_ops": ["sign"]}))),
        ("another algorithm", with(p, json!({"alg": "ES384"}))),
        ("an unknown algorithm", with(p, json!({"alg": "ES256K"}))),
        ("another curve", with(p, json!({"crv": "P-384"}))),
        ("an unknown curve", with(p, json!({"crv": "secp256k1"}))),
        ("a point that is none", with(p, json!({"x": text(&[1; 32])}))),
        ("half a point", with(p, json!({"y": null}))),
        ("no base64", with(p, json!({"x": "***"}))),
        ("a kid that is a number", with(p, json!({"kid": 7}))),
        ("a kid that is long", with(p, json!({"kid": "k".repeat(KEY_ID_BYTES_MAX + 1)}))),
        ("a short modulus", with(&small.public, json!({"n": text(&[0xff; 128])}))),
        ("a long modulus", with(&small.public, json!({"n": text(&vec![0xff; 1025])}))),
        ("an exponent of one", with(&small.public, json!({"e": text(&[1])}))),
        ("an even exponent", with(&small.public, json!({"e": text(&[4])}))),
        ("a long exponent", with(&small.public, json!({"e": text(&[1, 0, 0, 0, 1])}))),
        ("a short Ed25519 key", json!({"kty": "OKP", "crv": "Ed25519", "x": text(&[1; 31])})),
        ("X25519", json!({"kty": "OKP", "crv": "X25519", "x": text(&[1; 32])})),
        ("no kty", json!({"x": "a"})),
        ("no object", json!("key")),
    ] {
        let alone = KeySet::parse(&set(std::slice::from_ref(&key)), all, LIMITS);
        assert!(alone.is_err(), "{what}");
        let beside = KeySet::parse(&set(&[key, with(p, json!({"kid": "good"}))]), all, LIMITS).unwrap();
        assert_eq!((beside.usable, beside.passed_over), (1, 1), "{what}");
        assert_eq!(beside.ids().collect::<Vec<_>>(), ["good"], "{what}");
    }
    // Two keys of one id: the first counts.
    let twice = set(&[with(p, json!({"kid": "k"})), with(&ec("P-256").public, json!({"kid": "k"}))]);
    let twice = KeySet::parse(&twice, all, LIMITS).unwrap();
    assert_eq!((twice.usable, twice.passed_over), (1, 1));
}

#[test]
fn sets_are_bounded() {
    let key = ec("P-256").public;
    let nine = set(&vec![key.clone(); 9]);
    assert!(KeySet::parse(&nine, &[Algorithm::Es256], LIMITS).err().unwrap().contains("9 keys"));
    let padded = [set(std::slice::from_ref(&key)), vec![b' '; LIMITS.bytes_max]].concat();
    assert!(KeySet::parse(&padded, &[Algorithm::Es256], LIMITS).err().unwrap().contains("bytes"));
    let deep = format!("{{\"keys\":[{}]}}", "[".repeat(5000));
    assert!(KeySet::parse(deep.as_bytes(), &[Algorithm::Es256], LIMITS).is_err());
    assert!(KeySet::parse(&set(&[key]), &[], LIMITS).is_err());
}

#[test]
fn a_bounded_life_needs_a_beginning() {
    let pair = ed();
    let ring = ring(&[Algorithm::EdDsa]);
    ring.put(&set(&[with(&pair.public, json!({"kid": "k"}))])).unwrap();
    let check = verifier(&ring, &[]).with_lifetime_max(Some(3600));
    for (more, expected) in [
        (json!({"iat": NOW, "exp": NOW + 3600}), None),
        (json!({"iat": NOW, "exp": NOW + 3601}), Some(Fault::LivesTooLong(3601))),
        (json!({"exp": NOW + 60}), Some(Fault::NoIssuedAt)),
        (json!({"iat": NOW + 1, "exp": NOW + 60}), Some(Fault::NotYet(1))),
        (json!({"iat": NOW - 9999, "exp": NOW + 60}), Some(Fault::LivesTooLong(10_059))),
    ] {
        let token = token(&pair, Algorithm::EdDsa, Some("k"), &with(&claims(), more.clone()));
        assert_eq!(check.vouch(&token, NOW).err(), expected, "{more}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = KeySet::parse(&bytes, &Algorithm::ALL, LIMITS);
    }

    #[test]
    fn any_members_are_read_or_passed_over(
        kty in "(RSA|EC|OKP|oct|.{0,4})",
        crv in "(P-256|P-384|Ed25519|.{0,4})",
        number in "[A-Za-z0-9_-]{0,90}",
    ) {
        let key = json!({"kty": kty, "crv": crv, "n": number, "e": "AQAB", "x": number, "y": number});
        let _ = KeySet::parse(&set(&[key]), &Algorithm::ALL, LIMITS);
    }
}
