//! Certificate files: which answers which name, who is let in, and what is said of files that are wrong.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, IsCa, KeyIdMethod, KeyPair,
    KeyUsagePurpose, PKCS_ED25519, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{WebPkiServerVerifier, danger};
use rustls::pki_types::UnixTime;
use rustls::pki_types::pem::PemObject;
use rustls::version::TLS13;
use rustls::{DigitallySignedStruct, SignatureScheme};

use super::*;
use crate::kit::lock::lock;
use crate::net::tls::certificate_files::{CertificateFiles, ClientFiles, Without, certificates, clients};
use crate::net::tls::certificates::Certificates;
use crate::net::tls::resumption::context as context_of;

/// An authority and the files that a test has, by name.
struct Folder {
    authority: CertifiedIssuer<'static, KeyPair>,
    files: HashMap<String, Vec<u8>>,
}

impl Folder {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("it is made");
        let authority = CertifiedIssuer::self_signed(params, key).expect("it is made");
        let mut folder = Self { authority, files: HashMap::new() };
        folder.put("ca.pem", folder.authority.pem());
        folder
    }

    fn put(&mut self, name: &str, bytes: impl Into<Vec<u8>>) {
        self.files.insert(name.to_owned(), bytes.into());
    }

    /// Makes `FILE.pem` and `FILE.key`; the serial number is also how many years after 4000 it ends.
    fn certify(&mut self, file: &str, names: &[&str], key: KeyPair, serial: u64) -> CertificateFiles {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("they are names");
        params.serial_number = Some(SerialNumber::from(serial));
        params.not_after = date_time_ymd(4000 + i32::try_from(serial).expect("it is small"), 1, 1);
        let certificate = params.signed_by(&key, &self.authority).expect("it is signed");
        self.put(&format!("{file}.pem"), certificate.pem());
        self.put(&format!("{file}.key"), key.serialize_pem());
        CertificateFiles { chain: format!("{file}.pem").into(), key: format!("{file}.key").into(), ocsp: None }
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let name = path.to_str().expect("names are text");
        self.files.get(name).cloned().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn certificates(&self, files: &[CertificateFiles]) -> Result<Certificates, String> {
        certificates(files, &|path| self.read(path))
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).expect("it is a root");
        Arc::new(roots)
    }
}

fn p256() -> KeyPair {
    KeyPair::generate().expect("it is made")
}

/// Takes every name, and remembers what it was shown.
#[derive(Debug)]
struct Witness {
    real: Arc<WebPkiServerVerifier>,
    schemes: Vec<SignatureScheme>,
    seen: std::sync::Mutex<(Vec<u8>, Vec<u8>)>,
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp: &[u8],
        _: UnixTime,
    ) -> Result<danger::ServerCertVerified, rustls::Error> {
        *lock(&self.seen) = (end_entity.to_vec(), ocsp.to_vec());
        Ok(danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<danger::HandshakeSignatureValid, rustls::Error> {
        self.real.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<danger::HandshakeSignatureValid, rustls::Error> {
        self.real.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

/// Which certificate a client is shown that asks for this name and checks these signatures, and the response beside it.
fn shown(folder: &Folder, server: &Arc<Server>, name: &str, schemes: &[SignatureScheme]) -> (Vec<u8>, Vec<u8>) {
    let provider = Arc::new(default_provider());
    let real = WebPkiServerVerifier::builder_with_provider(folder.roots(), Arc::clone(&provider)).build();
    let real = real.expect("there is a root");
    let witness = Arc::new(Witness { real, schemes: schemes.to_vec(), seen: std::sync::Mutex::default() });
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .expect("there are suites")
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&witness) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).expect("it is a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("the settings serve");
    shake(&mut client, server, |_| Vec::new());
    lock(&witness.seen).clone()
}

fn der(folder: &Folder, file: &CertificateFiles) -> Vec<u8> {
    let pem = folder.read(&file.chain).expect("it is there");
    CertificateDer::from_pem_slice(&pem).expect("it is a certificate").to_vec()
}

#[test]
fn names_wildcards_and_the_default() {
    let mut folder = Folder::new();
    let first = folder.certify("first", &["first.test"], p256(), 2);
    let wild = folder.certify("wild", &["*.Wild.test", "wild.test"], p256(), 1);
    let exact = folder.certify("exact", &["exact.wild.test"], p256(), 3);
    let certificates = folder.certificates(&[first.clone(), wild.clone(), exact.clone()]).expect("they are right");
    assert_eq!(certificates.names(), ["*.wild.test", "exact.wild.test", "first.test", "wild.test"]);
    assert_eq!(certificates.first_end(), Some(64_092_211_200), "the first day of 4001");
    let server = server(Parts { certificates: Arc::new(certificates), ..parts() });
    let cases = [
        ("first.test", &first),
        ("FIRST.test", &first),
        ("wild.test", &wild),
        ("any.wild.test", &wild),
        ("exact.wild.test", &exact),
        ("a.any.wild.test", &first),
        ("elsewhere.test", &first),
        ("192.0.2.1", &first),
    ];
    for (name, expected) in cases {
        let seen = shown(&folder, &server, name, &[SignatureScheme::ECDSA_NISTP256_SHA256]);
        assert_eq!(seen, (der(&folder, expected), Vec::new()), "{name}");
    }
}

#[test]
fn of_two_keys_for_a_name_the_one_that_the_client_can_check() {
    let mut folder = Folder::new();
    let ed25519 = KeyPair::generate_for(&PKCS_ED25519).expect("it is made");
    let ed = folder.certify("ed", &["two.test"], ed25519, 1);
    let ec = folder.certify("ec", &["two.test"], p256(), 2);
    let certificates = folder.certificates(&[ed.clone(), ec.clone()]).expect("they are right");
    let server = server(Parts { certificates: Arc::new(certificates), ..parts() });
    let (p256, ed25519) = (SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519);
    assert_eq!(shown(&folder, &server, "two.test", &[p256]).0, der(&folder, &ec));
    assert_eq!(shown(&folder, &server, "two.test", &[ed25519]).0, der(&folder, &ed));
    assert_eq!(shown(&folder, &server, "two.test", &[p256, ed25519]).0, der(&folder, &ed), "the first");
}

#[test]
fn an_ocsp_response_is_stapled() {
    let mut folder = Folder::new();
    let response = [&[0x30, 0x82, 1, 0][..], &[7; 256]].concat();
    folder.put("a.ocsp", response.clone());
    let mut files = folder.certify("a", &["a.test"], p256(), 1);
    files.ocsp = Some("a.ocsp".into());
    let certificates = folder.certificates(&[files]).expect("it is right");
    let server = server(Parts { certificates: Arc::new(certificates), ..parts() });
    assert_eq!(shown(&folder, &server, "a.test", &[SignatureScheme::ECDSA_NISTP256_SHA256]).1, response);
}

#[test]
fn wrong_files_are_named_with_what_to_change() {
    let mut folder = Folder::new();
    let good = folder.certify("good", &["a.test"], p256(), 1);
    folder.certify("other", &["a.test"], p256(), 2);
    let (pem, key) = (folder.files["good.pem"].clone(), folder.files["good.key"].clone());
    folder.put("reversed.pem", [folder.authority.pem().into_bytes(), pem.clone()].concat());
    folder.put("bundle.pem", pem.repeat(11));
    folder.put("empty", "");
    folder.put("text", "hello");
    folder.put("chain.der", der(&folder, &good));
    folder.put("cut.pem", &pem[..pem.len() - 40]);
    folder.put("cut.key", &key[..key.len() - 40]);
    folder.put("broken.pem", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n");
    folder.put("broken.key", "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n");
    folder.put("secret.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n");
    folder.put("part.ocsp", [0x30, 0x82, 1, 0, 7]);
    let cases = [
        ("gone.pem", "good.key", None, "gone.pem: cannot be read: "),
        ("empty", "good.key", None, "empty: is empty"),
        ("text", "good.key", None, "text: holds no \"-----BEGIN CERTIFICATE-----\""),
        ("good.key", "good.pem", None, "good.key: holds a private key and no certificate: are "),
        ("chain.der", "good.key", None, "chain.der: is DER, not PEM: "),
        ("cut.pem", "good.key", None, "cut.pem: damaged PEM: "),
        ("bundle.pem", "good.key", None, "bundle.pem: holds 11 certificates, at most 10: "),
        ("broken.pem", "good.key", None, "broken.pem: its first certificate cannot be used: "),
        (
            "reversed.pem",
            "good.key",
            None,
            "reversed.pem: the server's certificate must be the first, and it is number 2",
        ),
        ("good.pem", "gone.key", None, "gone.key: cannot be read: "),
        ("good.pem", "text", None, "text: holds no \"-----BEGIN PRIVATE KEY-----\""),
        ("good.pem", "good.pem", None, "good.pem: holds a certificate and no private key: are "),
        ("good.pem", "cut.key", None, "cut.key: damaged PEM"),
        ("good.pem", "broken.key", None, "broken.key: is no key that can sign: "),
        ("good.pem", "secret.key", None, "secret.key: is encrypted: take the password off with `openssl pkey "),
        ("good.pem", "other.key", None, "other.key: is not the key of good.pem"),
        ("good.pem", "good.key", Some("good.pem"), "good.pem: is PEM; an OCSP response is DER"),
        ("good.pem", "good.key", Some("part.ocsp"), "part.ocsp: is no OCSP response, or a part of one"),
        ("good.pem", "good.key", Some("gone.ocsp"), "gone.ocsp: cannot be read: "),
    ];
    for (chain, key, ocsp, expected) in cases {
        let files = CertificateFiles { chain: chain.into(), key: key.into(), ocsp: ocsp.map(Into::into) };
        let told = folder.certificates(&[good.clone(), files]).expect_err("it is wrong");
        assert!(told.starts_with(expected), "{told}");
        let secret = String::from_utf8_lossy(&folder.files["good.key"]).lines().nth(1).map(str::to_owned);
        assert!(!told.contains(&secret.expect("it has lines")[..16]), "{told}");
    }
    assert!(folder.certificates(&[]).is_err());
}

/// Shakes hands with this client certificate, or none; the label of the failure, if it fails.
fn let_in(folder: &Folder, rules: &ClientFiles, identity: Option<&CertificateFiles>) -> Result<(), &'static str> {
    let clients = clients(rules, &|path| folder.read(path)).expect("the files are right");
    let server = server(Parts { clients, ..parts() });
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])
        .expect("there are suites")
        .with_root_certificates(super::roots());
    let config = match identity {
        None => config.with_no_client_auth(),
        Some(files) => {
            let key = PrivateKeyDer::from_pem_slice(&folder.read(&files.key).expect("it is there"));
            let chain = vec![CertificateDer::from(der(folder, files))];
            config.with_client_auth_cert(chain, key.expect("it is a key")).expect("they fit")
        }
    };
    let mut client = connect(Arc::new(config));
    let mut handshake = Handshake::new(&server).expect("the settings serve");
    loop {
        let mut out = Vec::new();
        match handshake.take(&sent(&mut client), &mut out).1 {
            Step::More => give(&mut client, &out).map(drop).expect("it is right"),
            Step::Done => return Ok(()),
            Step::Failed(failure) => return Err(failure.label()),
        }
    }
}

fn revoke(folder: &mut Folder, file: &str, serial: u64, until: i32) {
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2020, 1, 1),
        next_update: date_time_ymd(until, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: vec![RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        }],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = list.signed_by(&folder.authority).expect("it is signed").pem().expect("it is text");
    folder.put(file, list);
}

#[test]
fn client_certificates_by_root_and_revocation_list() {
    let (mut folder, mut stranger) = (Folder::new(), Folder::new());
    let one = folder.certify("one", &["one.test"], p256(), 11);
    let two = folder.certify("two", &["two.test"], p256(), 12);
    let foreign = stranger.certify("one", &["one.test"], p256(), 11);
    folder.put("foreign.pem", stranger.files["one.pem"].clone());
    folder.put("foreign.key", stranger.files["one.key"].clone());
    let foreign = CertificateFiles { chain: "foreign.pem".into(), key: "foreign.key".into(), ..foreign };
    revoke(&mut folder, "revoked.pem", 12, 4000);
    revoke(&mut folder, "stale.pem", 12, 2021);

    let all = ClientFiles { roots: "ca.pem".into(), revoked: None, without: Without::Refused };
    let listed = ClientFiles { revoked: Some("revoked.pem".into()), ..all.clone() };
    let stale = ClientFiles { revoked: Some("stale.pem".into()), ..all.clone() };
    let optional = ClientFiles { without: Without::LetIn, ..listed.clone() };
    let cases = [
        (&all, Some(&one), Ok(())),
        (&all, Some(&two), Ok(())),
        (&all, Some(&foreign), Err("certificate")),
        (&all, None, Err("no_certificate")),
        (&listed, Some(&one), Ok(())),
        (&listed, Some(&two), Err("certificate")),
        (&stale, Some(&one), Err("certificate")),
        (&optional, None, Ok(())),
        (&optional, Some(&one), Ok(())),
        (&optional, Some(&two), Err("certificate")),
        (&optional, Some(&foreign), Err("certificate")),
    ];
    for (rules, identity, expected) in cases {
        assert_eq!(let_in(&folder, rules, identity), expected, "{rules:?} {identity:?}");
    }
}

#[test]
fn wrong_files_for_client_certificates_are_named() {
    let mut folder = Folder::new();
    folder.certify("one", &["one.test"], p256(), 11);
    folder.put("broken.pem", "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n");
    let cases = [
        ("gone.pem", None, "gone.pem: cannot be read"),
        ("one.key", None, "one.key: holds a private key and no certificate"),
        ("ca.pem", Some("ca.pem"), "ca.pem: holds no \"-----BEGIN X509 CRL-----\""),
        ("ca.pem", Some("broken.pem"), "broken.pem: "),
    ];
    for (roots, revoked, expected) in cases {
        let files = ClientFiles { roots: roots.into(), revoked: revoked.map(Into::into), without: Without::Refused };
        let told = clients(&files, &|path| folder.read(path)).expect_err("it is wrong");
        assert!(told.starts_with(expected), "{told}");
    }
}

/// Connects with this certificate, or none, and settings that remember tickets; whether it resumed.
fn again(config: &Arc<ClientConfig>, server: &Arc<Server>) -> Result<bool, &'static str> {
    let mut client = connect(Arc::clone(config));
    let mut handshake = Handshake::new(server).expect("the settings serve");
    loop {
        let mut out = Vec::new();
        match handshake.take(&sent(&mut client), &mut out).1 {
            Step::More => give(&mut client, &out).map(drop).expect("it is right"),
            Step::Done => {
                give(&mut client, &out).expect("it is right");
                return Ok(handshake.client().resumed);
            }
            Step::Failed(failure) => {
                assert!(matches!(handshake.take(&[23], &mut out), (0, Step::Failed(_))), "it stays so");
                assert_eq!(handshake.into_rest().map(drop), Err(failure.clone()));
                return Err(failure.label());
            }
        }
    }
}

#[test]
fn a_ticket_does_not_let_in_who_would_not_be_let_in_without_it() {
    let mut folder = Folder::new();
    let one = folder.certify("one", &["one.test"], p256(), 12);
    revoke(&mut folder, "revoked.pem", 12, 4000);
    let tickets = Some(Arc::new(crate::net::tls::tickets::Tickets::random(3600).expect("there are random bytes")));
    let listener = |files: Option<&ClientFiles>| {
        let clients = files.map(|files| clients(files, &|path| folder.read(path)).expect("the files are right"));
        let clients = clients.unwrap_or_else(|| Arc::new(NoClientAuth));
        server(Parts { clients, tickets: tickets.clone(), ..parts() })
    };
    let required = ClientFiles { roots: "ca.pem".into(), revoked: None, without: Without::Refused };
    let listed = ClientFiles { revoked: Some("revoked.pem".into()), ..required.clone() };
    let optional = ClientFiles { without: Without::LetIn, ..required.clone() };
    let context =
        |files: &ClientFiles| context_of(&*clients(files, &|path| folder.read(path)).expect("the files are right"));
    let contexts = [context(&required), context(&optional), context_of(&NoClientAuth)];
    assert_eq!(context(&required), context(&listed), "a new list takes no tickets away");
    assert!(contexts[0] != contexts[1] && contexts[1] != contexts[2] && contexts[0] != contexts[2]);
    let [required, listed, optional] = [&required, &listed, &optional].map(|files| listener(Some(files)));
    let anybody = listener(None);

    let base = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])
        .expect("there are suites")
        .with_root_certificates(super::roots());
    let key = PrivateKeyDer::from_pem_slice(&folder.read(&one.key).expect("it is there")).expect("it is a key");
    let chain = vec![CertificateDer::from(der(&folder, &one))];
    let with = Arc::new(base.clone().with_client_auth_cert(chain, key).expect("they fit"));
    assert_eq!(again(&with, &required), Ok(false));
    assert_eq!(again(&with, &required), Ok(true));
    assert_eq!(again(&with, &listed), Err("certificate"), "revoked since its ticket was given");

    let without = Arc::new(base.with_no_client_auth());
    assert_eq!(again(&without, &anybody), Ok(false));
    assert_eq!(again(&without, &anybody), Ok(true));
    assert_eq!(again(&without, &required), Err("no_certificate"), "a ticket from a listener that asks for none");
    assert_eq!(again(&without, &optional), Ok(false), "there it does no harm, and is no use");
    assert_eq!(again(&without, &optional), Ok(true));
    assert_eq!(again(&without, &required), Err("no_certificate"));
}
