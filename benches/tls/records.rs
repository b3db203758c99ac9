//! CPU of a record, by where its keys come from.

use std::io::{Read, Write};
use std::time::Duration;

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use holdfast::net::tls::ciphers::Ciphers;
use holdfast::net::tls::record::{Front, front};
use holdfast::net::tls::records::{Opened, Records};
use holdfast::net::tls::suite::Suite;

use super::peer::{Identity, connect, sent, shake, shake_rustls};
use super::{RUNS, SUITES, timed};

const RECORDS: usize = 400;

/// Prints what sealing and opening takes.
pub fn print(identity: &Identity) {
    println!("\nns a record, seal / open");
    println!(
        "{:<18} {:>6}  {:>15} {:>15} {:>15} {:>15}",
        "suite", "bytes", "secret kept", "key+IV kept", "ready", "rustls"
    );
    for (suite, name) in SUITES {
        for bytes in [64, 1024, 16_384] {
            let derived = at_rest(identity, suite, bytes, Keys::Derived);
            let kept = kept(suite, bytes);
            let ready = at_rest(identity, suite, bytes, Keys::Ready);
            let live = live(identity, suite, bytes);
            println!("{name:<18} {bytes:>6}  {derived:>15} {kept:>15} {ready:>15} {live:>15}");
        }
    }
}

/// Nanoseconds a record, seal and open.
fn told(seal: Duration, open: Duration) -> String {
    format!("{:.0} / {:.0}", seal.as_nanos() as f64 / RECORDS as f64, open.as_nanos() as f64 / RECORDS as f64)
}

/// How the keys of a record come about.
#[derive(Clone, Copy, PartialEq)]
enum Keys {
    Derived,
    Ready,
}

fn at_rest(identity: &Identity, suite: Suite, bytes: usize, keys: Keys) -> String {
    let mut client = connect(&identity.client_config(suite));
    let (_, mut rest) = shake(&mut client, &identity.server(suite));
    // Of rest's two ciphers, one place each: ready means that neither drives the other out.
    let mut ciphers = [Ciphers::new(1), Ciphers::new(1)];
    let data = vec![7; bytes];
    let (mut seal, mut open) = (Duration::MAX, Duration::MAX);
    for _ in 0..RUNS {
        let mut out = Vec::with_capacity(RECORDS * (bytes + 64));
        let (time, ()) = timed(|| {
            for _ in 0..RECORDS {
                if keys == Keys::Derived {
                    ciphers[0] = Ciphers::new(1);
                }
                rest.seal(&mut ciphers[0], &[&data], &mut out).expect("it is open");
            }
        });
        seal = seal.min(time);
        for _ in 0..RECORDS {
            client.writer().write_all(&data).expect("there is room");
        }
        let mut records = sent(&mut client);
        let (time, opened) = timed(|| {
            let (mut at, mut opened) = (0, 0);
            while let Front::Whole(whole) = front(&records[at..]) {
                if keys == Keys::Derived {
                    ciphers[1] = Ciphers::new(1);
                }
                let is_data = matches!(rest.open(&mut ciphers[1], &mut records[at..at + whole]), Opened::Data(_));
                opened += usize::from(is_data);
                at += whole;
            }
            opened
        });
        assert_eq!(opened, RECORDS);
        open = open.min(time);
    }
    told(seal, open)
}

/// Key and IV kept: the cipher is made for each record, and nothing is derived.
fn kept(suite: Suite, bytes: usize) -> String {
    let algorithm = match suite {
        Suite::Aes128Gcm => &aead::AES_128_GCM,
        Suite::Aes256Gcm => &aead::AES_256_GCM,
        Suite::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
    };
    let key = [3; 32];
    let cipher = || LessSafeKey::new(UnboundKey::new(algorithm, &key[..algorithm.key_len()]).expect("it is a key"));
    let nonce = |number: usize| {
        let mut nonce = [5; 12];
        nonce[4..].copy_from_slice(&(number as u64).to_be_bytes());
        Nonce::assume_unique_for_key(nonce)
    };
    let data = vec![7; bytes];
    let (mut seal, mut open) = (Duration::MAX, Duration::MAX);
    for _ in 0..RUNS {
        let mut out = Vec::with_capacity(RECORDS * (bytes + 64));
        let (time, ()) = timed(|| {
            for number in 0..RECORDS {
                let start = out.len();
                out.extend_from_slice(&[23, 3, 3, 0, 0]);
                out.extend_from_slice(&data);
                out.push(23);
                let inner = &mut out[start + 5..];
                let aad = Aad::from([0; 5]);
                let tag = cipher().seal_in_place_separate_tag(nonce(number), aad, inner).expect("it is sealed");
                out.extend_from_slice(tag.as_ref());
            }
        });
        seal = seal.min(time);
        let (time, ()) = timed(|| {
            for (number, record) in out.chunks_mut(5 + bytes + 17).enumerate() {
                cipher().open_in_place(nonce(number), Aad::from([0; 5]), &mut record[5..]).expect("it opens");
            }
        });
        open = open.min(time);
    }
    told(seal, open)
}

/// A live rustls session, with its buffers.
fn live(identity: &Identity, suite: Suite, bytes: usize) -> String {
    let mut client = connect(&identity.client_config(suite));
    let (_, mut server) = shake_rustls(&mut client, &identity.rustls_server(suite));
    let data = vec![7; bytes];
    let mut plain = vec![0; bytes];
    let (mut seal, mut open) = (Duration::MAX, Duration::MAX);
    for _ in 0..RUNS {
        let mut out = Vec::with_capacity(RECORDS * (bytes + 64));
        let (time, ()) = timed(|| {
            for _ in 0..RECORDS {
                server.writer().write_all(&data).expect("there is room");
                while server.wants_write() {
                    server.write_tls(&mut out).expect("a vector takes it");
                }
            }
        });
        seal = seal.min(time);
        for _ in 0..RECORDS {
            client.writer().write_all(&data).expect("there is room");
        }
        let records = sent(&mut client);
        let (time, ()) = timed(|| {
            let mut at = 0;
            while let Front::Whole(whole) = front(&records[at..]) {
                let mut record = &records[at..at + whole];
                while !record.is_empty() {
                    server.read_tls(&mut Read::by_ref(&mut record)).expect("a slice gives them");
                    server.process_new_packets().expect("they are right");
                }
                server.reader().read_exact(&mut plain).expect("it is whole");
                at += whole;
            }
        });
        open = open.min(time);
    }
    told(seal, open)
}
