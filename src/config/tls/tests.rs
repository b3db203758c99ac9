use super::*;
use crate::config::{Loaded, Sources, load as load_all};

/// A folder that goes with its test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("holdfast-config-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("it can be made");
        let folder = Self(path);
        let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).expect("it is made");
        folder.put("a.pem", &made.cert.pem());
        folder.put("a.key", &made.signing_key.serialize_pem());
        folder
    }

    fn put(&self, file: &str, text: &str) {
        let path = self.0.join(file);
        fs::write(&path, text).expect("it can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("it is ours");
    }

    /// What loading says to this file.
    fn load(&self, text: &str) -> Result<Loaded, String> {
        self.put("holdfast.toml", text);
        let sources =
            Sources { file: Some(self.0.join("holdfast.toml")), host_name: "n".to_owned(), ..Sources::default() };
        load_all(&sources).map_err(|problems| problems.to_string())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const KEYS: &str = "[[tls.keys]]\ncertificate = \"a.pem\"\nkey = \"a.key\"\n";

#[test]
fn files_are_read_where_a_port_has_tls() {
    let folder = Folder::new("read");
    assert!(folder.load(KEYS).expect("valid").settings.secure.is_none());
    for (port, doors) in [("server", [true, false]), ("link", [false, true])] {
        let loaded = folder.load(&format!("[{port}]\ntls = \"required\"\n[tls]\nticket_lifetime = \"0s\"\n{KEYS}"));
        let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
        let secure = loaded.settings.secure.as_ref().expect("TLS");
        assert_eq!(secure.terms.each_ref().map(Option::is_some), doors);
        assert_eq!((secure.names.join(" "), &secure.warnings), ("a.test".to_owned(), &Vec::new()));
        assert_eq!(files(&loaded.settings), ["a.pem", "a.key"].map(|file| folder.0.join(file)));
    }
}

#[test]
fn what_is_wrong_is_told_with_its_key_and_its_file() {
    let folder = Folder::new("wrong");
    folder.put("bad.key", "none");
    folder.put("tickets", "c2hvcnQ=");
    let required = "[server]\ntls = \"required\"\n";
    let cases = [
        (format!("{required}[tls]\n"), "holdfast.toml:2: `server.tls` needs a certificate"),
        (format!("{required}{KEYS}[tls]\nmin_version = \"1.1\"\n"), "must be one of \"1.2\", \"1.3\""),
        (format!("{required}{}", KEYS.replace("a.pem", "none.pem")), "`tls.keys.0`: none.pem: cannot be read"),
        (format!("{required}{}", KEYS.replace("a.key", "bad.key")), "`tls.keys.0`: bad.key: holds no"),
        (format!("{required}[[tls.keys]]\nkey = \"a.key\"\n"), "`tls.keys.0.certificate` is missing"),
        (format!("{required}[tls]\ntickets = \"tickets\"\n{KEYS}"), "`tls.tickets`: tickets: line 1 has 5 bytes"),
        (format!("{required}[tls]\nclient_certificates = \"required\"\n{KEYS}"), "needs `tls.client_ca`"),
        (format!("{required}[tls]\nclient_identity = \"cn:{{agent}}\"\n{KEYS}"), "`tls.client_identity` has no effect"),
        (
            format!(
                "{required}[tls]\nclient_certificates = \"optional\"\nclient_ca = \"a.pem\"\nclient_identity = \"cn:x\"\n{KEYS}"
            ),
            "`tls.client_identity`: says nowhere where the agent's id stands",
        ),
        (
            format!("{required}[tls]\nclient_certificates = \"optional\"\nclient_ca = \"a.key\"\n{KEYS}"),
            "`tls.client_ca`: a.key: holds a private key and no certificate",
        ),
    ];
    for (text, expected) in cases {
        let told = folder.load(&text.replace("[tls]\n[[", "[[")).expect_err(expected);
        assert!(told.contains(expected), "{told}\nis not: {expected}");
    }
}

#[test]
fn what_serves_and_should_be_looked_at_is_told() {
    let folder = Folder::new("warned");
    let mut params = rcgen::CertificateParams::new(vec!["b.test".to_owned()]).expect("a name");
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let key = rcgen::KeyPair::generate().expect("a key");
    folder.put("a.pem", &params.self_signed(&key).expect("signed").pem());
    folder.put("a.key", &key.serialize_pem());
    fs::set_permissions(folder.0.join("a.key"), fs::Permissions::from_mode(0o644)).expect("it is ours");
    let loaded = folder.load(&format!("[server]\ntls = \"required\"\n{KEYS}")).expect("valid");
    let warnings = loaded.settings.secure.as_ref().map(|secure| secure.warnings.clone()).unwrap_or_default();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("a.pem has expired") && warnings[1].contains("chmod o= a.key"), "{warnings:?}");
}

/// `openssl req -x509` makes one of an authority unless it is told otherwise.
#[test]
fn a_certificate_of_an_authority_is_told() {
    use rcgen::{BasicConstraints, IsCa};
    let folder = Folder::new("authority");
    let kinds = [
        (IsCa::NoCa, false),
        (IsCa::ExplicitNoCa, false),
        (IsCa::Ca(BasicConstraints::Unconstrained), true),
        (IsCa::Ca(BasicConstraints::Constrained(3)), true),
    ];
    for (is_ca, is_told) in kinds {
        let mut params = rcgen::CertificateParams::new(vec!["b.test".to_owned()]).expect("a name");
        params.is_ca = is_ca;
        let key = rcgen::KeyPair::generate().expect("a key");
        folder.put("a.pem", &params.self_signed(&key).expect("signed").pem());
        folder.put("a.key", &key.serialize_pem());
        fs::set_permissions(folder.0.join("a.key"), fs::Permissions::from_mode(0o600)).expect("it is ours");
        let loaded = folder.load(&format!("[server]\ntls = \"required\"\n{KEYS}")).expect("valid");
        let warnings = loaded.settings.secure.as_ref().map(|secure| secure.warnings.clone()).unwrap_or_default();
        let told = warnings.iter().any(|warning| warning.contains("a.pem is a certificate of an authority"));
        assert_eq!((told, warnings.len()), (is_told, usize::from(is_told)), "{is_ca:?}: {warnings:?}");
    }
}

#[test]
fn tickets_of_its_own_outlive_a_reload_and_links_are_followed() {
    let folder = Folder::new("again");
    let loaded = folder.load(&format!("[server]\ntls = \"required\"\n{KEYS}")).expect("valid");
    let first = loaded.settings.secure.as_ref().expect("TLS");
    let again = load(&loaded.settings, Some(first)).expect("valid").expect("TLS");
    let tickets = |secure: &Secure| secure.own_tickets.as_ref().map(|(_, tickets)| Arc::as_ptr(tickets));
    assert!(tickets(first).is_some() && tickets(first) == tickets(&again));

    let before = stamps(&files(&loaded.settings));
    assert_eq!(before, stamps(&files(&loaded.settings)));
    fs::rename(folder.0.join("a.pem"), folder.0.join("b.pem")).expect("renamed");
    assert_eq!(stamps(&files(&loaded.settings))[0], None);
    std::os::unix::fs::symlink("b.pem", folder.0.join("a.pem")).expect("a link");
    assert_eq!(before, stamps(&files(&loaded.settings)), "the same file under another name");
    fs::copy(folder.0.join("b.pem"), folder.0.join("c.pem")).expect("copied");
    fs::remove_file(folder.0.join("a.pem")).expect("removed");
    std::os::unix::fs::symlink("c.pem", folder.0.join("a.pem")).expect("a link");
    assert_ne!(before, stamps(&files(&loaded.settings)));
}
