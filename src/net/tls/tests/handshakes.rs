//! Handshakes: every cut of them, who resumes, who is refused and with which alert.

use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, Error};

use super::*;
use crate::net::tls::tickets::Tickets;

const ONE: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const TWO: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";

/// What came with the client's last flight, opened.
fn opened(handshake: Box<Handshake>, bytes: &[u8]) -> Vec<u8> {
    let mut rest = handshake.into_rest().expect("it is done");
    let mut ciphers = Ciphers::new(1);
    let mut plain = Vec::new();
    let mut at = 0;
    while let Front::Whole(whole) = front(&bytes[at..]) {
        let mut record = bytes[at..at + whole].to_vec();
        let Opened::Data(range) = rest.open(&mut ciphers, &mut record) else { panic!("all of it is data") };
        plain.extend_from_slice(&record[range]);
        at += whole;
    }
    assert_eq!(at, bytes.len(), "all records are whole");
    plain
}

#[test]
fn data_in_one_flight_with_finished_stays_ours_at_every_cut() {
    let server = server(parts());
    let hello_bytes = sent(&mut client(Suite::Aes128Gcm)).len();
    for cut in 0..hello_bytes.max(200) {
        let mut client = client(Suite::Aes128Gcm);
        client.writer().write_all(b"early bird").expect("it waits");
        let (handshake, bytes) = shake(&mut client, &server, |flight| vec![cut.min(flight.len())]);
        assert_eq!(opened(handshake, &bytes), b"early bird", "cut at {cut}");
    }
}

#[test]
fn byte_by_byte_with_every_suite() {
    let server = server(parts());
    for suite in SUITES {
        let mut client = client(suite);
        client.writer().write_all(b"hello").expect("it waits");
        let (handshake, bytes) = shake(&mut client, &server, |flight| (1..flight.len()).collect());
        let known = handshake.client();
        assert_eq!((known.server_name, known.alpn), (Some(NAME), Some(b"http/1.1".as_slice())));
        assert!(known.certificates.is_empty() && !known.resumed);
        assert_eq!(opened(handshake, &bytes), b"hello");
    }
}

#[test]
fn the_servers_order_of_suites_counts() {
    let mut provider = default_provider();
    provider.cipher_suites.retain(|suite| suite.tls13().is_some());
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS13])
        .expect("there are suites")
        .with_root_certificates(roots())
        .with_no_client_auth();
    let config = Arc::new(config);
    for first in SUITES {
        let mut suites = vec![first];
        suites.extend(SUITES.into_iter().filter(|suite| *suite != first));
        let server = server(Parts { suites, ..parts() });
        assert_eq!(Pair::of(connect(Arc::clone(&config)), &server).rest.suite(), first);
    }
}

fn with_tickets(text: &str) -> Arc<Server> {
    let tickets = Tickets::read(text, 3600).expect("they are keys");
    server(Parts { tickets: Some(Arc::new(tickets)), ..parts() })
}

/// Connects once and says whether that resumed; data goes both ways.
fn resumes(config: &Arc<ClientConfig>, server: &Arc<Server>) -> bool {
    let mut client = connect(Arc::clone(config));
    let (handshake, bytes) = shake(&mut client, server, |_| Vec::new());
    let resumed = handshake.client().resumed;
    let rest = handshake.into_rest().expect("it is done");
    let mut pair = Pair { client, rest, ciphers: Ciphers::new(1), bytes };
    pair.write(b"up");
    assert_eq!(pair.take(), [data(b"up")]);
    assert_eq!(pair.seal(&[b"down"]), b"down");
    resumed
}

#[test]
fn a_ticket_serves_at_any_node_that_has_its_key_and_at_no_other() {
    let (one, rotated, other) = (with_tickets(ONE), with_tickets(&format!("{TWO}\n{ONE}")), with_tickets(TWO));
    for suite in SUITES {
        let config = Arc::new(client_config(suite, &[&TLS13]));
        assert!(!resumes(&config, &one));
        assert!(resumes(&config, &one), "at the same node");
        assert!(resumes(&config, &rotated), "at a node that has a newer key too");
        assert!(resumes(&config, &other), "the newer key sealed the last ticket");
        assert!(!resumes(&config, &one), "that key is not here");
        assert!(!resumes(&config, &server(parts())), "no tickets here");
    }
}

/// Shakes hands until it fails: our failure's label, and what the client says of it.
fn refused(client: &mut ClientConnection, server: &Arc<Server>) -> (&'static str, Option<Error>) {
    let mut handshake = Handshake::new(server).expect("the settings serve");
    for _ in 0..4 {
        let mut out = Vec::new();
        let (_, step) = handshake.take(&sent(client), &mut out);
        let told = give(client, &out).err();
        if let Step::Failed(failure) = step {
            return (failure.label(), told);
        }
    }
    panic!("it has not failed");
}

#[test]
fn clients_that_do_not_fit_are_told_why() {
    let old = Arc::new(client_config(Suite::Aes128Gcm, &[&TLS12]));
    let alert = |description| Some(Error::AlertReceived(description));
    assert_eq!(
        refused(&mut connect(old), &server(parts())),
        ("incompatible", alert(AlertDescription::ProtocolVersion))
    );

    let mut config = client_config(Suite::Aes128Gcm, &[&TLS13]);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let refusal = refused(&mut connect(Arc::new(config)), &server(parts()));
    assert_eq!(refusal, ("no_protocol", alert(AlertDescription::NoApplicationProtocol)));

    let only = server(Parts { suites: vec![Suite::Aes256Gcm], ..parts() });
    let refusal = refused(&mut client(Suite::Aes128Gcm), &only);
    assert_eq!(refusal, ("incompatible", alert(AlertDescription::HandshakeFailure)));

    let elsewhere = ServerName::try_from("elsewhere.test").expect("it is a name");
    let config = Arc::new(client_config(Suite::Aes128Gcm, &[&TLS13]));
    let mut client = ClientConnection::new(config, elsewhere).expect("the settings serve");
    assert_eq!(refused(&mut client, &server(parts())).1, alert(AlertDescription::AccessDenied));
}

#[test]
fn a_client_that_does_not_trust_us_ends_it() {
    let mut config = client_config(Suite::Aes128Gcm, &[&TLS13]);
    config = ClientConfig::builder_with_provider(Arc::clone(config.crypto_provider()))
        .with_protocol_versions(&[&TLS13])
        .expect("there is a suite")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let (label, told) = refused(&mut connect(Arc::new(config)), &server(parts()));
    assert_eq!(label, "alert");
    assert!(matches!(told, None | Some(Error::InvalidCertificate(_))), "{told:?}");
}

#[test]
fn a_client_certificate_is_asked_for_checked_and_told() {
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots()), Arc::new(default_provider()));
    let clients = verifier.build().expect("there is a root");
    let server = server(Parts { clients, ..parts() });
    let without = refused(&mut client(Suite::Aes128Gcm), &server);
    assert_eq!(without.0, "no_certificate");

    let base = client_config(Suite::Aes128Gcm, &[&TLS13]);
    let (certificate, key) = identity();
    let config = ClientConfig::builder_with_provider(Arc::clone(base.crypto_provider()))
        .with_protocol_versions(&[&TLS13])
        .expect("there is a suite")
        .with_root_certificates(roots())
        .with_client_auth_cert(vec![certificate.clone()], key.clone_key())
        .expect("they fit");
    let mut client = connect(Arc::new(config));
    let (handshake, _) = shake(&mut client, &server, |flight| (1..flight.len()).collect());
    assert_eq!(handshake.client().certificates, std::slice::from_ref(certificate));
    assert!(handshake.into_rest().is_ok());
}

#[test]
fn an_unfinished_handshake_gives_nothing() {
    let server = server(parts());
    let mut handshake = Handshake::new(&server).expect("the settings serve");
    let (_, step) = handshake.take(&sent(&mut client(Suite::Aes128Gcm)), &mut Vec::new());
    assert!(matches!(step, Step::More));
    assert!(handshake.into_rest().is_err());
}
