//! Requests, good and bad, whole and cut.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::wire::deflate::Window;

const LIMITS: HeadLimits = HeadLimits { bytes_max: 8192, fields_max: 64 };

const GOOD: &str = "GET /v1/agent?agent=web-1 HTTP/1.1\r\n\
    Host: gateway.example:8080\r\n\
    Upgrade: websocket\r\n\
    Connection: keep-alive, Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\
    Origin: https://example.com\r\n\
    Authorization: Bearer abc.def-_~\r\n\
    Sec-WebSocket-Protocol: chat, holdfast.v1.bin\r\n\
    Sec-WebSocket-Protocol: holdfast.v1.json\r\n\
    Sec-WebSocket-Extensions: foo; bar=\"baz\"\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10, permessage-deflate\r\n\
    \r\n";

fn refused(request: &str) -> Refusal {
    match parse(request.as_bytes(), LIMITS) {
        Err(refusal) => refusal,
        Ok(parsed) => panic!("{request:?} gave {parsed:?}"),
    }
}

fn parsed(request: &str) -> Upgrade {
    parse(request.as_bytes(), LIMITS).unwrap().unwrap()
}

#[test]
fn a_good_request() {
    let bytes = format!("{GOOD}frames");
    let upgrade = parsed(&bytes);
    assert_eq!(upgrade.head_bytes, GOOD.len());
    assert_eq!(&bytes[upgrade.path], "/v1/agent");
    assert_eq!(&bytes[upgrade.query.unwrap()], "agent=web-1");
    assert_eq!(&bytes[upgrade.bearer.unwrap()], "abc.def-_~");
    assert_eq!(&bytes[upgrade.origin.unwrap()], "https://example.com");
    assert_eq!(&upgrade.accept, b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(upgrade.offer, Offer::Ours(Encoding::Binary));
    assert_eq!(upgrade.deflate, Some(Deflate { server_window: Window::of_bits(10) }));
}

#[test]
fn every_cut_waits_for_the_rest() {
    for cut in 0..GOOD.len() {
        let result = parse(&GOOD.as_bytes()[..cut], LIMITS);
        assert!(matches!(result, Ok(None)), "{cut}: {result:?}");
    }
}

#[test]
fn every_cut_of_a_bad_request_waits_or_says_the_same() {
    for (from, to) in [
        ("GET ", "POST "),
        ("HTTP/1.1", "HTTP/1.0"),
        ("Host:", "Host :"),
        ("\r\nUpgrade:", "\r\n Upgrade:"),
        ("Version: 13", "Version: 8"),
        ("https:", "https\u{1}:"),
        ("/v1/agent", "/v1/\u{fc}"),
        ("foo; bar", "foo; bar baz"),
    ] {
        let request = GOOD.replacen(from, to, 1);
        let whole = refused(&request);
        for cut in 0..request.len() {
            match parse(&request.as_bytes()[..cut], LIMITS) {
                Ok(None) => {}
                other => assert_eq!(other.unwrap_err(), whole, "{to:?} at {cut}"),
            }
        }
    }
}

#[test]
fn what_may_differ_in_a_good_request() {
    for (from, to) in [
        ("Upgrade: websocket", "uPGRADE: WebSocket"),
        ("keep-alive, Upgrade", "upgrade"),
        ("keep-alive, Upgrade", ",,\tkeep-alive ,UPGRADE,"),
        ("Connection: keep-alive, Upgrade", "Connection: keep-alive\r\nConnection: Upgrade"),
        ("Host: gateway.example:8080", "Host: [::1]:8080"),
        ("Host:", "Content-Length: 0\r\nHost:"),
        ("Host:", "User-Agent: J\u{fc}rgen\r\nHost:"),
        ("Bearer abc.def-_~", "bEARER   abc.def-_~"),
    ] {
        assert!(GOOD.contains(from));
        parsed(&GOOD.replacen(from, to, 1));
    }
}

#[test]
fn offers_and_credentials() {
    let offer = "Sec-WebSocket-Protocol: chat, holdfast.v1.bin\r\n    Sec-WebSocket-Protocol: holdfast.v1.json\r\n";
    let offer = offer.replace("    ", "");
    let with = |to: &str| parse(GOOD.replacen(&offer, to, 1).as_bytes(), LIMITS).map(|u| u.unwrap());
    assert_eq!(with("").unwrap().offer, Offer::Nothing);
    assert_eq!(
        with("Sec-WebSocket-Protocol: holdfast.v1.json,holdfast.v1.bin\r\n").unwrap().offer,
        Offer::Ours(Encoding::Json)
    );
    assert_eq!(with("Sec-WebSocket-Protocol: chat\r\n").unwrap_err().status(), 400);
    assert_eq!(
        with("Sec-WebSocket-Protocol: HOLDFAST.v1.json\r\n").unwrap_err().status(),
        400,
        "names of subprotocols are case-sensitive"
    );
    let basic = parsed(&GOOD.replacen("Bearer abc.def-_~", "Basic YTpi", 1));
    assert_eq!(basic.bearer, None);
    assert_eq!(parsed(&GOOD.replacen("?agent=web-1", "", 1)).query, None);
    assert_eq!(refused(&GOOD.replacen("abc.def", "abc def", 1)).status(), 400);
}

#[test]
fn each_rule_has_its_status() {
    let table: &[(&str, &str, u16)] = &[
        ("GET ", "POST ", 405),
        ("GET ", "get ", 405),
        ("GET ", "CONNECT ", 405),
        ("HTTP/1.1", "HTTP/1.0", 505),
        ("HTTP/1.1", "HTTP/2.0", 505),
        ("HTTP/1.1", "HTTP/1.10", 400),
        ("/v1/agent", "http://gateway.example/v1/agent", 400),
        ("/v1/agent", "*", 400),
        ("/v1/agent", "/v1/agent#x", 400),
        ("/v1/agent", "/v1/\u{fc}", 400),
        ("/v1/agent", "/v1/ agent", 505),
        ("Host: gateway.example:8080\r\n", "", 400),
        ("Host: gateway.example:8080", "Host:", 400),
        ("Host: gateway.example:8080", "Host: a, b", 400),
        ("Host: gateway.example:8080", "Host: a@b", 400),
        ("Host: gateway.example:8080", "Host: a/b", 400),
        ("Host:", "Host: a\r\nhOST:", 400),
        ("Host:", "Host :", 400),
        ("Host:", "Content-Length: 1\r\nHost:", 400),
        ("Host:", "Content-Length: 00\r\nHost:", 400),
        ("Host:", "Content-Length: +0\r\nHost:", 400),
        ("Host:", "Content-Length: 0, 0\r\nHost:", 400),
        ("Host:", "Content-Length: 0\r\nContent-Length: 0\r\nHost:", 400),
        ("Host:", "Transfer-Encoding: chunked\r\nHost:", 400),
        ("Host:", "Transfer-Encoding: identity\r\nHost:", 400),
        ("Host:", "transfer-encoding:\r\nHost:", 400),
        ("Host:", "Transfer-Encoding : chunked\r\nHost:", 400),
        ("Host:", "X: a\r\n folded\r\nHost:", 400),
        ("Host:", "X: a\r\n\tfolded\r\nHost:", 400),
        ("Host:", "X: a\u{0}b\r\nHost:", 400),
        ("Host:", "X: a\u{b}b\r\nHost:", 400),
        ("Host:", "X: a\u{7f}b\r\nHost:", 400),
        ("Host:", "X: a\rb\r\nHost:", 400),
        ("Host:", "X: a\nHost:", 400),
        ("Host:", "X\r\nHost:", 400),
        ("Host:", ": x\r\nHost:", 400),
        ("Upgrade: websocket\r\n", "", 426),
        ("Upgrade: websocket", "Upgrade: h2c", 426),
        ("keep-alive, Upgrade", "keep-alive", 426),
        ("Version: 13", "Version: 8", 426),
        ("Version: 13", "Version: 13, 8", 426),
        ("Sec-WebSocket-Version: 13\r\n", "", 426),
        ("Version: 13", "Version: 13\r\nSec-WebSocket-Version: 13", 400),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ=A", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQAA", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub-5jZQ==", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", 400),
        ("Origin:", "Origin: x\r\nOrigin:", 400),
        ("Authorization:", "Authorization: Basic x\r\nAuthorization:", 400),
        ("Bearer abc.def-_~", "Bearer a\u{fc}", 400),
    ];
    for (from, to, status) in table {
        assert!(GOOD.contains(from), "{from}");
        let refusal = refused(&GOOD.replacen(from, to, 1));
        assert_eq!(refusal.status(), *status, "{to:?}: {refusal:?}");
    }
}

#[test]
fn lines_must_end_with_both() {
    assert_eq!(refused(&GOOD.replace("\r\n", "\n")).status(), 400);
    assert_eq!(refused(&GOOD.replacen("HTTP/1.1\r\n", "HTTP/1.1\n", 1)).status(), 400);
    let last = format!("{}\n", GOOD.strip_suffix("\r\n").unwrap());
    assert_eq!(refused(&last).status(), 400);
}

#[test]
fn heads_over_their_limits() {
    let bytes = GOOD.as_bytes();
    let limits = |bytes_max, fields_max| HeadLimits { bytes_max, fields_max };
    assert!(matches!(parse(bytes, limits(bytes.len(), 11)), Ok(Some(_))));
    let too_large = Some(Refusal::HeadTooLarge);
    assert_eq!(parse(bytes, limits(bytes.len() - 1, 11)).err(), too_large);
    assert_eq!(parse(bytes, limits(bytes.len(), 10)).err(), too_large);
    for bytes_max in 20..bytes.len() {
        let cut = |end: usize| parse(&bytes[..end], limits(bytes_max, 64));
        assert_eq!(cut(bytes_max).err(), too_large, "cut, and over already");
        assert!(matches!(cut(bytes_max - 1), Ok(None)));
    }
    let many = GOOD.replacen("Host:", &format!("{}Host:", "X: y\r\n".repeat(60)), 1);
    assert_eq!(parse(many.as_bytes(), limits(8192, 1000)).err(), too_large);
}

#[test]
fn query_values() {
    let query = "a=1&agent=web%2D1&empty=&bad=%zz&cut=%4&not=%ff&twice=1&twice=2&eq=a=b&plus=a+b&flag";
    for (key, expected) in [
        ("a", Some("1")),
        ("agent", Some("web-1")),
        ("empty", Some("")),
        ("eq", Some("a=b")),
        ("plus", Some("a+b")),
        ("bad", None),
        ("cut", None),
        ("not", None),
        ("twice", None),
        ("flag", None),
        ("absent", None),
        ("", None),
    ] {
        assert_eq!(query_value(query, key).as_deref(), expected, "{key}");
    }
}

#[test]
fn responses_are_whole() {
    use Refusal::*;
    for (refusal, field) in [
        (Malformed("Say it better."), "HTTP/1.1 400 Bad Request"),
        (Unauthorized, "WWW-Authenticate: Bearer"),
        (NotFound, "HTTP/1.1 404 Not Found"),
        (Method, "Allow: GET"),
        (UpgradeRequired, "Sec-WebSocket-Version: 13"),
        (HeadTooLarge, "HTTP/1.1 431 Request Header Fields Too Large"),
        (Version, "HTTP/1.1 505 HTTP Version Not Supported"),
        (Timeout, "HTTP/1.1 408 Request Timeout"),
    ] {
        let response = refusal.response(7);
        let text = std::str::from_utf8(&response).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let lines: Vec<&str> = head.split("\r\n").collect();
        assert!(lines[0].starts_with(&format!("HTTP/1.1 {} ", refusal.status())));
        assert!(lines.contains(&field), "{text}");
        assert!(lines.contains(&"Connection: close"), "{text}");
        assert!(lines.contains(&format!("Content-Length: {}", body.len()).as_str()));
        assert!(!body.trim().is_empty());
    }
}

/// RFC 9110 section 10.2.3.
#[test]
fn those_who_are_sent_away_for_a_while_are_told_different_times() {
    let secs = Duration::from_secs;
    for (refusal, told) in [
        (Refusal::Unavailable, 5..=7),
        (Refusal::TooManyFailures { wait: secs(10) }, 10..=15),
        (Refusal::TenantFull { wait: secs(30) }, 30..=45),
    ] {
        let found: BTreeSet<u32> = (0..500)
            .map(|seed| {
                let response = refusal.response(seed);
                let text = std::str::from_utf8(&response).unwrap();
                let field = text.lines().find_map(|line| line.strip_prefix("Retry-After: ")).unwrap();
                field.parse().unwrap()
            })
            .collect();
        assert_eq!(found, told.collect(), "{refusal:?}");
    }
}

#[test]
fn switching_names_what_was_agreed() {
    let accept = *b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
    let plain = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    assert_eq!(switching(accept, Offer::Nothing, None), format!("{plain}\r\n").as_bytes());
    assert_eq!(
        switching(accept, Offer::Ours(Encoding::Json), None),
        format!("{plain}Sec-WebSocket-Protocol: holdfast.v1.json\r\n\r\n").as_bytes()
    );
    assert_eq!(
        switching(accept, Offer::Nothing, Some(Deflate { server_window: Window::of_bits(11) })),
        format!(
            "{plain}Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
             client_no_context_takeover; server_max_window_bits=11\r\n\r\n"
        )
        .as_bytes()
    );
}

proptest! {
    #[test]
    fn damage_is_refused_or_harmless(at in any::<prop::sample::Index>(), byte: u8, cut in any::<prop::sample::Index>()) {
        let mut bytes = GOOD.as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let whole = parse(&bytes, LIMITS);
        let cut = &bytes[..cut.index(bytes.len())];
        match parse(cut, LIMITS) {
            Ok(None) => {}
            Ok(Some(upgrade)) => prop_assert_eq!(upgrade.head_bytes, whole.unwrap().unwrap().head_bytes),
            Err(refusal) => prop_assert_eq!(whole.err(), Some(refusal)),
        }
    }
}
