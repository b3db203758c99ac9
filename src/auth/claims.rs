//! What a token says, and whether it may say so now.
//!
//! Owns the form of the claims and their checks. It knows nothing of keys and signatures: whoever calls it has
//! verified the bytes before.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::limits::{LABEL_BYTES_MAX, LABELS_MAX, METHODS_MAX};
use super::refused::Fault;
use crate::kit::ids::is_name;
use crate::kit::methods::Methods;
use crate::wire::envelope::link_side::METHOD_BYTES_MAX;

/// The tenant of tokens that name none: the contract with agents, no setting.
pub const TENANT_WHEN_ABSENT: &str = "default";

/// What a good token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// `sub`: the agent's id, a name.
    pub agent: String,
    /// `tenant`: a name; "default" where absent.
    pub tenant: String,
    /// `labels`, sorted by key; at most 32, keys and values of at most 128 bytes.
    pub labels: Vec<(String, String)>,
    /// `methods`, sorted and each once: all that backends may call on the connection; at most 32, of at most 256 bytes. `None`, where
    /// the claim is absent, is all methods, and an empty list is none.
    pub methods: Option<Vec<Methods>>,
    /// `exp`, in seconds since the UNIX epoch.
    pub expires_unix: u64,
    /// `iat`, in seconds since the UNIX epoch.
    pub issued_unix: Option<u64>,
    /// `jti`; an empty one is none.
    pub token_id: Option<String>,
}

impl Claims {
    /// Whether names, labels and methods are in form. Labels must be sorted by key.
    ///
    /// # Errors
    /// The first thing that is not.
    pub fn check_form(&self) -> Result<(), Fault> {
        if !is_name(&self.agent) {
            return Err(Fault::Subject);
        }
        if !is_name(&self.tenant) {
            return Err(Fault::Tenant);
        }
        if self.labels.len() > LABELS_MAX {
            return Err(Fault::LabelCount(self.labels.len()));
        }
        let fits = |(key, value): &(String, String)| {
            (1..=LABEL_BYTES_MAX).contains(&key.len()) && value.len() <= LABEL_BYTES_MAX
        };
        if let Some(place) = self.labels.iter().position(|label| !fits(label)) {
            return Err(Fault::LabelSize(place));
        }
        if let Some(pair) = self.labels.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(Fault::LabelTwice(pair[0].0.clone()));
        }
        let methods = self.methods.as_deref().unwrap_or_default();
        if methods.len() > METHODS_MAX {
            return Err(Fault::MethodCount(methods.len()));
        }
        match methods.iter().position(|methods| methods.text_bytes() > METHOD_BYTES_MAX) {
            Some(place) => Err(Fault::Method(place)),
            None => Ok(()),
        }
    }
}

/// Methods as a token or a webhook names them, sorted and each once.
///
/// # Errors
/// The place, from 0, of one that is neither a name nor a beginning with a star.
pub fn read_methods<T: AsRef<str>>(texts: &[T]) -> Result<Vec<Methods>, Fault> {
    let read = |(place, text): (usize, &T)| text.as_ref().parse().map_err(|_| Fault::Method(place));
    let mut methods = texts.iter().enumerate().map(read).collect::<Result<Vec<Methods>, _>>()?;
    methods.sort_unstable();
    methods.dedup();
    Ok(methods)
}

/// When and for whom tokens are good.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    /// One of these must be named; where there is none, a token must name none.
    pub(super) audiences: Vec<String>,
    pub(super) leeway_secs: u64,
    /// The tenants that may be named; where there is none, any.
    pub(super) tenants: Vec<String>,
    /// The longest time from `iat` to `exp`; both must then be there.
    pub(super) lifetime_max_secs: Option<u64>,
}

impl Rules {
    /// The tenant of a token that names none: that of an issuer which has but one.
    pub(super) fn tenant_when_absent(&self) -> &str {
        if let [only] = self.tenants.as_slice() { only } else { TENANT_WHEN_ABSENT }
    }
}

/// Reads verified JSON and checks it at `now_unix`.
pub(super) fn read(json: &[u8], rules: &Rules, now_unix: u64) -> Result<Claims, Fault> {
    let payload: Payload<'_> = serde_json::from_slice(json).map_err(|error| Fault::Payload(error.to_string()))?;
    let expires = payload.exp.ok_or(Fault::NoExpiry)?.0;
    // RFC 7519 section 4.1.4: "on or after" `exp` it is over, so the last good second is the one before.
    let end = expires.saturating_add(rules.leeway_secs);
    if now_unix >= end {
        return Err(Fault::Expired(now_unix - end));
    }
    // RFC 7519 section 4.1.5: at `nbf` itself it is good.
    let from = payload.nbf.map_or(0, |date| date.0);
    let latest_start = now_unix.saturating_add(rules.leeway_secs);
    if latest_start < from {
        return Err(Fault::NotYet(from - latest_start));
    }
    check_audience(payload.aud.as_ref(), &rules.audiences)?;
    let issued = payload.iat.map(|date| date.0);
    check_lifetime(issued, expires, latest_start, rules.lifetime_max_secs)?;
    let mut labels = payload.labels.map_or_else(Vec::new, |labels| labels.0);
    labels.sort_unstable();
    let methods = payload.methods.map(|Names(names)| read_methods(&names)).transpose()?;
    let claims = Claims {
        agent: payload.sub.ok_or(Fault::NoSubject)?.0.into_owned(),
        tenant: payload.tenant.map_or(Cow::Borrowed(rules.tenant_when_absent()), |tenant| tenant.0).into_owned(),
        labels,
        methods,
        expires_unix: expires,
        issued_unix: issued,
        token_id: payload.jti.map(|id| id.0.into_owned()).filter(|id| !id.is_empty()),
    };
    claims.check_form()?;
    if !rules.tenants.is_empty() && !rules.tenants.contains(&claims.tenant) {
        return Err(Fault::TenantOfIssuer);
    }
    Ok(claims)
}

/// A token that lives for longer than is allowed. Without `iat` nobody could say how long it lives, and one from the future would
/// outlive what was revoked before it.
fn check_lifetime(issued: Option<u64>, expires: u64, latest: u64, max: Option<u64>) -> Result<(), Fault> {
    let Some(max) = max else {
        return Ok(());
    };
    let issued = issued.ok_or(Fault::NoIssuedAt)?;
    if issued > latest {
        return Err(Fault::NotYet(issued - latest));
    }
    let life = expires.saturating_sub(issued);
    if life > max { Err(Fault::LivesTooLong(life)) } else { Ok(()) }
}

/// RFC 7519 section 4.1.3: who is not named by a token's `aud` must refuse it, and who has no name is never named.
fn check_audience(aud: Option<&Audience<'_>>, ours: &[String]) -> Result<(), Fault> {
    match (aud, ours) {
        (None, []) => Ok(()),
        (Some(_), []) => Err(Fault::ForeignAudience),
        (Some(Audience(names)), ours) if names.iter().any(|name| ours.iter().any(|ours| name.0 == *ours)) => Ok(()),
        (_, ours) => Err(Fault::Audience(ours.join(" or "))),
    }
}

/// The claims that are read; others are skipped. A claim that is there twice is an error, as RFC 7519 section 4 allows.
#[derive(serde::Deserialize)]
struct Payload<'a> {
    #[serde(borrow)]
    sub: Option<Text<'a>>,
    #[serde(borrow)]
    tenant: Option<Text<'a>>,
    labels: Option<Labels>,
    /// `null` is no list: whoever wrote it may have meant none, and absent means all.
    #[serde(borrow, default, deserialize_with = "present")]
    methods: Option<Names<'a>>,
    #[serde(borrow)]
    aud: Option<Audience<'a>>,
    exp: Option<NumericDate>,
    nbf: Option<NumericDate>,
    iat: Option<NumericDate>,
    #[serde(borrow)]
    jti: Option<Text<'a>>,
}

/// A string that borrows from the JSON unless it has escapes. (serde borrows a bare `Cow`, but none within an `Option`.)
#[derive(serde::Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

impl AsRef<str> for Text<'_> {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// A list of strings.
#[derive(serde::Deserialize)]
struct Names<'a>(#[serde(borrow)] Vec<Text<'a>>);

/// A claim that may be absent, and may not be `null`.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Names<'a>>, D::Error> {
    Names::deserialize(deserializer).map(Some)
}

/// `aud`: a string or a list of strings.
struct Audience<'a>(Vec<Text<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Audience<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Audience<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`aud` as a string or a list of strings")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(Audience(vec![Text(Cow::Borrowed(name))]))
            }

            fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
                Ok(Audience(vec![Text(Cow::Owned(name.to_owned()))]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = list.next_element()? {
                    names.push(name);
                }
                Ok(Audience(names))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

/// `labels`: an object of strings, in the order of the token.
struct Labels(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Labels;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`labels` as an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Labels(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// Seconds since the epoch (RFC 7519 section 2), which may have a fraction; it is cut off. What lies before the epoch is 0.
struct NumericDate(u64);

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seconds;
        impl Visitor<'_> for Seconds {
            type Value = NumericDate;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time in seconds since the epoch")
            }

            fn visit_u64<E>(self, seconds: u64) -> Result<NumericDate, E> {
                Ok(NumericDate(seconds))
            }

            fn visit_i64<E>(self, seconds: i64) -> Result<NumericDate, E> {
                Ok(NumericDate(u64::try_from(seconds).unwrap_or(0)))
            }

            fn visit_f64<E>(self, seconds: f64) -> Result<NumericDate, E> {
                // `as` saturates at both ends, which is what is meant here.
                Ok(NumericDate(seconds as u64))
            }
        }
        deserializer.deserialize_any(Seconds)
    }
}

/// Claims in the form that a token carries.
pub(super) struct Wire<'a> {
    pub(super) claims: &'a Claims,
    pub(super) audience: Option<&'a str>,
}

impl Serialize for Wire<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("sub", &self.claims.agent)?;
        map.serialize_entry("tenant", &self.claims.tenant)?;
        if !self.claims.labels.is_empty() {
            map.serialize_entry("labels", &LabelMap(&self.claims.labels))?;
        }
        if let Some(methods) = &self.claims.methods {
            map.serialize_entry("methods", &MethodList(methods))?;
        }
        if let Some(audience) = self.audience {
            map.serialize_entry("aud", audience)?;
        }
        map.serialize_entry("exp", &self.claims.expires_unix)?;
        if let Some(issued) = self.claims.issued_unix {
            map.serialize_entry("iat", &issued)?;
        }
        if let Some(id) = &self.claims.token_id {
            map.serialize_entry("jti", id)?;
        }
        map.end()
    }
}

struct LabelMap<'a>(&'a [(String, String)]);

impl Serialize for LabelMap<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

struct MethodList<'a>(&'a [Methods]);

impl Serialize for MethodList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(ToString::to_string))
    }
}

impl Serialize for Claims {
    /// The claims as a token carries them, `aud` apart.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Wire { claims: self, audience: None }.serialize(serializer)
    }
}
