//! Clients of TLS 1.2, where they are let in: as live sessions behind the same trait.

use rustls::crypto::CipherSuiteCommon;
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, Error, ServerConfig, ServerConnection, SupportedCipherSuite, Tls12CipherSuite};

use super::*;
use crate::net::tls::live::Live;
use crate::net::tls::records::Spent;

fn pair(cuts: impl Fn(&[u8]) -> Vec<usize>) -> (ClientConnection, Live) {
    let server = server(Parts { oldest: Oldest::Tls12, ..parts() });
    let mut client = connect(Arc::new(client_config(Suite::Aes128Gcm, &[&TLS12])));
    let (handshake, bytes) = shake(&mut client, &server, cuts);
    assert!(handshake.is_tls12() && bytes.is_empty());
    (client, handshake.into_live().expect("it is done"))
}

fn open(live: &mut Live, mut bytes: Vec<u8>) -> Vec<Taken> {
    let mut taken = Vec::new();
    while let Front::Whole(whole) = front(&bytes) {
        let mut record: Vec<u8> = bytes.drain(..whole).collect();
        taken.push(match live.open(&mut Ciphers::new(1), &mut record) {
            Opened::Data(range) => Taken::Data(record[range].to_vec()),
            other => Taken::Other(other),
        });
    }
    assert!(bytes.is_empty());
    taken
}

#[test]
fn data_goes_both_ways_after_any_cut() {
    for cut in [false, true] {
        let (mut client, mut live) = pair(|flight| if cut { (1..flight.len()).collect() } else { Vec::new() });
        for bytes in [1_usize, 16_384, 40_000] {
            let sample = vec![5; bytes];
            client.writer().write_all(&sample).expect("there is room");
            let taken = open(&mut live, sent(&mut client));
            assert_eq!(taken.len(), bytes.div_ceil(16_384));
            let mut out = Vec::new();
            live.seal(&mut Ciphers::new(1), &[b"", &sample, b"end"], &mut out).expect("it is open");
            assert_eq!(give(&mut client, &out), Ok([sample.as_slice(), b"end"].concat()));
        }
    }
}

#[test]
fn both_ways_of_closing() {
    let (mut client, mut live) = pair(|_| Vec::new());
    client.writer().write_all(b"last").expect("there is room");
    client.send_close_notify();
    assert_eq!(open(&mut live, sent(&mut client)), [data(b"last"), Taken::Other(Opened::Closed)]);
    let mut out = Vec::new();
    live.close(&mut Ciphers::new(1), &mut out);
    assert_eq!(give(&mut client, &out), Ok(Vec::new()));
    assert!(client.process_new_packets().expect("it was right").peer_has_closed());
    assert!(live.seal(&mut Ciphers::new(1), &[b"x"], &mut out).is_err());
}

#[test]
fn a_touched_record_is_refused_and_the_client_told() {
    let (mut client, mut live) = pair(|_| Vec::new());
    client.writer().write_all(b"data").expect("there is room");
    let mut record = sent(&mut client);
    *record.last_mut().expect("it is there") ^= 1;
    assert_eq!(open(&mut live, record), [Taken::Other(Opened::Refused(Alert::BadRecordMac))]);
    let mut out = Vec::new();
    live.fail(&mut Ciphers::new(1), Alert::BadRecordMac, &mut out);
    assert_eq!(give(&mut client, &out), Err(Error::AlertReceived(AlertDescription::BadRecordMac)));
    client.send_close_notify();
    assert_eq!(live.open(&mut Ciphers::new(1), &mut [23, 3, 3, 0, 0]), Opened::Closed);
}

#[test]
fn a_client_that_can_does_1_3_there_too() {
    let server = server(Parts { oldest: Oldest::Tls12, ..parts() });
    let mut client = connect(Arc::new(client_config(Suite::Aes128Gcm, &[&TLS12, &TLS13])));
    let (handshake, _) = shake(&mut client, &server, |_| Vec::new());
    assert!(!handshake.is_tls12());
    assert!(handshake.into_rest().is_ok());
}

#[test]
fn each_kind_of_rest_for_its_version_only() {
    let server = server(Parts { oldest: Oldest::Tls12, ..parts() });
    let finished = |version: &'static SupportedProtocolVersion| {
        let mut client = connect(Arc::new(client_config(Suite::Aes128Gcm, &[version])));
        shake(&mut client, &server, |_| Vec::new()).0
    };
    assert!(finished(&TLS12).into_rest().is_err());
    assert!(finished(&TLS13).into_live().is_err());
}

/// Settings of a server whose keys of TLS 1.2 serve so many records: real ones are used up by 2^24.
fn short_lived(records: u64) -> ServerConfig {
    let mut provider = default_provider();
    let shortened = provider.cipher_suites.iter().filter_map(|suite| {
        let SupportedCipherSuite::Tls12(known) = suite else {
            return None;
        };
        let common = CipherSuiteCommon {
            suite: known.common.suite,
            hash_provider: known.common.hash_provider,
            confidentiality_limit: records,
        };
        let made = Tls12CipherSuite {
            common,
            prf_provider: known.prf_provider,
            kx: known.kx,
            sign: known.sign,
            aead_alg: known.aead_alg,
        };
        Some(SupportedCipherSuite::Tls12(Box::leak(Box::new(made))))
    });
    provider.cipher_suites = shortened.collect();
    ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS12])
        .expect("there is a suite")
        .with_no_client_auth()
        .with_cert_resolver(resolver())
}

#[test]
fn what_its_used_up_keys_cannot_seal_is_not_told_as_sealed() {
    const RECORDS: u64 = 20;
    let mut server = ServerConnection::new(Arc::new(short_lived(RECORDS))).expect("the settings serve");
    let mut client = connect(Arc::new(client_config(Suite::Aes128Gcm, &[&TLS12])));
    while server.is_handshaking() {
        let flight = sent(&mut client);
        let mut bytes = flight.as_slice();
        while !bytes.is_empty() {
            server.read_tls(&mut Read::by_ref(&mut bytes)).expect("a slice gives them");
            server.process_new_packets().expect("it is right");
        }
        let mut answer = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut answer).expect("a vector takes it");
        }
        assert_eq!(give(&mut client, &answer), Ok(Vec::new()));
    }
    let mut live = Live::new(Box::new(server));
    let (mut ciphers, mut sealed) = (Ciphers::new(1), 0);
    loop {
        let mut out = Vec::new();
        match live.seal(&mut ciphers, &[b"some ", b"words"], &mut out) {
            Ok(()) => assert_eq!(give(&mut client, &out), Ok(b"some words".to_vec()), "what is sealed is there"),
            Err(Spent) => {
                assert!(out.is_empty(), "nothing is said any more");
                break;
            }
        }
        sealed += 1;
        assert!(sealed <= RECORDS, "more than its keys allow");
    }
    // The server's Finished was a record of these keys too.
    assert!(sealed + 2 >= RECORDS, "{sealed}");
    assert!(live.seal(&mut ciphers, &[b"more"], &mut Vec::new()).is_err());
}
