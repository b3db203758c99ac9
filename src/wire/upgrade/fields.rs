//! The header fields of an upgrade request: what must be there, once, and what must not.
//!
//! Owns the rules of RFC 6455 section 4.2.1 and those of RFC 9112 that keep a proxy before us and us of one opinion.

use httparse::Header;

use super::extensions::{self, Deflate};
use super::{BAD_KEY, Offer, Refusal, is_visible_ascii};
use crate::wire::envelope::Encoding;

/// The header fields of one request, in their order.
pub(super) struct Fields<'a> {
    all: &'a [Header<'a>],
}

impl<'a> Fields<'a> {
    pub(super) fn new(all: &'a [Header<'a>]) -> Self {
        Self { all }
    }

    /// The rules that have no value to give back.
    ///
    /// # Errors
    /// The first one broken: `Host`, no body, then what makes it a request for WebSocket version 13.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        let host = self.one("host", "There must be one Host, not two.")?;
        if !host.is_some_and(is_host) {
            return Err(Refusal::Malformed("There must be a Host: name or name:port."));
        }
        if self.values("transfer-encoding").next().is_some() {
            return Err(Refusal::Malformed("An upgrade has no body: leave Transfer-Encoding out."));
        }
        let length = self.one("content-length", "There must be one Content-Length, not two.")?;
        if length.is_some_and(|length| length != b"0") {
            return Err(Refusal::Malformed("An upgrade has no body: leave Content-Length out."));
        }
        let version = self.one("sec-websocket-version", "There must be one Sec-WebSocket-Version, not two.")?;
        let upgrade =
            self.has_token("connection", "upgrade") && self.has_token("upgrade", "websocket") && version == Some(b"13");
        if upgrade { Ok(()) } else { Err(Refusal::UpgradeRequired) }
    }

    /// `Sec-WebSocket-Key`: the base64 of 16 bytes, which is 22 digits and two signs of padding.
    ///
    /// # Errors
    /// Absent, twice, or of another shape.
    pub(super) fn key(&self) -> Result<&'a [u8], Refusal> {
        let key = self.one("sec-websocket-key", BAD_KEY)?;
        key.filter(|key| {
            key.strip_suffix(b"==").is_some_and(|digits| {
                digits.len() == 22
                    && (digits.iter()).all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
            })
        })
        .ok_or(Refusal::Malformed(BAD_KEY))
    }

    /// The credentials of `Authorization: Bearer`; `None` when absent or of another scheme.
    ///
    /// # Errors
    /// Twice, or credentials that are not one word of visible ASCII.
    pub(super) fn bearer(&self) -> Result<Option<&'a str>, Refusal> {
        let Some(value) = self.one("authorization", "There must be one Authorization, not two.")? else {
            return Ok(None);
        };
        match value.split_at_checked(7) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => visible(
                token.trim_ascii(),
                "The credentials of Authorization: Bearer must be one word of visible ASCII.",
            )
            .map(Some),
            _ => Ok(None),
        }
    }

    /// `Origin` (RFC 6454 section 7), where sent.
    ///
    /// # Errors
    /// Twice, or not visible ASCII.
    pub(super) fn origin(&self) -> Result<Option<&'a str>, Refusal> {
        self.one("origin", "There must be one Origin, not two.")?
            .map(|value| visible(value, "Origin must be visible ASCII."))
            .transpose()
    }

    /// The first subprotocol offered that is ours; offers may be spread over several fields (section 11.3.4).
    ///
    /// # Errors
    /// Some are offered and none is ours.
    pub(super) fn offer(&self) -> Result<Offer, Refusal> {
        let mut any = false;
        for name in self.tokens("sec-websocket-protocol") {
            any = true;
            for encoding in [Encoding::Json, Encoding::Binary] {
                if name == encoding.subprotocol().as_bytes() {
                    return Ok(Offer::Ours(encoding));
                }
            }
        }
        if any {
            return Err(Refusal::Malformed(
                "None of the offered subprotocols is spoken here: offer holdfast.v1.json or holdfast.v1.bin, or none.",
            ));
        }
        Ok(Offer::Nothing)
    }

    /// The first offer of permessage-deflate that can be taken; offers may be spread over several fields too (section 9.1).
    ///
    /// # Errors
    /// A field that is no list of extensions.
    pub(super) fn deflate(&self) -> Result<Option<Deflate>, Refusal> {
        extensions::deflate(self.values("sec-websocket-extensions"))
    }

    fn values(&self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
        self.all.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }

    /// The value of a field that may stand once; `twice` is the text for who sent two.
    fn one(&self, name: &'static str, twice: &'static str) -> Result<Option<&'a [u8]>, Refusal> {
        let mut values = self.values(name);
        let first = values.next();
        match values.next() {
            None => Ok(first),
            Some(_) => Err(Refusal::Malformed(twice)),
        }
    }

    /// The entries of a comma list that may be spread over several fields (RFC 9110 section 5.6.1).
    fn tokens(&self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
        self.values(name)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|token| !token.is_empty())
    }

    fn has_token(&self, name: &'static str, token: &str) -> bool {
        self.tokens(name).any(|one| one.eq_ignore_ascii_case(token.as_bytes()))
    }
}

/// Whether it can be `uri-host [":" port]`; nothing here depends on which host it is.
fn is_host(value: &[u8]) -> bool {
    !value.is_empty() && (value.iter()).all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(byte))
}

fn visible<'a>(value: &'a [u8], why: &'static str) -> Result<&'a str, Refusal> {
    match std::str::from_utf8(value) {
        Ok(text) if !text.is_empty() && is_visible_ascii(value) => Ok(text),
        _ => Err(Refusal::Malformed(why)),
    }
}
