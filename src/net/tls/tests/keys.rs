//! Keys that come to their end, without eight million records: two connections at rest face each other with any numbers.

use super::*;
use crate::net::tls::at_rest::{OPENED_RECORDS_MAX, SEALED_RECORDS_MAX};

/// Two ends with made-up secrets; `up` and `down` are the numbers of the next record in each direction.
fn ends(suite: Suite, up: u64, down: u64) -> (Rest, Rest) {
    let (one, two) = ([1; 48], [2; 48]);
    let (one, two) = (&one[..suite.secret_bytes()], &two[..suite.secret_bytes()]);
    let server = Rest::new(suite, (one, up), (two, down)).expect("the numbers fit");
    let client = Rest::new(suite, (two, down), (one, up)).expect("the numbers fit");
    (server, client)
}

/// Opens all records: their data joined, and what else they were.
fn open(rest: &mut Rest, ciphers: &mut Ciphers, bytes: &mut [u8]) -> (Vec<u8>, Vec<Opened>) {
    let (mut plain, mut others) = (Vec::new(), Vec::new());
    let mut at = 0;
    while let Front::Whole(whole) = front(&bytes[at..]) {
        let record = &mut bytes[at..at + whole];
        match rest.open(ciphers, record) {
            Opened::Data(range) => plain.extend_from_slice(&record[range]),
            other => others.push(other),
        }
        at += whole;
    }
    assert_eq!(at, bytes.len());
    (plain, others)
}

#[test]
fn our_key_is_changed_before_its_limit_in_the_middle_of_a_message() {
    for suite in SUITES {
        let (mut server, mut client) = ends(suite, 0, SEALED_RECORDS_MAX - 2);
        let mut ciphers = Ciphers::new(4);
        let message = vec![9; 5 * 16_384];
        let mut out = Vec::new();
        server.seal(&mut ciphers, &[&message], &mut out).expect("it is open");
        let (plain, others) = open(&mut client, &mut ciphers, &mut out);
        assert_eq!((plain, others), (message, vec![Opened::Nothing]), "one key update, and it asks for nothing");
        assert!(!client.owes());
        assert!(format!("{server:?}").contains("Counter("), "it goes on");
        out.clear();
        client.seal(&mut ciphers, &[b"up"], &mut out).expect("it is open");
        assert_eq!(open(&mut server, &mut ciphers, &mut out).0, b"up", "the other direction keeps its key");
    }
}

#[test]
fn a_peer_that_keeps_its_key_for_too_long_is_asked_once_for_the_next() {
    let (mut server, mut client) = ends(Suite::Aes128Gcm, OPENED_RECORDS_MAX - 1, 0);
    let mut ciphers = Ciphers::new(4);
    // The other end would change its own key long before: it is put there by hand.
    let (mut out, mut back) = (Vec::new(), Vec::new());
    let sealed = one_record(Suite::Aes128Gcm, OPENED_RECORDS_MAX - 1, &[b'x', 23]);
    let mut sealed = sealed.to_vec();
    assert_eq!(open(&mut server, &mut ciphers, &mut sealed).0, b"x");
    assert!(server.owes());
    server.seal(&mut ciphers, &[], &mut out).expect("it is open");
    assert!(!server.owes());
    assert_eq!(open(&mut client, &mut ciphers, &mut out).1, [Opened::Nothing]);
    assert!(client.owes(), "it was asked");
    client.seal(&mut ciphers, &[b"new"], &mut back).expect("it is open");
    assert!(!client.owes());
}

#[test]
fn a_peer_that_changes_its_key_by_itself_is_not_asked_any_more() {
    let (suite, last) = (Suite::ChaCha20Poly1305, OPENED_RECORDS_MAX - 1);
    for asks in [0, 1] {
        let (mut server, _) = ends(suite, last, 0);
        let mut ciphers = Ciphers::new(4);
        assert_eq!(open(&mut server, &mut ciphers, &mut one_record(suite, last, &[b'x', 23])).0, b"x");
        assert!(server.owes());
        let mut update = one_record(suite, last + 1, &[24, 0, 0, 1, asks, 22]);
        assert_eq!(open(&mut server, &mut ciphers, &mut update).1, [Opened::Nothing]);
        assert_eq!(server.owes(), asks == 1);
    }
}

/// A record with this TLSInnerPlaintext, sealed as the client end of [`ends`] would.
pub(super) fn one_record(suite: Suite, number: u64, inner: &[u8]) -> Vec<u8> {
    use crate::net::tls::suite::{Cipher, TAG_BYTES};

    let secret = [1; 48];
    let cipher = Cipher::new(suite, &secret[..suite.secret_bytes()]).expect("it is a secret");
    let head = crate::net::tls::record::sealed_head(inner.len() + TAG_BYTES);
    let mut record = head.to_vec();
    record.extend_from_slice(inner);
    let tag = cipher.seal(number, head, &mut record[5..]).expect("it is sealed");
    record.extend_from_slice(tag.as_ref());
    record
}

/// The server end that opens what [`one_record`] makes.
pub(super) fn server_end(suite: Suite) -> Rest {
    ends(suite, 0, 0).0
}

/// Its client.
pub(super) fn client_end(suite: Suite) -> Rest {
    ends(suite, 0, 0).1
}

#[test]
fn a_peers_numbers_run_out() {
    let last = (1 << 48) - 2;
    let (mut server, _) = ends(Suite::Aes128Gcm, last, 0);
    let mut ciphers = Ciphers::new(1);
    let mut record = one_record(Suite::Aes128Gcm, last, &[b'x', 23]);
    assert_eq!(open(&mut server, &mut ciphers, &mut record).0, b"x");
    let mut record = one_record(Suite::Aes128Gcm, last + 1, &[b'x', 23]);
    assert_eq!(open(&mut server, &mut ciphers, &mut record).1, [Opened::Refused(Alert::InternalError)]);
}

#[test]
fn secrets_of_the_wrong_length_are_no_connection() {
    let secret = [1; 48];
    for suite in SUITES {
        for bytes in [0, 16, 31, 33, 47] {
            assert!(Rest::new(suite, (&secret[..bytes], 0), (&secret[..suite.secret_bytes()], 0)).is_none());
            assert!(Rest::new(suite, (&secret[..suite.secret_bytes()], 0), (&secret[..bytes], 0)).is_none());
        }
    }
}
