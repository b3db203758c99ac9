//! Records that no honest peer sends: each ends with its alert, in bounded time, and never with a panic.

use proptest::collection::vec;
use proptest::prelude::*;

use super::keys::{client_end, one_record, server_end};
use super::*;
use crate::net::tls::at_rest::IDLE_RECORDS_MAX;
use crate::net::tls::handshake::{HANDSHAKE_BYTES_MAX, HANDSHAKE_BYTES_MAX_WITH_CERTIFICATES};

/// Opens records in turn, the numbers counted from 0; what each was.
fn open_all(inners: &[&[u8]]) -> Vec<Opened> {
    let mut server = server_end(Suite::Aes128Gcm);
    let mut ciphers = Ciphers::new(1);
    let records = inners.iter().zip(0..).map(|(inner, number)| one_record(Suite::Aes128Gcm, number, inner));
    records.map(|mut record| server.open(&mut ciphers, &mut record)).collect()
}

const EMPTY: &[u8] = &[23];
const CANCELED: &[u8] = &[1, 90, 21];

#[test]
fn what_is_against_the_rules_is_refused_with_its_alert() {
    let long = [&[7; 16_384][..], &[23, 0]].concat();
    let cases: [(&[u8], Alert); 9] = [
        (&[0, 0, 0], Alert::UnexpectedMessage),
        (&[1, 20], Alert::UnexpectedMessage),
        (&[1, 0, 0, 2, 3, 3, 22], Alert::UnexpectedMessage),
        (&[24, 0, 0, 1, 0, 24, 0, 0, 1, 0, 22], Alert::UnexpectedMessage),
        (&[24, 0, 0, 22], Alert::UnexpectedMessage),
        (&[24, 0, 0, 1, 7, 22], Alert::IllegalParameter),
        (&[21], Alert::UnexpectedMessage),
        (&[2, 21], Alert::DecodeError),
        (&long, Alert::RecordOverflow),
    ];
    for (inner, alert) in cases {
        assert_eq!(open_all(&[inner, EMPTY]), [Opened::Refused(alert), Opened::Closed], "{inner:?}");
    }
}

#[test]
fn what_follows_a_close_or_a_failure_is_not_looked_at() {
    let data: &[u8] = &[b'x', 23];
    assert_eq!(open_all(&[&[1, 0, 21], data, &[99]]), [Opened::Closed, Opened::Closed, Opened::Closed]);
    assert_eq!(open_all(&[&[2, 40, 21], data]), [Opened::Failed(40), Opened::Closed]);
}

#[test]
fn records_that_bring_nothing_are_counted_until_one_brings_something() {
    let most = usize::from(IDLE_RECORDS_MAX);
    for idle in [EMPTY, CANCELED] {
        let mut inners = vec![idle; most];
        inners.push(&[b'x', 23]);
        inners.extend(vec![idle; most + 1]);
        let opened = open_all(&inners);
        let (last, before) = opened.split_last().expect("there are some");
        assert_eq!(*last, Opened::Refused(Alert::UnexpectedMessage));
        assert_eq!(before.iter().filter(|opened| **opened == Opened::Nothing).count(), 2 * most);
        assert_eq!(before[most], Opened::Data(5..6));
    }
}

#[test]
fn a_flood_of_key_updates_ends_it_and_is_never_answered_more_than_once() {
    let mut pair = Pair::new(Suite::Aes128Gcm);
    for _ in 0..=IDLE_RECORDS_MAX {
        pair.client.refresh_traffic_keys().expect("it is open");
    }
    let taken = pair.take();
    assert_eq!(taken.len(), usize::from(IDLE_RECORDS_MAX) + 1);
    assert_eq!(taken.last(), Some(&Taken::Other(Opened::Refused(Alert::UnexpectedMessage))));
    let mut out = Vec::new();
    pair.rest.seal(&mut pair.ciphers, &[], &mut out).expect("it is open");
    assert_eq!(front(&out), Front::Whole(out.len()), "one update for all of them");
}

#[test]
fn nothing_in_the_clear_is_taken_any_more() {
    let clear: [&[u8]; 4] =
        [&[20, 3, 3, 0, 1, 1], &[21, 3, 3, 0, 2, 1, 0], &[22, 3, 3, 0, 5, 24, 0, 0, 1, 0], &[20, 3, 3, 0, 0]];
    for record in clear {
        let mut server = server_end(Suite::Aes128Gcm);
        let opened = server.open(&mut Ciphers::new(1), &mut record.to_vec());
        assert_eq!(opened, Opened::Refused(Alert::UnexpectedMessage), "{record:?}");
    }
}

#[test]
fn every_bit_of_a_record_counts() {
    for suite in SUITES {
        let record = one_record(suite, 0, b"some data\x17\0\0");
        let mut ciphers = Ciphers::new(1);
        assert_eq!(server_end(suite).open(&mut ciphers, &mut record.clone()), Opened::Data(5..14));
        for bit in 0..record.len() * 8 {
            let mut touched = record.clone();
            touched[bit / 8] ^= 1 << (bit % 8);
            let allowed: &[Alert] = match bit / 8 {
                0 => &[Alert::UnexpectedMessage, Alert::DecodeError],
                1 | 3 | 4 => &[Alert::DecodeError],
                _ => &[Alert::BadRecordMac],
            };
            let opened = server_end(suite).open(&mut ciphers, &mut touched);
            let Opened::Refused(alert) = opened else { panic!("bit {bit}: {opened:?}") };
            assert!(allowed.contains(&alert), "bit {bit}: {alert:?}");
        }
    }
}

#[test]
fn a_record_that_is_cut_repeated_left_out_or_from_elsewhere_does_not_open() {
    let [first, second] = [0, 1].map(|number| one_record(Suite::Aes128Gcm, number, b"x\x17"));
    let mut ciphers = Ciphers::new(1);
    let mac = Opened::Refused(Alert::BadRecordMac);
    let mut server = server_end(Suite::Aes128Gcm);
    assert_eq!(server.open(&mut ciphers, &mut first.clone()), Opened::Data(5..6));
    assert_eq!(server.open(&mut ciphers, &mut first.clone()), mac, "repeated");
    assert_eq!(server_end(Suite::Aes128Gcm).open(&mut ciphers, &mut second.clone()), mac, "one was left out");
    assert_eq!(server_end(Suite::ChaCha20Poly1305).open(&mut ciphers, &mut first.clone()), mac, "another suite");
    assert_eq!(client_end(Suite::Aes128Gcm).open(&mut ciphers, &mut first.clone()), mac, "sent back to its sender");
    for body in 0..first.len() - 5 {
        let mut short = first[..5 + body].to_vec();
        short[4] = body as u8;
        assert_eq!(server_end(Suite::Aes128Gcm).open(&mut ciphers, &mut short), mac, "a body of {body}");
    }
}

#[test]
fn what_is_no_handshake_is_refused_and_answered_with_an_alert_that_can_be_read() {
    let server = server(parts());
    let cases: [(&[u8], Option<Alert>); 6] = [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Some(Alert::DecodeError)),
        (&[22, 3, 1, 0xff, 0xff, 1], Some(Alert::DecodeError)),
        (&[23, 3, 3, 0, 1, 0], Some(Alert::UnexpectedMessage)),
        // rustls ends the handshake without a word for a message that says it is longer than any may be.
        (&[22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff], None),
        // An alert is not answered.
        (&[21, 3, 1, 0, 2, 2, 40], None),
        // Longer than a record may be, though rustls would wait for the rest of it: it has no alert for it.
        (&[22, 3, 1, 0x41, 1], None),
    ];
    for (bytes, alert) in cases {
        let mut out = Vec::new();
        let mut handshake = Handshake::new(&server).expect("the settings serve");
        let (_, step) = handshake.take(bytes, &mut out);
        assert!(matches!(step, Step::Failed(_)), "{bytes:?}: {step:?}");
        let told = alert.map(|alert| [&[21, 3, 3, 0, 2][..], &alert.body()].concat());
        assert_eq!(out, told.unwrap_or_default(), "{bytes:?}");
    }
}

#[test]
fn a_handshake_has_a_length_that_it_must_not_pass() {
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots()), Arc::new(default_provider()));
    let clients = verifier.build().expect("there is a root");
    let cases = [(parts(), HANDSHAKE_BYTES_MAX), (Parts { clients, ..parts() }, HANDSHAKE_BYTES_MAX_WITH_CERTIFICATES)];
    for (parts, most) in cases {
        let mut handshake = Handshake::new(&server(parts)).expect("the settings serve");
        // A hello that says it has 65,000 bytes, in records of 1,000, byte by byte.
        let (mut given, mut body) = (0, vec![1, 0, 0xfd, 0xe8]);
        let failure = 'all: loop {
            body.resize(1000, 0);
            for byte in [&[22, 3, 1, 3, 0xe8][..], &body].concat() {
                match handshake.take(&[byte], &mut Vec::new()).1 {
                    Step::More => given += 1,
                    Step::Failed(failure) => break 'all failure,
                    Step::Done => panic!("it is not done"),
                }
            }
            body.clear();
        };
        assert_eq!((given, failure.label()), (most, "too_long"));
    }
}

#[test]
fn change_cipher_specs_do_not_go_on_for_ever() {
    let server = server(parts());
    let mut handshake = Handshake::new(&server).expect("the settings serve");
    let mut client = client(Suite::Aes128Gcm);
    assert!(matches!(handshake.take(&sent(&mut client), &mut Vec::new()).1, Step::More));
    let flood = [20, 3, 3, 0, 1, 1].repeat(100);
    assert!(matches!(handshake.take(&flood, &mut Vec::new()).1, Step::Failed(_)));
}

proptest! {
    #[test]
    fn any_bytes_open_to_nothing(bytes in vec(any::<u8>(), 0..200), head in any::<bool>()) {
        let mut record = bytes;
        if head && record.len() >= 5 {
            let body = (record.len() - 5) as u8;
            record[..5].copy_from_slice(&[23, 3, 3, 0, body]);
        }
        for suite in SUITES {
            let opened = server_end(suite).open(&mut Ciphers::new(1), &mut record.clone());
            prop_assert!(matches!(opened, Opened::Refused(_)));
        }
    }

    #[test]
    fn any_inner_plaintext_is_taken_or_refused(inner in vec(prop_oneof![any::<u8>(), 20_u8..25, Just(0)], 1..40)) {
        let opened = open_all(&[&inner, &inner]);
        if let Opened::Data(range) = &opened[0] {
            prop_assert!(range.start == 5 && range.end < 5 + inner.len());
        }
    }

    #[test]
    fn any_fragments_come_out_as_they_went_in(fragments in vec(vec(any::<u8>(), 0..9000), 0..8), suite in 0..3_usize) {
        let (mut server, mut client) = (server_end(SUITES[suite]), client_end(SUITES[suite]));
        let mut ciphers = Ciphers::new(2);
        let slices: Vec<&[u8]> = fragments.iter().map(Vec::as_slice).collect();
        let mut out = Vec::new();
        server.seal(&mut ciphers, &slices, &mut out).expect("it is open");
        let (mut at, mut plain) = (0, Vec::new());
        while let Front::Whole(whole) = front(&out[at..]) {
            let record = &mut out[at..at + whole];
            let Opened::Data(range) = client.open(&mut ciphers, record) else { panic!("it is data") };
            plain.extend_from_slice(&record[range]);
            at += whole;
        }
        prop_assert_eq!(plain, fragments.concat());
        prop_assert_eq!(at, out.len());
    }
}
