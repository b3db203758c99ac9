//! The PROXY protocol header, versions 1 and 2: what a TCP balancer writes before the first byte of the connection that it passes
//! on, to tell where that one came from ("The PROXY protocol", HAProxy, sections 2.1 to 2.2).
//!
//! Owns the reading of one header. It decides nothing about who may send one, allocates nothing, and looks at no byte behind the header.
//!
//! ```text
//!  v1   PROXY TCP4 192.0.2.1 198.51.100.2 50000 443\r\n
//!  v2   signature (12)  version+command  family+protocol  length (2)  addresses  TLVs: type (1) length (2) value …
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Most bytes of a header of either version. Version 2 could say up to 65,551; what balancers write has some hundred, with a
/// client's certificate among its TLVs some thousand.
pub const HEADER_BYTES_MAX: usize = 4096;

/// Most bytes of a header of version 1, its CR LF included.
const LINE_BYTES_MAX: usize = 107;
const LINE_START: &[u8] = b"PROXY ";
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and protocol, length.
const FIXED_BYTES: usize = 16;

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// How many bytes it has; what follows is the connection's.
    pub bytes: usize,
    /// Where the connection came from. `None` where the balancer speaks for itself (LOCAL) or does not know (UNKNOWN, UNSPEC):
    /// then nobody can tell, and the socket knows the balancer alone.
    pub source: Option<SocketAddr>,
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// They begin like neither version.
    Start,
    /// The line of version 1 is longer than it may be, or has no CR LF where it must.
    Line,
    /// The line of version 1 names no protocol that there is, or an address or port is wrong, or one too many.
    Fields,
    /// Version 2 with a command that there is not.
    Command,
    /// Version 2 with a family or protocol that is not TCP over IP.
    Family,
    /// The length of version 2 is too short for its addresses, or more than [`HEADER_BYTES_MAX`] allows.
    Length,
    /// A TLV of version 2 does not fit into the header.
    Tlv,
}

/// Reads a header at the start of `bytes`; `None` when it is cut.
///
/// # Errors
/// What is wrong, as soon as it can be told.
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, Broken> {
    if begins(bytes, LINE_START) {
        line(bytes)
    } else if begins(bytes, SIGNATURE) {
        binary(bytes)
    } else {
        Err(Broken::Start)
    }
}

/// Whether as much as there is of `bytes` is the start of `start`, or begins with it.
fn begins(bytes: &[u8], start: &[u8]) -> bool {
    let known = bytes.len().min(start.len());
    bytes[..known] == start[..known]
}

fn line(bytes: &[u8]) -> Result<Option<Header>, Broken> {
    // The last place where the CR may be, LF behind it.
    let seen = &bytes[..bytes.len().min(LINE_BYTES_MAX - 1)];
    let Some(end) = seen.iter().position(|byte| !matches!(byte, b' '..=b'~')) else {
        return if bytes.len() < LINE_BYTES_MAX - 1 { Ok(None) } else { Err(Broken::Line) };
    };
    match (seen[end], bytes.get(end + 1)) {
        (b'\r', None) => Ok(None),
        (b'\r', Some(b'\n')) => {
            let text = seen.get(LINE_START.len()..end).and_then(|line| std::str::from_utf8(line).ok());
            let source = fields(text.ok_or(Broken::Line)?)?;
            Ok(Some(Header { bytes: end + 2, source }))
        }
        _ => Err(Broken::Line),
    }
}

/// What stands between `PROXY ` and CR LF.
fn fields(text: &str) -> Result<Option<SocketAddr>, Broken> {
    let mut words = text.split(' ');
    let protocol = words.next().unwrap_or_default();
    if protocol == "UNKNOWN" {
        // What follows must be passed over (section 2.1).
        return Ok(None);
    }
    let mut word = || words.next().ok_or(Broken::Fields);
    let (from, to, from_port, to_port) = (word()?, word()?, word()?, word()?);
    if words.next().is_some() {
        return Err(Broken::Fields);
    }
    let address = |text: &str| -> Option<IpAddr> {
        match protocol {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    match (address(from), address(to), port(from_port), port(to_port)) {
        (Some(from), Some(_), Some(from_port), Some(_)) => Ok(Some(SocketAddr::new(from, from_port))),
        _ => Err(Broken::Fields),
    }
}

/// Digits without a leading zero.
fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

fn binary(bytes: &[u8]) -> Result<Option<Header>, Broken> {
    let local = match bytes.get(12) {
        None => return Ok(None),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(_) => return Err(Broken::Command),
    };
    // Bytes of source and destination: address, address, port, port.
    let address_bytes = match (local, bytes.get(13)) {
        (_, None) => return Ok(None),
        // A balancer that speaks for itself may say any family, and is not asked for it (section 2.2).
        (true, _) | (_, Some(0x00)) => 0,
        (_, Some(0x11)) => 12,
        (_, Some(0x21)) => 36,
        (_, Some(_)) => return Err(Broken::Family),
    };
    let Some(&[high, low]) = bytes.get(14..FIXED_BYTES) else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length < address_bytes || FIXED_BYTES + length > HEADER_BYTES_MAX {
        return Err(Broken::Length);
    }
    let Some(body) = bytes.get(FIXED_BYTES..FIXED_BYTES + length) else {
        return Ok(None);
    };
    let source = source(&body[..address_bytes]);
    // What a balancer adds about itself or about nothing known has no form that we rely on.
    if address_bytes > 0 && !are_tlvs(&body[address_bytes..]) {
        return Err(Broken::Tlv);
    }
    Ok(Some(Header { bytes: FIXED_BYTES + length, source }))
}

/// The source of an address block: 12 bytes for IPv4, 36 for IPv6.
fn source(block: &[u8]) -> Option<SocketAddr> {
    let half = block.len().saturating_sub(4) / 2;
    let &[high, low] = block.get(2 * half..2 * half + 2)? else {
        return None;
    };
    let port = u16::from_be_bytes([high, low]);
    let address = match half {
        4 => IpAddr::from(<[u8; 4]>::try_from(&block[..half]).ok()?),
        16 => IpAddr::from(<[u8; 16]>::try_from(&block[..half]).ok()?),
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

/// Whether the rest is whole TLVs. None of them is looked into: a checksum protects nothing that TCP does not.
fn are_tlvs(mut rest: &[u8]) -> bool {
    while let Some((head, behind)) = rest.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([head[1], head[2]]));
        let Some(next) = behind.get(length..) else {
            return false;
        };
        rest = next;
    }
    rest.is_empty()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A header of version 2.
    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family][..], &length, body].concat()
    }

    fn tcp4(tlvs: &[u8]) -> Vec<u8> {
        v2(0x21, 0x11, &[&[192, 0, 2, 1, 198, 51, 100, 2, 0xc3, 0x50, 1, 0xbb], tlvs].concat())
    }

    fn tcp6() -> Vec<u8> {
        let address = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
        v2(0x21, 0x21, &[&address("2001:db8::1")[..], &address("2001:db8::2"), &[0, 9, 1, 0xbb]].concat())
    }

    fn good() -> Vec<(Vec<u8>, Option<&'static str>)> {
        let longest = format!("PROXY TCP6 {0} {0} 65535 65535\r\n", "ffff:".repeat(7) + "ffff");
        assert_eq!(longest.len(), 104);
        let unknown = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LINE_BYTES_MAX - 16));
        assert_eq!(unknown.len(), LINE_BYTES_MAX);
        let all = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535";
        vec![
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 50000 443\r\n".to_vec(), Some("192.0.2.1:50000")),
            (b"PROXY TCP4 255.255.255.255 0.0.0.0 0 65535\r\n".to_vec(), Some("255.255.255.255:0")),
            (b"PROXY TCP6 2001:db8::1 ::1 9 443\r\n".to_vec(), Some("[2001:db8::1]:9")),
            (longest.into_bytes(), Some(all)),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 what ever 99999\r\n".to_vec(), None),
            (unknown.into_bytes(), None),
            (tcp4(b""), Some("192.0.2.1:50000")),
            // A checksum, and two more TLVs of which one is empty.
            (tcp4(b"\x03\0\x04\x01\x02\x03\x04\x01\0\x02h2\x04\0\0"), Some("192.0.2.1:50000")),
            (tcp6(), Some("[2001:db8::1]:9")),
            (v2(0x20, 0x00, b""), None),
            (v2(0x20, 0x31, &[7; 216]), None),
            (v2(0x20, 0xff, b"anything"), None),
            (v2(0x21, 0x00, b"anything"), None),
            (
                tcp4(&[&[0xe0, 0x0f, 0xe1][..], &[9; HEADER_BYTES_MAX - FIXED_BYTES - 12 - 3]].concat()),
                Some("192.0.2.1:50000"),
            ),
        ]
    }

    #[test]
    fn headers_are_read_at_every_cut() {
        for (header, source) in good() {
            let source = source.map(|text| text.parse().unwrap());
            let expected = Header { bytes: header.len(), source };
            for behind in [&b""[..], b"GET / HTTP/1.1\r\n", b"\r\n", b"PROXY "] {
                assert_eq!(parse(&[&header[..], behind].concat()), Ok(Some(expected)), "{header:?}");
            }
            for cut in 0..header.len() {
                assert_eq!(parse(&header[..cut]), Ok(None), "{header:?} at {cut}");
            }
        }
    }

    #[test]
    fn anything_else_is_refused() {
        use Broken::{Command, Family, Fields, Length, Line, Start, Tlv};
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LINE_BYTES_MAX - 15));
        let v2_of = |length: u16| [SIGNATURE, &[0x21, 0x11][..], &length.to_be_bytes(), &[0; 5000]].concat();
        let line = |text: &str| text.as_bytes().to_vec();
        for (bytes, why) in [
            (line("GET /v1/agent HTTP/1.1\r\n"), Start),
            (line("P\r\n"), Start),
            (line("proxy TCP4 1.2.3.4 1.2.3.4 1 1\r\n"), Start),
            (line("PROXY\r\n"), Start),
            (vec![0x16, 3, 1], Start),
            (line("\r\n\r\n\0\r\nQUIT\r"), Start),
            (line("\r\nPROXY"), Start),
            (line(&long), Line),
            (line("PROXY TCP4 1.2.3.4 1.2.3.4 1 1\n"), Line),
            (line("PROXY TCP4 1.2.3.4 1.2.3.4 1 1\r\r\n"), Line),
            (line("PROXY TCP4 1.2.3.4\t1.2.3.4 1 1\r\n"), Line),
            (line("PROXY UNKNOWN \u{fc}\r\n"), Line),
            (line("PROXY \r\n"), Fields),
            (line("PROXY UNKNOWNX\r\n"), Fields),
            (line("PROXY TCP4\r\n"), Fields),
            (line("PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n"), Fields),
            (line("PROXY TCP4 1.2.3.4 1.2.3.4 1 1 1\r\n"), Fields),
            (line("PROXY TCP4 1.2.3.4 1.2.3.4 1 1 \r\n"), Fields),
            (line("PROXY  TCP4 1.2.3.4 1.2.3.4 1 1\r\n"), Fields),
            (line("PROXY TCP4 1.2.3.04 1.2.3.4 1 1\r\n"), Fields),
            (line("PROXY TCP4 ::1 1.2.3.4 1 1\r\n"), Fields),
            (line("PROXY TCP6 1.2.3.4 ::1 1 1\r\n"), Fields),
            (line("PROXY TCP6 ::1%eth0 ::1 1 1\r\n"), Fields),
            (line("PROXY TCP6 [::1] ::1 1 1\r\n"), Fields),
            (line("PROXY TCP4 1.2.3.4 1.2.3.4 65536 1\r\n"), Fields),
            (line("PROXY TCP4 1.2.3.4 1.2.3.4 +1 1\r\n"), Fields),
            (line("PROXY TCP4 1.2.3.4 1.2.3.4 01 1\r\n"), Fields),
            (line("PROXY TCP4 1.2.3.4 1.2.3.4 1 -1\r\n"), Fields),
            (line("PROXY UDP4 1.2.3.4 1.2.3.4 1 1\r\n"), Fields),
            (v2(0x22, 0x11, &[0; 12]), Command),
            (v2(0x11, 0x11, &[0; 12]), Command),
            (v2(0x21, 0x12, &[0; 12]), Family),
            (v2(0x21, 0x22, &[0; 36]), Family),
            (v2(0x21, 0x31, &[0; 216]), Family),
            (v2(0x21, 0x01, &[0; 12]), Family),
            (v2(0x21, 0x11, &[0; 11]), Length),
            (v2(0x21, 0x21, &[0; 35]), Length),
            (v2_of(u16::MAX), Length),
            (v2_of((HEADER_BYTES_MAX - FIXED_BYTES + 1) as u16), Length),
            (tcp4(&[1]), Tlv),
            (tcp4(&[1, 0]), Tlv),
            (tcp4(&[1, 0, 1]), Tlv),
            (tcp4(&[1, 0xff, 0xff, 0]), Tlv),
        ] {
            assert_eq!(parse(&bytes), Err(why), "{:?}", String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn the_end_of_a_line_is_not_waited_for_without_end() {
        let endless = [LINE_START, &[b'x'; 5000]].concat();
        for count in 0..LINE_BYTES_MAX - 1 {
            assert_eq!(parse(&endless[..count]), Ok(None), "{count}");
        }
        for count in LINE_BYTES_MAX - 1..endless.len() {
            assert_eq!(parse(&endless[..count]), Err(Broken::Line), "{count}");
        }
        assert_eq!(parse(&[&endless[..LINE_BYTES_MAX - 2], b"\r"].concat()), Ok(None));
    }

    proptest! {
        #[test]
        fn what_a_balancer_writes_is_read(from: Ipv4Addr, from6: Ipv6Addr, to: Ipv4Addr, port: u16, to_port: u16) {
            let expected = SocketAddr::new(from.into(), port);
            let line = format!("PROXY TCP4 {from} {to} {port} {to_port}\r\n");
            prop_assert_eq!(parse(line.as_bytes()), Ok(Some(Header { bytes: line.len(), source: Some(expected) })));
            let line = format!("PROXY TCP6 {from6} ::1 {port} {to_port}\r\n");
            let expected6 = SocketAddr::new(from6.into(), port);
            prop_assert_eq!(parse(line.as_bytes()), Ok(Some(Header { bytes: line.len(), source: Some(expected6) })));
            let ports = [port.to_be_bytes(), to_port.to_be_bytes()].concat();
            let header = v2(0x21, 0x11, &[&from.octets()[..], &to.octets(), &ports].concat());
            prop_assert_eq!(parse(&header), Ok(Some(Header { bytes: header.len(), source: Some(expected) })));
        }
    }
}
