//! A resting connection and rustls' client: data of all sizes, key updates, both ways of closing.

use rustls::{AlertDescription, Error};

use super::*;

#[test]
fn data_of_every_size_goes_both_ways() {
    for suite in SUITES {
        let mut pair = Pair::new(suite);
        for bytes in [1_usize, 2, 100, 16_383, 16_384, 16_385, 50_000] {
            let sample: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
            pair.write(&sample);
            let taken = pair.take();
            assert_eq!(taken.len(), bytes.div_ceil(16_384), "{suite:?}, {bytes} bytes");
            let joined: Vec<u8> = taken
                .into_iter()
                .flat_map(|taken| match taken {
                    Taken::Data(data) => data,
                    Taken::Other(other) => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(joined, sample);
            assert_eq!(pair.seal(&[&sample]), sample);
        }
    }
}

#[test]
fn fragments_share_records() {
    let mut pair = Pair::new(Suite::ChaCha20Poly1305);
    let long = vec![7; 20_000];
    let fragments: [&[u8]; 6] = [b"", b"one", b"", b"two", &long, b"three"];
    let mut out = Vec::new();
    pair.rest.seal(&mut pair.ciphers, &fragments, &mut out).expect("it is open");
    let Front::Whole(first) = front(&out) else { panic!("the first record is whole") };
    assert_eq!(first, 5 + 16_384 + 1 + 16);
    assert_eq!(front(&out[first..]), Front::Whole(out.len() - first), "two records in all");
    assert_eq!(give(&mut pair.client, &out), Ok(fragments.concat()));
    out.clear();
    pair.rest.seal(&mut pair.ciphers, &[b"", b""], &mut out).expect("it is open");
    assert!(out.is_empty(), "nothing to say is no record");
}

#[test]
fn keys_are_updated_as_often_as_the_client_likes() {
    for suite in SUITES {
        let mut pair = Pair::new(suite);
        for round in 0..5_u8 {
            pair.client.refresh_traffic_keys().expect("it is open");
            pair.write(&[round; 10]);
            assert_eq!(pair.take(), [Taken::Other(Opened::Nothing), data(&[round; 10])]);
            assert!(pair.rest.owes(), "rustls asks for an update of ours");
            assert_eq!(pair.seal(&[&[round; 20]]), [round; 20]);
            assert!(!pair.rest.owes());
            assert!(pair.seal(&[]).is_empty(), "it was paid once");
        }
    }
}

#[test]
fn an_update_is_paid_for_without_data_and_several_at_once() {
    let mut pair = Pair::new(Suite::Aes128Gcm);
    pair.client.refresh_traffic_keys().expect("it is open");
    pair.client.refresh_traffic_keys().expect("it is open");
    assert_eq!(pair.take(), [Taken::Other(Opened::Nothing), Taken::Other(Opened::Nothing)]);
    let mut out = Vec::new();
    pair.rest.seal(&mut pair.ciphers, &[], &mut out).expect("it is open");
    assert_eq!(front(&out), Front::Whole(out.len()), "one record for both");
    assert_eq!(give(&mut pair.client, &out), Ok(Vec::new()));
    assert_eq!(pair.seal(&[b"on"]), b"on");
}

#[test]
fn the_client_closes_first() {
    let mut pair = Pair::new(Suite::Aes256Gcm);
    pair.write(b"last words");
    pair.client.send_close_notify();
    assert_eq!(pair.take(), [data(b"last words"), Taken::Other(Opened::Closed)]);
    // RFC 8446 section 6.1: the other direction stays open until we close it too.
    assert_eq!(pair.seal(&[b"goodbye"]), b"goodbye");
    let mut out = Vec::new();
    pair.rest.close(&mut pair.ciphers, &mut out);
    assert_eq!(give(&mut pair.client, &out), Ok(Vec::new()));
    assert!(pair.client.process_new_packets().expect("it was right").peer_has_closed());
}

#[test]
fn we_close_first() {
    let mut pair = Pair::new(Suite::Aes128Gcm);
    let mut out = Vec::new();
    pair.rest.close(&mut pair.ciphers, &mut out);
    let once = out.len();
    pair.rest.close(&mut pair.ciphers, &mut out);
    pair.rest.fail(&mut pair.ciphers, Alert::DecodeError, &mut out);
    assert_eq!(out.len(), once, "one alert, whatever follows");
    assert_eq!(give(&mut pair.client, &out), Ok(Vec::new()));
    assert!(pair.client.process_new_packets().expect("it was right").peer_has_closed());
    assert!(pair.rest.seal(&mut pair.ciphers, &[b"more"], &mut out).is_err());
    assert_eq!(out.len(), once, "nothing is sealed after it");
}

#[test]
fn after_our_close_records_still_come_in() {
    let mut pair = Pair::new(Suite::Aes128Gcm);
    pair.rest.close(&mut pair.ciphers, &mut Vec::new());
    pair.client.refresh_traffic_keys().expect("it is open");
    pair.write(b"late");
    pair.client.send_close_notify();
    assert_eq!(pair.take(), [Taken::Other(Opened::Nothing), data(b"late"), Taken::Other(Opened::Closed)]);
    assert!(!pair.rest.owes(), "there is nobody to tell any more");
}

#[test]
fn the_client_hears_which_alert_ended_it() {
    let cases = [
        (Alert::UnexpectedMessage, AlertDescription::UnexpectedMessage),
        (Alert::BadRecordMac, AlertDescription::BadRecordMac),
        (Alert::RecordOverflow, AlertDescription::RecordOverflow),
        (Alert::IllegalParameter, AlertDescription::IllegalParameter),
        (Alert::DecodeError, AlertDescription::DecodeError),
        (Alert::InternalError, AlertDescription::InternalError),
    ];
    for (alert, description) in cases {
        let mut pair = Pair::new(Suite::ChaCha20Poly1305);
        let mut out = Vec::new();
        pair.write(b"unheard");
        pair.rest.fail(&mut pair.ciphers, alert, &mut out);
        assert_eq!(pair.take(), [Taken::Other(Opened::Closed)]);
        assert_eq!(give(&mut pair.client, &out), Err(Error::AlertReceived(description)), "{}", alert.label());
    }
}

#[test]
fn the_clients_alert_is_told_and_not_answered() {
    let mut pair = Pair::new(Suite::Aes128Gcm);
    let mut out = Vec::new();
    pair.rest.seal(&mut pair.ciphers, &[b"touched"], &mut out).expect("it is open");
    *out.last_mut().expect("it is there") ^= 1;
    assert_eq!(give(&mut pair.client, &out), Err(Error::DecryptError));
    assert_eq!(pair.take(), [Taken::Other(Opened::Failed(Alert::BadRecordMac as u8))]);
    out.clear();
    pair.rest.fail(&mut pair.ciphers, Alert::InternalError, &mut out);
    pair.rest.close(&mut pair.ciphers, &mut out);
    assert!(out.is_empty());
    assert!(pair.rest.seal(&mut pair.ciphers, &[b"x"], &mut out).is_err());
}

#[test]
fn many_connections_share_the_places_of_one_table() {
    let server = server(parts());
    let mut ciphers = Ciphers::new(3);
    let mut pairs: Vec<Pair> = (0..6).map(|at| Pair::of(client(SUITES[at % 3]), &server)).collect();
    for round in 0..10_u8 {
        for pair in &mut pairs {
            std::mem::swap(&mut pair.ciphers, &mut ciphers);
            pair.write(&[round]);
            assert_eq!(pair.take(), [data(&[round])]);
            assert_eq!(pair.seal(&[&[round]]), [round]);
            std::mem::swap(&mut pair.ciphers, &mut ciphers);
        }
        if round == 5 {
            ciphers = Ciphers::new(3);
        }
    }
}

#[test]
fn nothing_shows_a_secret() {
    let pair = Pair::new(Suite::Aes128Gcm);
    let shown = format!("{:?} {:?}", pair.rest, pair.ciphers);
    assert_eq!(
        shown,
        "Short(AtRest { suite: Aes128Gcm, rx: Counter(0), tx: Counter(0), .. }) Ciphers { places: 2, .. }"
    );
}
