//! The body of a close frame (RFC 6455 sections 5.5.1 and 7.4).

use tungstenite::protocol::frame::coding::CloseCode;

use super::rules::Violation;

/// Longest reason that fits a close frame, in bytes.
pub const REASON_BYTES_MAX: usize = 123;

/// Reads the body of a received close frame: its code, `None` for an empty body.
///
/// # Errors
/// A one-byte body, a code that must not be sent, a reason that is not UTF-8.
pub fn parse(body: &[u8]) -> Result<Option<CloseCode>, Violation> {
    let (code, reason) = match body {
        [] => return Ok(None),
        [_] => return Err(Violation::ShortClose),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    if !may_be_sent(code) {
        return Err(Violation::BadCloseCode);
    }
    match simdutf8::basic::from_utf8(reason) {
        Ok(_) => Ok(Some(CloseCode::from(code))),
        Err(_) => Err(Violation::BadUtf8),
    }
}

/// Whether a code may travel in a close frame. 1004 has no meaning yet; 1005, 1006 and 1015 stand for what happened
/// without a frame; 1012 to 1014 were registered with IANA after the RFC.
fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code() {
        for code in 0..=u16::MAX {
            let allowed =
                (1000..=1014).contains(&code) && !(1004..=1006).contains(&code) || (3000..5000).contains(&code);
            let expected = if allowed { Ok(Some(code)) } else { Err(Violation::BadCloseCode) };
            let parsed = parse(&code.to_be_bytes()).map(|code| code.map(u16::from));
            assert_eq!(parsed, expected, "{code}");
        }
    }

    #[test]
    fn bodies() {
        assert_eq!(parse(b""), Ok(None));
        assert_eq!(parse(b"\x03"), Err(Violation::ShortClose));
        assert_eq!(parse(b"\x03\xe8gone \xe2\x82\xac"), Ok(Some(CloseCode::Normal)));
        assert_eq!(parse(b"\x03\xe8gone \xe2\x82"), Err(Violation::BadUtf8));
        assert_eq!(parse(b"\x03\xed\xff"), Err(Violation::BadCloseCode));
    }
}
