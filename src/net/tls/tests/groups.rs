//! Key exchanges: each group that a client may bring, hellos in records of all sizes, clients that are asked for another share.

use rustls::HandshakeKind::{Full, FullWithHelloRetryRequest};
use rustls::NamedGroup;
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::kx_group::{MLKEM768, SECP256R1, SECP384R1, X25519, X25519MLKEM768};
use rustls::version::TLS13;

use super::*;

/// Settings of a client that offers one suite and these groups, with a share of the first, in records of at most so many bytes.
fn offering(
    suite: Suite,
    groups: &[&'static dyn SupportedKxGroup],
    record_bytes_max: Option<usize>,
) -> Arc<ClientConfig> {
    let mut provider = client_config(suite, &[&TLS13]).crypto_provider().as_ref().clone();
    provider.kx_groups = groups.to_vec();
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS13])
        .expect("there is a suite")
        .with_root_certificates(roots())
        .with_no_client_auth();
    config.max_fragment_size = record_bytes_max;
    Arc::new(config)
}

#[test]
fn each_group_in_each_suite_with_hellos_in_any_number_of_records() {
    let server = server(parts());
    let cases: [(&[&'static dyn SupportedKxGroup], _, _); 6] = [
        (&[X25519], Full, NamedGroup::X25519),
        (&[SECP256R1], Full, NamedGroup::secp256r1),
        (&[SECP384R1], Full, NamedGroup::secp384r1),
        (&[X25519MLKEM768], Full, NamedGroup::X25519MLKEM768),
        // A share of a group that is not ours: the client is asked for one that is, and says its hello again.
        (&[MLKEM768, X25519], FullWithHelloRetryRequest, NamedGroup::X25519),
        (&[MLKEM768, SECP256R1], FullWithHelloRetryRequest, NamedGroup::secp256r1),
    ];
    for (groups, kind, group) in cases {
        for suite in SUITES {
            for record_bytes_max in [None, Some(32), Some(500)] {
                let mut client = connect(offering(suite, groups, record_bytes_max));
                let (handshake, bytes) = shake(&mut client, &server, |flight| (7..flight.len()).step_by(97).collect());
                assert_eq!(client.handshake_kind(), Some(kind), "{group:?} {suite:?} {record_bytes_max:?}");
                assert_eq!(client.negotiated_key_exchange_group().map(SupportedKxGroup::name), Some(group));
                let rest = handshake.into_rest().expect("it is done");
                assert_eq!(rest.suite(), suite);
                let mut pair = Pair { client, rest, ciphers: Ciphers::new(2), bytes };
                pair.write(b"up");
                assert_eq!(pair.take(), [data(b"up")]);
                assert_eq!(pair.seal(&[b"down"]), b"down");
            }
        }
    }
}

#[test]
fn a_retried_hello_at_every_cut() {
    let server = server(parts());
    // Of a server that it knows a client remembers the group, so each has settings of its own.
    let client = || connect(offering(Suite::Aes128Gcm, &[MLKEM768, SECP256R1], None));
    let hello_bytes = sent(&mut client()).len();
    for cut in (0..hello_bytes).step_by(13) {
        let mut client = client();
        let (handshake, _) = shake(&mut client, &server, |flight| vec![cut.min(flight.len())]);
        assert_eq!(client.handshake_kind(), Some(FullWithHelloRetryRequest), "cut at {cut}");
        assert!(handshake.into_rest().is_ok());
    }
}

#[test]
fn no_group_in_common_is_told_by_an_alert() {
    let mut handshake = Handshake::new(&server(parts())).expect("the settings serve");
    let mut client = connect(offering(Suite::Aes128Gcm, &[MLKEM768], None));
    let mut out = Vec::new();
    let (_, step) = handshake.take(&sent(&mut client), &mut out);
    let Step::Failed(failure) = step else { panic!("{step:?}") };
    assert_eq!(failure.label(), "incompatible");
    let told = give(&mut client, &out);
    assert_eq!(told, Err(rustls::Error::AlertReceived(rustls::AlertDescription::HandshakeFailure)));
}
