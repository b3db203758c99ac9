//! What a certificate says of its owner, and until when (RFC 5280 section 4.1.2): fields as text, to log and to match.
//!
//! Owns a reader of just so much DER. It checks no signature and trusts nothing: who may be believed has been decided by the
//! handshake. Text with control characters, or of a type that is not UTF-8 or a part of it, is left out.

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The tag around the version.
const VERSION: u8 = 0xa0;
/// UTF8String, PrintableString, IA5String.
const TEXTS: [u8; 3] = [0x0c, 0x13, 0x16];

/// id-at-commonName, id-at-organizationName, id-at-organizationalUnitName (RFC 5280 appendix A.1).
const COMMON_NAME: [u8; 3] = [0x55, 4, 3];
const ORGANIZATION: [u8; 3] = [0x55, 4, 10];
const ORGANIZATIONAL_UNIT: [u8; 3] = [0x55, 4, 11];

/// The owner of a certificate. A field may be there several times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// CN.
    pub common_names: Vec<String>,
    /// O.
    pub organizations: Vec<String>,
    /// OU.
    pub units: Vec<String>,
    /// DNS names of the subjectAltName.
    pub dns_names: Vec<String>,
    /// URIs of the subjectAltName.
    pub uris: Vec<String>,
    /// The first second of its life, since 1970.
    pub not_before: u64,
    /// The last second of its life, since 1970.
    pub not_after: u64,
}

/// Reads a certificate. `None` if it is none.
#[must_use]
pub fn read(certificate: &CertificateDer<'_>) -> Option<Subject> {
    let parsed = EndEntityCert::try_from(certificate).ok()?;
    let mut subject = Subject {
        dns_names: parsed.valid_dns_names().map(str::to_owned).collect(),
        uris: parsed.valid_uri_names().filter(|uri| is_text(uri)).map(str::to_owned).collect(),
        ..Subject::default()
    };
    let mut body = Der(Der(Der(certificate).take(SEQUENCE)?).take(SEQUENCE)?);
    if body.0.first() == Some(&VERSION) {
        body.take(VERSION)?;
    }
    let _serial = body.take(INTEGER)?;
    let _algorithm = body.take(SEQUENCE)?;
    let _issuer = body.take(SEQUENCE)?;
    let mut life = Der(body.take(SEQUENCE)?);
    (subject.not_before, subject.not_after) = (time(&mut life).unwrap_or(0), time(&mut life)?);
    names(body.take(SEQUENCE)?, &mut subject)?;
    Some(subject)
}

/// A distinguished name: a sequence of sets of type and value.
fn names(name: &[u8], subject: &mut Subject) -> Option<()> {
    let mut sets = Der(name);
    while !sets.0.is_empty() {
        let mut pairs = Der(sets.take(SET)?);
        while !pairs.0.is_empty() {
            let mut pair = Der(pairs.take(SEQUENCE)?);
            let kind = pair.take(OBJECT_IDENTIFIER)?;
            let (tag, value) = pair.next()?;
            let field = match <[u8; 3]>::try_from(kind) {
                Ok(COMMON_NAME) => &mut subject.common_names,
                Ok(ORGANIZATION) => &mut subject.organizations,
                Ok(ORGANIZATIONAL_UNIT) => &mut subject.units,
                _ => continue,
            };
            let text = std::str::from_utf8(value).ok().filter(|text| TEXTS.contains(&tag) && is_text(text));
            field.extend(text.map(str::to_owned));
        }
    }
    Some(())
}

fn is_text(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control)
}

/// The next time, in seconds since 1970: two or four digits of the year, then month, day, hour, minute, second and Z (RFC 5280
/// section 4.1.2.5).
fn time(times: &mut Der<'_>) -> Option<u64> {
    let (tag, text) = times.next()?;
    let text = std::str::from_utf8(text.strip_suffix(b"Z")?).ok()?;
    let (year, rest) = match tag {
        UTC_TIME if text.len() == 12 => {
            let year = digits(text, 0, 2)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, text.get(2..)?)
        }
        GENERALIZED_TIME if text.len() == 14 => (digits(text, 0, 4)?, text.get(4..)?),
        _ => return None,
    };
    let (month, day) = (digits(rest, 0, 2)?, digits(rest, 2, 4)?);
    let (hour, minute, second) = (digits(rest, 4, 6)?, digits(rest, 6, 8)?, digits(rest, 8, 10)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60
    {
        return None;
    }
    Some(((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

fn digits(text: &str, from: usize, to: usize) -> Option<u64> {
    let part = text.get(from..to)?;
    if part.bytes().all(|byte| byte.is_ascii_digit()) { part.parse().ok() } else { None }
}

/// Days from the first of 1970 to this one, in the Gregorian calendar, with years that begin in March.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    let in_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + leap_days + in_year - 719_468
}

/// A run of DER values.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next value: its tag and content. Lengths of up to three bytes, in the shortest form or not.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// The next value, if it has this tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, DnValue, KeyPair, SanType, date_time_ymd};

    use super::*;

    fn made(change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(["b.test".to_owned(), "*.c.test".to_owned()]).expect("they are names");
        change(&mut params);
        let key = KeyPair::generate().expect("it is made");
        params.self_signed(&key).expect("it is signed").der().clone()
    }

    #[test]
    fn all_fields_are_found() {
        let certificate = made(|params| {
            let name = &mut params.distinguished_name;
            name.push(DnType::CommonName, "agent-7 \u{e4}");
            name.push(DnType::OrganizationName, DnValue::PrintableString("Acme".try_into().expect("it is text")));
            name.push(DnType::OrganizationalUnitName, "Plant 2");
            name.push(DnType::CountryName, "DE");
            let uri = "spiffe://acme.test/agent/7".try_into().expect("it is text");
            params.subject_alt_names.push(SanType::URI(uri));
            params.not_before = date_time_ymd(2030, 3, 1);
            params.not_after = date_time_ymd(2031, 3, 1);
        });
        let expected = Subject {
            common_names: vec!["agent-7 \u{e4}".to_owned()],
            organizations: vec!["Acme".to_owned()],
            units: vec!["Plant 2".to_owned()],
            dns_names: vec!["b.test".to_owned(), "*.c.test".to_owned()],
            uris: vec!["spiffe://acme.test/agent/7".to_owned()],
            not_before: 1_898_553_600,
            not_after: 1_930_089_600,
        };
        assert_eq!(read(&certificate), Some(expected));
    }

    #[test]
    fn times_of_both_kinds() {
        let dates = [
            (1970, 1, 1, 0),
            (1999, 12, 31, 946_598_400),
            (2000, 2, 29, 951_782_400),
            (2049, 12, 31, 2_524_521_600),
            (2050, 1, 1, 2_524_608_000),
            (2100, 3, 1, 4_107_542_400),
            (9999, 12, 31, 253_402_214_400),
        ];
        for (year, month, day, expected) in dates {
            let certificate = made(|params| params.not_after = date_time_ymd(year, month, day));
            let read = read(&certificate).expect("it is a certificate");
            assert_eq!(read.not_after, expected, "{year}-{month}-{day}");
        }
        for text in
            [&b"\x17\x0d991301000000Z"[..], b"\x17\x0d99010100000aZ", b"\x17\x0c990101000000", b"\x18\x0d990101000000Z"]
        {
            assert_eq!(time(&mut Der(text)), None, "{text:?}");
        }
    }

    #[test]
    fn text_that_could_deceive_is_left_out() {
        for text in ["a\0b", "a\nb", "", "\u{7f}"] {
            let certificate = made(|params| params.distinguished_name.push(DnType::CommonName, text));
            assert_eq!(read(&certificate).expect("it is a certificate").common_names, [""; 0], "{text:?}");
        }
    }

    #[test]
    fn a_certificate_that_is_cut_or_touched_is_read_or_not() {
        let certificate = made(|_| ());
        assert!(read(&certificate).is_some());
        for at in 0..certificate.len() {
            assert_eq!(read(&CertificateDer::from(&certificate[..at])), None, "cut at {at}");
            for byte in [0, 0x80, 0x83, 0xff] {
                let mut touched = certificate.to_vec();
                touched[at] = byte;
                let _ = read(&CertificateDer::from(touched));
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut subject = Subject::default();
            let _ = (names(&bytes, &mut subject), time(&mut Der(&bytes)), read(&CertificateDer::from(bytes.as_slice())));
        }
    }
}
