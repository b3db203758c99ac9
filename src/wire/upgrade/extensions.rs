//! `Sec-WebSocket-Extensions`: what the peer offers, and which offer of permessage-deflate is taken (RFC 6455 section 9.1, RFC 7692).
//!
//! Each field is gone through once, from front to back, however many offers and parameters it has. An offer with a parameter that is
//! unknown, doubled or of a wrong value is passed over (RFC 7692 section 7); text that is no list of extensions fails the request.

use super::Refusal;
use crate::wire::deflate::Window;

const PERMESSAGE_DEFLATE: &[u8] = b"permessage-deflate";

const BROKEN: Refusal =
    Refusal::Malformed("Sec-WebSocket-Extensions must be a list of extensions with parameters (RFC 6455 section 9.1).");

/// An offer of permessage-deflate that can be taken. Neither side keeps anything between messages, asked for or not
/// (sections 7.1.1.1 and 7.1.1.2), and what the client says of its own window binds nobody: ours is the largest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deflate {
    /// The window that the client asks of us; it is named in the answer where it was asked for (section 7.1.2.1).
    pub server_window: Option<Window>,
}

impl Deflate {
    /// The window for messages to this client.
    #[must_use]
    pub fn window(self) -> Window {
        self.server_window.unwrap_or(Window::LARGEST)
    }

    /// The value of the answer's field.
    pub(super) fn answer(self) -> String {
        let window = self.server_window.map(|window| format!("; server_max_window_bits={}", window.bits()));
        format!(
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover{}",
            window.unwrap_or_default()
        )
    }
}

/// The first offer that can be taken, over all fields of the request.
///
/// # Errors
/// A field that is no list of extensions.
pub(super) fn deflate<'a>(fields: impl Iterator<Item = &'a [u8]>) -> Result<Option<Deflate>, Refusal> {
    let mut taken = None;
    for field in fields {
        let mut scan = Scan { rest: field };
        loop {
            // A list may have empty places (RFC 9110 section 5.6.1).
            while scan.takes(b',') {}
            if scan.rest.is_empty() {
                break;
            }
            let offer = offer(&mut scan).ok_or(BROKEN)?;
            taken = taken.or(offer.good());
            if !scan.rest.is_empty() && !scan.takes(b',') {
                return Err(BROKEN);
            }
        }
    }
    Ok(taken)
}

/// One extension with its parameters; `None` where the text is broken.
fn offer<'a>(scan: &mut Scan<'a>) -> Option<Offer> {
    let mut offer = Offer { is_good: scan.token()? == PERMESSAGE_DEFLATE, ..Offer::default() };
    while scan.takes(b';') {
        let name = scan.token()?;
        let value = if scan.takes(b'=') { Some(scan.value()?) } else { None };
        offer.take(name, value);
    }
    Some(offer)
}

/// An offer while its parameters are read.
#[derive(Default)]
struct Offer {
    /// It is one of permessage-deflate, and so far nothing is wrong with it.
    is_good: bool,
    /// Which parameters it has had, by their place in [`PARAMETERS`].
    seen: [bool; PARAMETERS.len()],
    server_window: Option<Window>,
}

/// The parameters of section 7.1.
const PARAMETERS: [&[u8]; 4] = [
    b"server_no_context_takeover",
    b"client_no_context_takeover",
    b"server_max_window_bits",
    b"client_max_window_bits",
];

impl Offer {
    fn take(&mut self, name: &[u8], value: Option<Value<'_>>) {
        let place = PARAMETERS.iter().position(|parameter| *parameter == name);
        let window = value.map(Value::window);
        let is_right = matches!((place, window), (Some(0 | 1 | 3), None) | (Some(2 | 3), Some(Some(_))));
        if place == Some(2) {
            self.server_window = window.flatten();
        }
        let is_first = place.is_some_and(|place| !std::mem::replace(&mut self.seen[place], true));
        self.is_good &= is_right && is_first;
    }

    fn good(self) -> Option<Deflate> {
        self.is_good.then_some(Deflate { server_window: self.server_window })
    }
}

/// The value of a parameter: a token, or one in quotes.
#[derive(Clone, Copy)]
enum Value<'a> {
    Token(&'a [u8]),
    /// What is between the quotes, each byte as it is or behind a backslash.
    Quoted(&'a [u8]),
}

impl Value<'_> {
    /// A window's bits, without leading zeros (section 7.1.2.1).
    fn window(self) -> Option<Window> {
        let (bytes, is_quoted) = match self {
            Self::Token(bytes) => (bytes, false),
            Self::Quoted(bytes) => (bytes, true),
        };
        let mut bits = 0u8;
        let mut bytes = bytes.iter();
        while let Some(&byte) = bytes.next() {
            let byte = if is_quoted && byte == b'\\' { *bytes.next()? } else { byte };
            let digit = byte.is_ascii_digit().then(|| byte - b'0').filter(|digit| bits > 0 || *digit > 0)?;
            bits = bits.checked_mul(10)?.checked_add(digit)?;
        }
        Window::of_bits(bits)
    }
}

/// A field from where it is read on. What is taken takes the blanks behind it with it.
struct Scan<'a> {
    rest: &'a [u8],
}

impl<'a> Scan<'a> {
    /// Whether the next byte is this one; it is taken then.
    fn takes(&mut self, byte: u8) -> bool {
        self.rest = self.rest.trim_ascii_start();
        match self.rest.split_first() {
            Some((&first, behind)) if first == byte => {
                self.rest = behind.trim_ascii_start();
                true
            }
            _ => false,
        }
    }

    /// One byte or more of RFC 9110 section 5.6.2.
    fn token(&mut self) -> Option<&'a [u8]> {
        let length = self.rest.iter().take_while(|byte| is_token(**byte)).count();
        let (token, behind) = self.rest.split_at(length);
        self.rest = behind.trim_ascii_start();
        (length > 0).then_some(token)
    }

    /// A token, or a quoted string that would be one without its quotes and backslashes.
    fn value(&mut self) -> Option<Value<'a>> {
        let Some((b'"', inside)) = self.rest.split_first() else {
            return self.token().map(Value::Token);
        };
        let mut length = 0;
        loop {
            match inside.get(length..)? {
                [b'"', behind @ ..] => {
                    self.rest = behind.trim_ascii_start();
                    return (length > 0).then_some(Value::Quoted(&inside[..length]));
                }
                [b'\\', byte, ..] if is_token(*byte) => length += 2,
                [byte, ..] if is_token(*byte) => length += 1,
                _ => return None,
            }
        }
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is taken of these fields: the window that was asked for, 0 for none; `None` where no offer is taken.
    fn taken(fields: &[&str]) -> Result<Option<u8>, Refusal> {
        let deflate = deflate(fields.iter().map(|field| field.as_bytes()))?;
        Ok(deflate.map(|deflate| deflate.server_window.map_or(0, Window::bits)))
    }

    #[test]
    fn offers_that_are_taken() {
        for (fields, window) in [
            (&["permessage-deflate"][..], 0),
            (&["permessage-deflate; client_max_window_bits"], 0),
            (&["permessage-deflate; client_max_window_bits=8"], 0),
            (&["permessage-deflate;server_no_context_takeover;client_no_context_takeover"], 0),
            (&["permessage-deflate ; server_max_window_bits = 9"], 9),
            (&["permessage-deflate; server_max_window_bits=\"15\""], 15),
            (&["permessage-deflate; server_max_window_bits=\"\\1\\5\""], 15),
            (&["permessage-deflate; server_max_window_bits=8"], 8),
            (&["x-webkit-deflate-frame, permessage-deflate"], 0),
            (&["bbf-usp-protocol", "permessage-deflate; server_max_window_bits=12"], 12),
            (&[",, permessage-deflate ,"], 0),
            // The first good one, whatever the others are.
            (
                &[
                    "permessage-deflate; server_max_window_bits=7, permessage-deflate; server_max_window_bits=10, permessage-deflate",
                ],
                10,
            ),
            (&["permessage-deflate; server_max_window_bits=10", "permessage-deflate; foo"], 10),
            (&["foo; bar=\"b\\az\"; permessage-deflate, permessage-deflate"], 0),
        ] {
            assert_eq!(taken(fields), Ok(Some(window)), "{fields:?}");
        }
    }

    #[test]
    fn offers_that_are_passed_over() {
        for field in [
            "",
            " , ",
            "permessage-bzip2",
            "Permessage-Deflate",
            "permessage-deflate; foo",
            "permessage-deflate; foo=1",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_no_context_takeover=true",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; client_max_window_bits; client_max_window_bits=9",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=010",
            "permessage-deflate; server_max_window_bits=0",
            "permessage-deflate; server_max_window_bits=ten",
            "permessage-deflate; server_max_window_bits=99999999999999999999",
            "permessage-deflate; server_max_window_bits=10; server_max_window_bits=10",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; SERVER_MAX_WINDOW_BITS=10",
        ] {
            assert_eq!(taken(&[field]), Ok(None), "{field}");
            // Whatever is wrong with it, the next one is looked at.
            assert_eq!(taken(&[field, "permessage-deflate"]), Ok(Some(0)), "{field}");
        }
    }

    #[test]
    fn what_is_no_list_of_extensions_fails_the_request() {
        for field in [
            "permessage-deflate;",
            "permessage-deflate; ;",
            "permessage-deflate; server_max_window_bits=",
            "permessage-deflate; server_max_window_bits=\"10",
            "permessage-deflate; server_max_window_bits=\"\"",
            "permessage-deflate; server_max_window_bits=\"1 0\"",
            "permessage-deflate; server_max_window_bits=\"10\"9",
            "foo; bar=\"b\\,az\"",
            "permessage-deflate; server_max_window_bits=\"10\\",
            "permessage-deflate foo",
            "; server_max_window_bits=10",
            "=",
            "\"permessage-deflate\"",
            "permessage-deflate\u{e4}",
        ] {
            assert_eq!(taken(&["permessage-deflate", field]), Err(BROKEN), "{field}");
        }
    }

    #[test]
    fn the_answer_names_what_was_agreed_on() {
        let base = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        assert_eq!(Deflate { server_window: None }.answer(), base);
        assert_eq!(Deflate { server_window: Window::of_bits(9) }.answer(), format!("{base}; server_max_window_bits=9"));
    }

    proptest! {
        /// What is answered could have been offered, so whatever we agree to is an extension again.
        #[test]
        fn any_text_is_judged(text in "[a-z_=;,\" \\\\0-9]{0,60}|(permessage-deflate|; ?server_max_window_bits|=|\"?1[0-5]\"?|, ?){0,12}") {
            if let Ok(Some(agreed)) = deflate([text.as_bytes()].into_iter()) {
                let again = deflate([agreed.answer().as_bytes()].into_iter());
                prop_assert_eq!(again, Ok(Some(agreed)));
            }
        }
    }
}
