//! Key files in PEM (RFC 7468): which kind of key one holds, and whether that kind is fit to use.
//!
//! Owns the messages for files that are something else, each with the command that mends it. It never lets key bytes
//! out.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey, VerificationAlgorithm,
};
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{DecodingKey, EncodingKey};

use super::algorithm::{Algorithm, KeyKind};

/// Shortest RSA modulus, in bits (RFC 7518 section 3.3).
pub const RSA_BITS_MIN: usize = 2048;
/// Longest RSA modulus, in bits: a longer one makes each check cost milliseconds, and the backend refuses it.
pub const RSA_BITS_MAX: usize = 8192;

/// What a PEM file holds: the kinds are told apart by the object identifier within it. The curve of an EC key is looked at later.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Rsa,
    Ec,
    Ed25519,
}

impl Found {
    /// Picks what was found.
    fn of<K, E>(ec: Result<K, E>, ed: Result<K, E>, rsa: impl FnOnce() -> Result<K, E>) -> Result<(Found, K), String> {
        match (ec, ed) {
            (Ok(key), _) => Ok((Found::Ec, key)),
            (_, Ok(key)) => Ok((Found::Ed25519, key)),
            _ => rsa()
                .map(|key| (Found::Rsa, key))
                .map_err(|_| "damaged PEM, or a type of key that is neither RSA, EC nor Ed25519".into()),
        }
    }

    fn must_be(self, wanted: KeyKind) -> Result<(), String> {
        let fits = match wanted {
            KeyKind::Secret => false,
            KeyKind::Rsa => self == Found::Rsa,
            KeyKind::P256 | KeyKind::P384 => self == Found::Ec,
            KeyKind::Ed25519 => self == Found::Ed25519,
        };
        let found = match self {
            Found::Rsa => "an RSA key",
            Found::Ec => "an EC key",
            Found::Ed25519 => "an Ed25519 key",
        };
        let wanted = match wanted {
            KeyKind::P256 | KeyKind::P384 => "an EC key",
            other => other.name(),
        };
        if fits { Ok(()) } else { Err(format!("its algorithm needs {wanted}, and this is {found}")) }
    }
}

/// Reads a public key and checks that it is of the kind that `algorithm` needs, and strong enough.
pub(super) fn public_key(algorithm: Algorithm, pem: &[u8]) -> Result<DecodingKey, String> {
    let tag = pem_tag(pem).ok_or("not PEM: there is no \"-----BEGIN PUBLIC KEY-----\" line")?;
    match tag.as_str() {
        "PUBLIC KEY" | "RSA PUBLIC KEY" => {}
        "CERTIFICATE" => {
            return Err(
                "a certificate, not a public key: take the key out with `openssl x509 -in FILE -noout -pubkey`".into(),
            );
        }
        tag if tag.ends_with("PRIVATE KEY") => {
            return Err("a private key, and the gateway must not have it: give it the public half, `openssl pkey -in FILE -pubout`".into());
        }
        tag => return Err(format!("a PEM block {tag:?}, not a public key")),
    }
    let (found, key) =
        Found::of(DecodingKey::from_ec_pem(pem), DecodingKey::from_ed_pem(pem), || DecodingKey::from_rsa_pem(pem))?;
    let wanted = algorithm.key_kind();
    found.must_be(wanted)?;
    let bytes = key.try_get_as_bytes().map_err(|_| "a form of key that is not supported")?;
    match wanted {
        KeyKind::Secret => return Err("a secret is no public key".into()),
        KeyKind::Rsa => {
            let components = DEFAULT_PROVIDER.key_utils.rsa_pub_components_from_public_key;
            let (modulus, _) = components(bytes).map_err(|_| "the RSA key in it is damaged")?;
            rsa_bits_fit(&modulus)?;
        }
        KeyKind::P256 | KeyKind::P384 | KeyKind::Ed25519 => curve_fits(wanted, bytes)?,
    }
    Ok(key)
}

/// Reads a private key and checks that it is of the kind that `algorithm` needs, and strong enough.
pub(super) fn private_key(algorithm: Algorithm, pem: &[u8]) -> Result<EncodingKey, String> {
    let tag = pem_tag(pem).ok_or("not PEM: there is no \"-----BEGIN PRIVATE KEY-----\" line")?;
    match tag.as_str() {
        "PRIVATE KEY" | "RSA PRIVATE KEY" => {}
        "EC PRIVATE KEY" | "EC PARAMETERS" => {
            return Err("not in PKCS #8: convert it with `openssl pkcs8 -topk8 -nocrypt -in FILE -out NEW`".into());
        }
        "ENCRYPTED PRIVATE KEY" => {
            return Err("encrypted: decrypt it with `openssl pkey -in FILE -out NEW`".into());
        }
        tag => {
            return Err(format!("a PEM block {tag:?}: signing needs the private key"));
        }
    }
    let (found, key) =
        Found::of(EncodingKey::from_ec_pem(pem), EncodingKey::from_ed_pem(pem), || EncodingKey::from_rsa_pem(pem))?;
    let wanted = algorithm.key_kind();
    found.must_be(wanted)?;
    let utils = &DEFAULT_PROVIDER.key_utils;
    match wanted {
        KeyKind::Secret => return Err("a secret is no private key".into()),
        KeyKind::Rsa => {
            let (modulus, _) = (utils.rsa_pub_components_from_private_key)(key.as_bytes())
                .map_err(|_| format!("the RSA key in it is damaged or shorter than {RSA_BITS_MIN} bits"))?;
            rsa_bits_fit(&modulus)?;
        }
        KeyKind::P256 | KeyKind::P384 => {
            (utils.ec_pub_components_from_private_key)(key.as_bytes(), algorithm.backend())
                .map_err(|_| needs_curve(wanted))?;
        }
        KeyKind::Ed25519 => {
            let curve = jsonwebtoken::jwk::EllipticCurve::Ed25519;
            (utils.ed_pub_components_from_private_key)(key.as_bytes(), &curve)
                .map_err(|_| "the Ed25519 key in it is damaged")?;
        }
    }
    Ok(key)
}

/// Whether a public key lies on the curve that is wanted. `bytes` are a point, or a key in X.509.
pub(super) fn curve_fits(wanted: KeyKind, bytes: &[u8]) -> Result<(), String> {
    let curve: &'static dyn VerificationAlgorithm = match wanted {
        KeyKind::P256 => &ECDSA_P256_SHA256_FIXED,
        KeyKind::P384 => &ECDSA_P384_SHA384_FIXED,
        _ => &ED25519,
    };
    ParsedPublicKey::new(curve, bytes).map(drop).map_err(|_| needs_curve(wanted).to_owned())
}

fn needs_curve(wanted: KeyKind) -> &'static str {
    match wanted {
        KeyKind::P256 => "ES256 needs a key on the curve P-256 (prime256v1)",
        KeyKind::P384 => "ES384 needs a key on the curve P-384 (secp384r1)",
        _ => "the Ed25519 key in it is damaged",
    }
}

/// `modulus` is big-endian and may start with zeros.
pub(super) fn rsa_bits_fit(modulus: &[u8]) -> Result<(), String> {
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let top = modulus.get(zeros).map_or(0, |byte| byte.leading_zeros());
    let bits = (modulus.len() - zeros) * 8 - top as usize;
    if (RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
        return Ok(());
    }
    Err(format!("an RSA key needs {RSA_BITS_MIN} to {RSA_BITS_MAX} bits, and this one has {bits}"))
}

/// The label of the first PEM block (RFC 7468), `None` where there is none.
pub(super) fn pem_tag(material: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(material).ok()?;
    let (_, rest) = text.split_once("-----BEGIN ")?;
    let (tag, _) = rest.split_once("-----")?;
    Some(tag.to_owned())
}
