//! What TLS costs a connection: bytes at rest, during the handshake and as a live rustls session; CPU of a handshake and of a
//! record, with keys derived for each record, with key and IV kept, with a ready cipher, and by rustls, in the same run.
//!
//! `cargo bench --bench tls`. Times are what the thread ran (CLOCK_THREAD_CPUTIME_ID), the best of several runs; bytes are what
//! the allocator was asked for.

use std::alloc::{GlobalAlloc, Layout};
use std::hint::black_box;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use holdfast::net::tls::ciphers::Ciphers;
use holdfast::net::tls::handshake::{Handshake, Step};
use holdfast::net::tls::record::{Front, front};
use holdfast::net::tls::records::{Opened, Records};
use holdfast::net::tls::rest::Rest;
use holdfast::net::tls::server::{Oldest, Parts, Server};
use holdfast::net::tls::suite::Suite;
use holdfast::net::tls::tickets::Tickets;
use nix::time::{ClockId, clock_gettime};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{NoClientAuth, ResolvesServerCertUsingSni};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, SupportedCipherSuite};

/// As in the gateway, and it counts what is asked for.
struct Counting(mimalloc::MiMalloc);

static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes on to mimalloc as it came; the count beside it touches no memory of theirs.
#[allow(unsafe_code, reason = "an allocator is unsafe by its trait")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE_BYTES.fetch_add(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { self.0.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting(mimalloc::MiMalloc);

/// Runs of each measure; the best one counts.
const RUNS: usize = 7;
const RECORDS: usize = 400;
const HANDSHAKES: usize = 100;
const NAME: &str = "agents.test";
const SUITES: [(Suite, &str); 3] = [
    (Suite::Aes128Gcm, "AES-128-GCM"),
    (Suite::Aes256Gcm, "AES-256-GCM"),
    (Suite::ChaCha20Poly1305, "ChaCha20-Poly1305"),
];

fn main() {
    // `cargo test --all-targets` runs this too, in a build whose times say nothing.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let identity = Identity::new();
    memory(&identity);
    handshakes(&identity);
    println!("\nns a record, seal / open");
    println!(
        "{:<18} {:>6}  {:>15} {:>15} {:>15} {:>15}",
        "suite", "bytes", "secret kept", "key+IV kept", "ready", "rustls"
    );
    for (suite, name) in SUITES {
        for bytes in [64, 1024, 16_384] {
            let derived = at_rest(&identity, suite, bytes, Keys::Derived);
            let kept = kept(suite, bytes);
            let ready = at_rest(&identity, suite, bytes, Keys::Ready);
            let live = live(&identity, suite, bytes);
            println!("{name:<18} {bytes:>6}  {derived:>15} {kept:>15} {ready:>15} {live:>15}");
        }
    }
}

fn thread_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("there is such a clock").into()
}

/// Runs it and says how long that took.
fn timed<T>(run: impl FnOnce() -> T) -> (Duration, T) {
    let before = thread_time();
    let result = run();
    (thread_time() - before, result)
}

/// Nanoseconds a record, seal and open.
fn told(seal: Duration, open: Duration) -> String {
    format!("{:.0} / {:.0}", seal.as_nanos() as f64 / RECORDS as f64, open.as_nanos() as f64 / RECORDS as f64)
}

/// A P-256 certificate that signs itself.
struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("it is made");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("it is a key");
        Self { certificate: made.cert.der().clone(), key }
    }

    fn resolver(&self) -> Arc<ResolvesServerCertUsingSni> {
        let key = CertifiedKey::from_der(vec![self.certificate.clone()], self.key.clone_key(), &default_provider());
        let mut resolver = ResolvesServerCertUsingSni::new();
        resolver.add(NAME, key.expect("they fit")).expect("it is a name");
        Arc::new(resolver)
    }

    fn server(&self, suite: Suite) -> Server {
        let tickets = Some(Arc::new(Tickets::random(3600).expect("there are random bytes")));
        let parts = Parts {
            certificates: self.resolver(),
            clients: Arc::new(NoClientAuth),
            suites: vec![suite],
            oldest: Oldest::Tls13,
            tickets,
            protocols: vec![b"http/1.1".to_vec()],
        };
        Server::new(parts).expect("the parts fit")
    }

    /// The same choices for rustls alone.
    fn rustls_server(&self, suite: Suite) -> Arc<ServerConfig> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider(suite)))
            .with_protocol_versions(&[&TLS13])
            .expect("there is a suite")
            .with_no_client_auth()
            .with_cert_resolver(self.resolver());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.send_tls13_tickets = 1;
        config.ticketer = Arc::new(Tickets::random(3600).expect("there are random bytes"));
        Arc::new(config)
    }

    fn client_config(&self, suite: Suite) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("it is a certificate");
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider(suite)))
            .with_protocol_versions(&[&TLS13])
            .expect("there is a suite")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(config)
    }
}

fn provider(suite: Suite) -> CryptoProvider {
    let suite: SupportedCipherSuite = match suite {
        Suite::Aes128Gcm => cipher_suite::TLS13_AES_128_GCM_SHA256,
        Suite::Aes256Gcm => cipher_suite::TLS13_AES_256_GCM_SHA384,
        Suite::ChaCha20Poly1305 => cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    };
    CryptoProvider { cipher_suites: vec![suite], ..default_provider() }
}

fn connect(config: &Arc<ClientConfig>) -> ClientConnection {
    let name = ServerName::try_from(NAME).expect("it is a name");
    let mut client = ClientConnection::new(Arc::clone(config), name).expect("the settings serve");
    client.set_buffer_limit(None);
    client
}

fn sent(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).expect("a vector takes it");
    }
    bytes
}

fn give(client: &mut ClientConnection, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        client.read_tls(&mut Read::by_ref(&mut bytes)).expect("a slice gives them");
        client.process_new_packets().expect("they are right");
    }
}

/// One handshake to rest, and the CPU of its server.
fn shake(client: &mut ClientConnection, server: &Server) -> (Duration, Rest) {
    let (mut spent, mut handshake) = timed(|| Handshake::new(server).expect("the settings serve"));
    loop {
        let flight = sent(client);
        let (time, (out, done)) = timed(|| {
            let mut out = Vec::new();
            let done = matches!(handshake.take(&flight, &mut out).1, Step::Done);
            (out, done)
        });
        spent += time;
        give(client, &out);
        if done {
            let (time, rest) = timed(|| handshake.into_rest().expect("it is done"));
            return (spent + time, rest);
        }
    }
}

/// The same by rustls alone, which stays as it is.
fn shake_rustls(client: &mut ClientConnection, config: &Arc<ServerConfig>) -> (Duration, ServerConnection) {
    let (mut spent, mut server) = timed(|| ServerConnection::new(Arc::clone(config)).expect("the settings serve"));
    while client.is_handshaking() || server.is_handshaking() {
        let flight = sent(client);
        let (time, out) = timed(|| {
            let mut out = Vec::new();
            let mut bytes = flight.as_slice();
            while !bytes.is_empty() {
                server.read_tls(&mut Read::by_ref(&mut bytes)).expect("a slice gives them");
                server.process_new_packets().expect("they are right");
            }
            while server.wants_write() {
                server.write_tls(&mut out).expect("a vector takes it");
            }
            out
        });
        spent += time;
        give(client, &out);
    }
    (spent, server)
}

/// Bytes that a server holds for one connection.
fn memory(identity: &Identity) {
    println!("bytes of the allocator for one connection");
    println!("{:<18} {:>8} {:>10} {:>12}", "suite", "at rest", "handshake", "live rustls");
    for (suite, name) in SUITES {
        let (server, config) = (identity.server(suite), identity.rustls_server(suite));
        let client_config = identity.client_config(suite);
        drop(shake(&mut connect(&client_config), &server));
        let mut client = connect(&client_config);
        let hello = sent(&mut client);
        let mut out = Vec::with_capacity(1 << 16);
        let before = LIVE_BYTES.load(Relaxed);
        let mut handshake = Handshake::new(&server).expect("the settings serve");
        assert!(matches!(handshake.take(&hello, &mut out).1, Step::More));
        let half = LIVE_BYTES.load(Relaxed) - before;
        give(&mut client, &out);
        let finished = sent(&mut client);
        out.clear();
        let before = LIVE_BYTES.load(Relaxed) - half;
        assert!(matches!(handshake.take(&finished, &mut out).1, Step::Done));
        let rest = match handshake.into_rest().expect("it is done") {
            Rest::Short(rest) => Kept::Short(Box::new(rest)),
            Rest::Long(rest) => Kept::Long(Box::new(rest)),
        };
        let resting = LIVE_BYTES.load(Relaxed) - before;
        drop(black_box(rest));
        let live = live_bytes(&client_config, &config);
        println!("{name:<18} {resting:>8} {half:>10} {live:>12}");
    }
}

/// A resting connection as a table would keep it.
#[allow(dead_code, reason = "it is there to be measured")]
enum Kept {
    Short(Box<holdfast::net::tls::at_rest::AtRest<32>>),
    Long(Box<holdfast::net::tls::at_rest::AtRest<48>>),
}

fn live_bytes(client_config: &Arc<ClientConfig>, config: &Arc<ServerConfig>) -> usize {
    let mut with = Vec::new();
    let mut clients: Vec<ClientConnection> = (0..3).map(|_| connect(client_config)).collect();
    let mut sum = 0;
    for client in &mut clients {
        let before = LIVE_BYTES.load(Relaxed);
        let (_, server) = shake_rustls(client, config);
        with.push(server);
        let all = LIVE_BYTES.load(Relaxed) - before;
        // The client is beside it in this process: what remains when the server goes is not the server's.
        let server = with.pop();
        let both = LIVE_BYTES.load(Relaxed);
        drop(server);
        sum = both - LIVE_BYTES.load(Relaxed);
        black_box(all);
    }
    sum
}

fn handshakes(identity: &Identity) {
    println!("\nserver's CPU of a handshake, us: full (P-256), resumed");
    for (suite, name) in SUITES {
        let (server, config) = (identity.server(suite), identity.rustls_server(suite));
        let mut best = [[Duration::MAX; 2]; 2];
        for _ in 0..RUNS {
            for resumed in [0, 1] {
                let mut sums = [Duration::ZERO; 2];
                let [ours, theirs] = [identity.client_config(suite), identity.client_config(suite)];
                for _ in 0..HANDSHAKES {
                    let fresh = identity.client_config(suite);
                    let pick = |kept: &Arc<ClientConfig>| Arc::clone(if resumed == 1 { kept } else { &fresh });
                    sums[0] += shake(&mut connect(&pick(&ours)), &server).0;
                    let fresh = identity.client_config(suite);
                    let pick = |kept: &Arc<ClientConfig>| Arc::clone(if resumed == 1 { kept } else { &fresh });
                    sums[1] += shake_rustls(&mut connect(&pick(&theirs)), &config).0;
                }
                for (best, sum) in best[resumed].iter_mut().zip(sums) {
                    *best = (*best).min(sum);
                }
            }
        }
        let us = |sum: Duration| sum.as_nanos() as f64 / HANDSHAKES as f64 / 1000.0;
        let [[full, full_rustls], [again, again_rustls]] = best;
        println!(
            "{name:<18} ours {:.1}, {:.1}   rustls alone {:.1}, {:.1}   ratio {:.2}, {:.2}",
            us(full),
            us(again),
            us(full_rustls),
            us(again_rustls),
            us(full) / us(full_rustls),
            us(again) / us(again_rustls)
        );
    }
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
                    ciphers[0].clear();
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
                    ciphers[1].clear();
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
