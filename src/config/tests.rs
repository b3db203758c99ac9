//! Layers, messages and relations, through the front door.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::auth::permissions::{Act, Right, Ruling};
use crate::auth::token::Algorithm;

/// What loading says to a file, an environment and flags; the file is called `h.toml`.
fn load_text(text: &str, env: &[(&str, &str)], flags: &[Flag]) -> Result<Loaded, String> {
    let sources = Sources {
        file: None,
        env: env.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect(),
        flags: flags.to_vec(),
        host_name: "host-1".to_owned(),
    };
    let mut problems = Problems::default();
    let loaded = load_layers(Some((Path::new("h.toml"), text)), &sources, &mut problems);
    match loaded {
        Some(loaded) if problems.is_empty() => Ok(loaded),
        _ => Err(problems.to_string()),
    }
}

fn refusal(text: &str, env: &[(&str, &str)]) -> String {
    load_text(text, env, &[]).map_or_else(|error| error, |_| panic!("accepted: {text}"))
}

fn accepted(text: &str, env: &[(&str, &str)]) -> Settings {
    load_text(text, env, &[]).map_or_else(|error| panic!("{error}"), |loaded| loaded.settings)
}

#[test]
fn defaults_are_valid_and_are_those_that_are_promised() {
    let settings = defaults("host-1").expect("valid");
    assert_eq!(settings.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.control.listen.to_string(), "127.0.0.1:8081");
    assert_eq!(settings.server.node, "host-1");
    assert_eq!(settings.limits.head_max, 8192);
    assert_eq!(settings.limits.queue_soft, 65536);
    assert_eq!(settings.limits.turn_bytes, 256 * 1024);
    assert_eq!(settings.calls.timeout, Duration::from_secs(20));
    assert_eq!(settings.heartbeat.interval, Duration::from_secs(45));
    assert_eq!(settings.log.format, LogFormat::Text);
    assert!(settings.auth.keys.is_empty() && settings.api.keys.is_empty());
}

#[test]
fn links_have_a_port_of_their_own_or_none() {
    assert_eq!(defaults("host-1").expect("valid").link.listen, None);
    let flag = Flag { name: "--link", key: ["link", "listen"], value: "127.0.0.1:8082".to_owned() };
    let loaded = load_text("", &[], &[flag]).expect("valid");
    assert_eq!(loaded.settings.link.listen, "127.0.0.1:8082".parse().ok());
    for (port, other) in [(8080, "server.listen"), (8081, "control.listen")] {
        let refused = refusal(&format!("[link]\nlisten = \"0.0.0.0:{port}\"\n"), &[]);
        assert!(refused.contains("`link.listen`") && refused.contains(other), "{refused}");
    }
    let refused = refusal("[link]\nqueue_soft = \"1GiB\"\n", &[]);
    assert!(refused.contains("`link.queue_soft`") && refused.contains("`link.queue_hard`"), "{refused}");
    let refused = refusal("[link]\nlisten = \"nowhere\"\n", &[]);
    assert!(refused.contains("must be an IP address with a port"), "{refused}");
}

#[test]
fn each_layer_lies_over_the_one_before() {
    let file = "[server]\nloops = 2\nworkers = 3\n[calls]\ntimeout = \"1s\"\n";
    let env = [("HOLDFAST_SERVER__WORKERS", "4"), ("HOLDFAST_SERVER__NODE", "n")];
    let flag = Flag { name: "--workers", key: ["server", "workers"], value: "5".to_owned() };
    let loaded = load_text(file, &env, &[flag]).expect("valid");
    let server = &loaded.settings.server;
    assert_eq!((server.loops, server.workers, server.node.as_str()), (2, 5, "n"));
    assert_eq!(loaded.settings.calls.timeout, Duration::from_secs(1));

    let origin = |key: &str| {
        let listed = loaded.listing.iter().find(|listed| listed.key == key);
        listed.map(|listed| (listed.value.clone(), listed.origin.to_string()))
    };
    let expected = [
        ("server.loops", "2", "h.toml:2"),
        ("server.workers", "5", "--workers"),
        ("server.node", "\"n\"", "HOLDFAST_SERVER__NODE"),
        ("calls.timeout", "\"1s\"", "h.toml:5"),
        ("calls.timeout_max", "\"5m\"", "default"),
    ];
    for (key, value, from) in expected {
        assert_eq!(origin(key), Some((value.to_owned(), from.to_owned())), "{key}");
    }
}

#[test]
fn a_file_that_is_wrong_is_told_by_line() {
    let cases = [
        (
            "[limits]\n\nmesage_max = \"1MiB\"\n",
            "h.toml:3: unknown key `limits.mesage_max`, did you mean `message_max`?",
        ),
        ("[limit]\nhead_max = \"1KiB\"\n", "h.toml:1: unknown section `limit`, did you mean `limits`?"),
        ("[drain]\nzzz = 1\n", "h.toml:2: unknown key `drain.zzz` (known: window, hard_end)"),
        ("head_max = \"1KiB\"\n", "h.toml:1: `head_max` stands outside of its section: put it under `[limits]`"),
        ("limits = 3\n", "h.toml:1: `limits` must be a section: write `[limits]`"),
        ("[limits]\nhead_max = 8192\n", "h.toml:2: `limits.head_max` must be a string in quotes, is of type integer"),
        (
            "[server]\nloops = \"2\"\n",
            "h.toml:2: `server.loops` must be a whole number without quotes, is of type string",
        ),
        ("[server]\nloops = -1\n", "h.toml:2: `server.loops` is -1, must not be negative"),
        (
            "[server]\nloops = 99999999999999999999\n",
            "h.toml:2: `server.loops` is 99999999999999999999, which is too large",
        ),
        ("[server]\nworkers = 5000\n", "h.toml:2: `server.workers` is 5000, must lie between 0 and 1024"),
        ("[calls]\ntimeout = \"0s\"\n", "h.toml:2: `calls.timeout` is \"0s\", must lie between \"1ms\" and \"1day\""),
        (
            "[limits]\nhead_max = \"0B\"\n",
            "h.toml:2: `limits.head_max` is \"0B\", must lie between \"256B\" and \"32KiB\"",
        ),
        (
            "[limits]\nhead_max = \"99999999999EiB\"\n",
            "h.toml:2: `limits.head_max` is \"99999999999EiB\", must lie between \"256B\" and \"32KiB\"",
        ),
        (
            "[limits]\nhead_max = \"-1KiB\"\n",
            "h.toml:2: `limits.head_max` is \"-1KiB\", must be a size such as \"64KiB\" or \"1MiB\"",
        ),
        ("[log]\nformat = \"xml\"\n", "h.toml:2: `log.format` is \"xml\", must be one of \"text\", \"json\""),
        (
            "[server]\nlisten = \"localhost\"\n",
            "h.toml:2: `server.listen` is \"localhost\", must be an IP address with a port, such as \"127.0.0.1:8080\" or \"[::]:8080\"",
        ),
        ("[auth]\nkeys = 3\n", "h.toml:2: `auth.keys` must be a list of tables: write `[[auth.keys]]`"),
        (
            "[[auth.keys]]\nid = \"a\"\nalgoritm = \"HS256\"\nsecret=\"0123456789abcdef0123456789abcdef\"\nalgorithm=\"HS256\"",
            "h.toml:3: unknown key `auth.keys.algoritm`, did you mean `algorithm`?",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(refusal(text, &[]), expected, "{text}");
    }
}

#[test]
fn text_that_is_no_toml_is_told_by_line() {
    let told = refusal("[server]\nloops = = 2\n", &[]);
    assert!(told.contains("h.toml:2: not TOML: "), "{told}");
    let told = refusal("[server]\nloops = 1\nloops = 2\n", &[]);
    assert!(told.contains("h.toml:3: not TOML: "), "{told}");
}

#[test]
fn variables_that_are_wrong_are_told_by_name() {
    let cases = [
        (
            "HOLDFAST_LIMITS__MESAGE_MAX",
            "1MiB",
            "HOLDFAST_LIMITS__MESAGE_MAX: unknown key `limits.mesage_max`, did you mean `message_max`?",
        ),
        (
            "HOLDFAST_LIMIT__HEAD_MAX",
            "1KiB",
            "HOLDFAST_LIMIT__HEAD_MAX: unknown section `limit`, did you mean `limits`?",
        ),
        (
            "HOLDFAST_SERVER__LOOPS",
            "two",
            "HOLDFAST_SERVER__LOOPS: `server.loops` is \"two\", must be a whole number, not negative",
        ),
        (
            "HOLDFAST_DRAIN__WINDOW",
            "20",
            "HOLDFAST_DRAIN__WINDOW: `drain.window` is \"20\", must be a duration such as \"20s\" or \"5m\" (time unit needed, for example 20sec or 20ms)",
        ),
        (
            "HOLDFAST_AUTH__KEYS",
            "x",
            "HOLDFAST_AUTH__KEYS: `auth.keys` is a list: name its entry and field, such as HOLDFAST_AUTH__KEYS__0__ID",
        ),
        (
            "HOLDFAST_AUTH__KEYS__1__ID",
            "x",
            "HOLDFAST_AUTH__KEYS__1__ID: `auth.keys` has 0 entries before this one: the next is number 0",
        ),
        (
            "HOLDFAST_SERVER__LOOPS__0",
            "x",
            "HOLDFAST_SERVER__LOOPS__0: unknown key `server.loops.0`, did you mean `loops`?",
        ),
    ];
    for (name, value, expected) in cases {
        assert_eq!(refusal("", &[(name, value)]), expected, "{name}");
    }
}

#[test]
fn variables_of_one_segment_belong_to_others() {
    let env = [("HOLDFAST_TOKEN", "x"), ("HOLDFAST_API_KEY", "x"), ("HOLDFAST_SERVICE_PORT", "x"), ("PATH__X", "x")];
    accepted("", &env);
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf8_is_told_without_its_value() {
    use std::os::unix::ffi::OsStringExt;
    let sources =
        Sources { env: vec![("HOLDFAST_LOG__LEVEL".to_owned(), OsString::from_vec(vec![0xff]))], ..Sources::default() };
    let told = load(&sources).map_or_else(|problems| problems.to_string(), |_| String::new());
    assert_eq!(told, "HOLDFAST_LOG__LEVEL: the value is not UTF-8");
}

#[test]
fn relations_are_held() {
    let cases = [
        (
            "[limits]\nqueue_soft = \"1MiB\"\n",
            "h.toml:2: `limits.queue_soft` (1MiB) must be less than `limits.queue_hard` (1MiB): between the two an agent has `limits.write_deadline` to catch up",
        ),
        (
            "[limits]\nmessage_max = \"2MiB\"\n",
            "h.toml:2: `limits.message_max` (2MiB) must not be more than `limits.queue_hard` (1MiB): a message that no queue can hold could never be sent on",
        ),
        (
            "[limits]\nlease_bytes = \"1MiB\"\nqueue_hard = \"4MiB\"\n[link]\nmessage_max = \"1025KiB\"\n",
            "h.toml:5: `link.message_max` (1025KiB) rounded up to a power of two must not be more than `limits.lease_bytes` (1MiB): a message that there is no buffer for could never be received",
        ),
        (
            "[control]\nbody_max = \"2MiB\"\n",
            "h.toml:2: `control.body_max` (2MiB) must not be more than `limits.queue_hard` (1MiB): a call that no queue can hold could only be sent to an agent with nothing queued",
        ),
        (
            "[limits]\ncalls_per_tenant = 10\n",
            "h.toml:2: `limits.calls_per_agent` (64) must not be more than `limits.calls_per_tenant` (10): the tenant's limit would always come first",
        ),
        (
            "[deflate]\nfrom = \"65KiB\"\n",
            "h.toml:2: `deflate.from` (65KiB) must not be more than `deflate.to` (64KiB): no message would be compressed",
        ),
        (
            "[overload]\nmemory_shed = 109\n",
            "h.toml:2: `overload.memory_shed` (109) must not be more than `overload.memory_close` (108): each level of overload does what those below it do",
        ),
        (
            "[overload]\nlag_shed = \"99ms\"\n",
            "h.toml:2: `overload.lag_refuse` (100ms) must not be more than `overload.lag_shed` (99ms): each level of overload does what those below it do",
        ),
        (
            "[overload]\nlag_close = \"400ms\"\n",
            "h.toml:2: `overload.lag_shed` (500ms) must not be more than `overload.lag_close` (400ms): each level of overload does what those below it do",
        ),
        (
            "[calls]\ntimeout = \"6m\"\n",
            "h.toml:2: `calls.timeout` (6m) must not be more than `calls.timeout_max` (5m): the default is bound by the limit too",
        ),
        (
            "[calls]\nidempotency_window = \"1m\"\n",
            "h.toml:2: `calls.timeout_max` (5m) must not be more than `calls.idempotency_window` (1m): a call must not outlive the memory of its key",
        ),
        (
            "[heartbeat]\ntimeout = \"60s\"\n",
            "h.toml:2: `heartbeat.timeout` (60s) must be less than `heartbeat.interval` (45s): one ping is answered or missed before the next is due",
        ),
        (
            "[drain]\nwindow = \"31s\"\n",
            "h.toml:2: `drain.window` (31s) must not be more than `drain.hard_end` (30s): the process ends at `drain.hard_end`",
        ),
        (
            "[server]\nlisten = \"0.0.0.0:8081\"\n",
            "h.toml:2: `server.listen` (0.0.0.0:8081) needs another port than `control.listen` (127.0.0.1:8081): agents and backends never share a port",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(refusal(text, &[]), expected, "{text}");
    }
    // Any free port twice is two ports; two addresses may use one port number.
    accepted("[server]\nlisten = \"127.0.0.1:0\"\n[control]\nlisten = \"127.0.0.1:0\"", &[]);
    accepted("[server]\nlisten = \"127.0.0.2:8081\"", &[]);
}

#[test]
fn all_problems_are_told_at_once() {
    let text = "[server]\nloops = -1\nport = 1\n[limits]\nhead_max = \"0B\"\nqueue_soft = \"1MiB\"\n[[auth.keys]]\nid = \"a\"\n";
    let told = refusal(text, &[("HOLDFAST_LOG__LEVL", "info")]);
    let expected = "\
6 problems in the settings:
  h.toml:2: `server.loops` is -1, must not be negative
  h.toml:3: unknown key `server.port` (known: listen, node, loops, workers, busy_poll, proxy_protocol, proxy_from, tls, origins)
  HOLDFAST_LOG__LEVL: unknown key `log.levl`, did you mean `level`?
  h.toml:7: `auth.keys.0.algorithm` is missing
  h.toml:5: `limits.head_max` is \"0B\", must lie between \"256B\" and \"32KiB\"
  h.toml:6: `limits.queue_soft` (1MiB) must be less than `limits.queue_hard` (1MiB): between the two an agent has `limits.write_deadline` to catch up";
    assert_eq!(told, expected);
}

#[test]
fn a_broken_value_brings_no_follow_up_about_its_relations() {
    let told = refusal("[limits]\nqueue_hard = \"x\"\nqueue_soft = \"900MiB\"\n", &[]);
    assert!(told.starts_with("h.toml:2: `limits.queue_hard` is \"x\""), "{told}");
    assert!(!told.contains('\n'), "{told}");
}

const SECRET: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn keys_come_from_files_and_from_the_environment() {
    let text = "[[auth.keys]]\nid = \"a\"\nalgorithm = \"HS256\"\n[[api.keys]]\nname = \"b\"\n";
    let sha = "AB".repeat(32);
    let env = [
        ("HOLDFAST_AUTH__KEYS__0__SECRET", SECRET),
        ("HOLDFAST_AUTH__KEYS__1__ID", "second"),
        ("HOLDFAST_AUTH__KEYS__1__ALGORITHM", "HS256"),
        ("HOLDFAST_AUTH__KEYS__1__SECRET", SECRET),
        ("HOLDFAST_AUTH__KEYS__1__TENANT", "acme"),
        ("HOLDFAST_API__KEYS__0__SHA256", sha.as_str()),
    ];
    let settings = accepted(text, &env);
    let keys = &settings.auth.keys;
    assert_eq!((keys[0].id.as_str(), keys[0].algorithm), ("a", Algorithm::Hs256));
    assert_eq!(keys[0].material, SECRET.as_bytes());
    assert_eq!(keys[0].tenant, None);
    assert_eq!(keys[1].tenant.as_deref(), Some("acme"));
    assert_eq!(settings.api.keys[0].sha256, "ab".repeat(32));
    assert_eq!(settings.api.keys[0].tenant, "default");
}

#[test]
fn secrets_are_in_no_debug_output_and_in_no_listing() {
    let text = format!(
        "[[auth.keys]]\nid = \"a\"\nalgorithm = \"HS256\"\nsecret = \"{SECRET}\"\n[[api.keys]]\nname = \"b\"\nsha256 = \"{}\"",
        "0".repeat(64)
    );
    let env = [("HOLDFAST_AUTH__KEYS__0__SECRET", SECRET)];
    let loaded = load_text(&text, &env, &[]).expect("valid");
    let raw: Raw = toml::from_str(&text).expect("valid");
    let hidden = loaded.listing.iter().find(|listed| listed.key == "auth.keys.0.secret");
    assert_eq!(hidden.map(|listed| listed.value.as_str()), Some("(hidden)"));
    for shown in [format!("{loaded:?}"), format!("{:?}", loaded.settings), format!("{raw:?}")] {
        assert!(!shown.contains(SECRET), "{shown}");
        let bytes = format!("{:?}", SECRET.as_bytes());
        assert!(!shown.contains(&bytes), "{shown}");
    }
    assert!(format!("{:?}", loaded.settings.auth).contains("\"a\""), "ids are shown");
}

#[test]
fn keys_that_are_wrong_are_told() {
    let cases = [
        (
            "[[auth.keys]]\nid = \"a\"\nalgorithm = \"HS256\"",
            "h.toml:1: `auth.keys.0.file` is missing: give `file` or `secret`",
        ),
        (
            "[[auth.keys]]\nid = \"a\"\nalgorithm = \"HS256\"\nfile = \"f\"\nsecret = \"hush\"",
            "h.toml:5: `auth.keys.0.secret` is given beside `file`: give exactly one of them",
        ),
        (
            "[[auth.keys]]\nid = \"a\"\nalgorithm = \"HS256\"\nsecret = \"hush\"",
            "h.toml:1: `auth.keys.0`: key \"a\": an HS256 secret needs 32 bytes or more, and this one has 4: make one with `openssl rand -hex 32`",
        ),
        (
            "[[auth.keys]]\nid = \"a\"\nalgorithm = \"ES256\"\nsecret = \"hush\"",
            "h.toml:4: `auth.keys.0.secret` is for HS256 alone; other algorithms take the `file` of a public key",
        ),
        (
            "[[auth.keys]]\nid = \"a\"\nalgorithm = \"none\"\nsecret = \"hush\"",
            "h.toml:3: `auth.keys.0.algorithm` is \"none\", must be one of \"HS256\", \"RS256\", \"RS384\", \"RS512\", \"PS256\", \"PS384\", \"PS512\", \"ES256\", \"ES384\", \"EdDSA\"",
        ),
        (
            "[[auth.keys]]\nid = \"a\"\nalgorithm = \"ES256\"\nfile = \"/no/such/key.pem\"",
            "h.toml:4: `auth.keys.0.file` \"/no/such/key.pem\" cannot be read: No such file or directory (os error 2)",
        ),
        (
            "[[api.keys]]\nname = \"a\"\nsha256 = \"hush\"",
            "h.toml:3: `api.keys.0.sha256` must be the SHA-256 of the key, 64 hex digits (`holdfast token api-key` makes both)",
        ),
        (
            "[[api.keys]]\nname = \"a b\"\nsha256 = \"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"",
            "h.toml:1: `api.keys.0`: API key \"a b\": its name must be 1 to 128 characters of A-Z a-z 0-9 . _ : @ -",
        ),
        (
            "[[api.keys]]\nname = \"a\"\nsha256 = \"E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855\"",
            "h.toml:1: `api.keys.0`: API key \"a\": sha256 is the hash of nothing: the key was empty when it was hashed",
        ),
        (
            "[[api.keys]]\nname = \"a\"\nsha256 = \"hush\"\ntenant = \"a b\"",
            "2 problems in the settings:\n  h.toml:3: `api.keys.0.sha256` must be the SHA-256 of the key, 64 hex digits (`holdfast token api-key` makes both)\n  h.toml:4: `api.keys.0.tenant` must be a name: 1 to 128 characters of A-Z a-z 0-9 . _ : @ -",
        ),
    ];
    for (text, expected) in cases {
        let told = refusal(text, &[]);
        assert_eq!(told, expected, "{text}");
        assert!(!told.contains("hush"), "{told}");
    }
}

#[test]
fn names_and_hashes_are_unique() {
    let zeros = "0".repeat(64);
    let text =
        format!("[[api.keys]]\nname = \"a\"\nsha256 = \"{zeros}\"\n[[api.keys]]\nname = \"a\"\nsha256 = \"{zeros}\"");
    let told = refusal(&text, &[]);
    assert!(told.contains("h.toml:5: `api.keys.1.name` \"a\" is used twice"), "{told}");
    assert!(told.contains("h.toml:6: `api.keys.1.sha256` is that of an earlier key"), "{told}");
}

#[test]
fn a_file_that_is_not_there_is_one_problem() {
    let sources = Sources { file: Some(PathBuf::from("/no/such/file.toml")), ..Sources::default() };
    let told = load(&sources).map_or_else(|problems| problems.to_string(), |_| String::new());
    assert_eq!(told, "/no/such/file.toml: cannot read the configuration file: No such file or directory (os error 2)");
}

#[test]
fn raw_settings_refuse_unknown_keys_by_themselves() {
    assert!(toml::from_str::<Raw>("[limits]\nx = 1").is_err());
    assert!(toml::from_str::<Raw>("[x]").is_err());
    assert!(toml::from_str::<Raw>("[[api.keys]]\nx = \"\"").is_err());
}

#[test]
fn lists_are_typed_in_brackets_or_with_commas() {
    let file = "[server]\norigins = [\"https://a.example.com\", \"https://*.b.example.com\"]\n";
    let settings = accepted(file, &[("HOLDFAST_RATES__EXEMPT", " 10.0.0.0/8, 192.0.2.7,")]);
    assert!(settings.server.origins.allow("https://x.b.example.com") && settings.server.proxy_from.0.is_empty());
    let networks: Vec<String> = settings.rates.exempt.0.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.0/8", "192.0.2.7/32"]);
    assert!(accepted("", &[("HOLDFAST_RATES__EXEMPT", "")]).rates.exempt.0.is_empty());
    let usual = accepted("", &[]).rates;
    assert!(["127.0.0.9", "::1"].iter().all(|ip| ip.parse().is_ok_and(|ip| usual.exempt.contain(ip))));
    assert_eq!(
        (
            usual.accepts,
            usual.prefix_accepts,
            usual.prefix_failed_logins,
            usual.agent_messages,
            usual.agent_bytes,
            usual.key_calls
        ),
        (0, 0, 0, 0, 0, 0),
        "limits on rates are off by default"
    );
}

#[test]
fn lists_that_are_wrong_are_told() {
    for (text, told) in [
        (
            "[rates]\nexempt = \"10.0.0.0/8\"\n",
            "h.toml:2: `rates.exempt` must be a list of strings in brackets, is of type string",
        ),
        ("[rates]\nexempt = [1]\n", "h.toml:2: `rates.exempt` must be a list of strings in quotes"),
        (
            "[rates]\nexempt = [\"10.0.0.0/8\", \"10.0.0.1/8\"]\n",
            "`rates.exempt` is [\"10.0.0.0/8\", \"10.0.0.1/8\"], where \"10.0.0.1/8\" has bits behind its first ones: write \"10.0.0.0/8\"",
        ),
        (
            "[server]\norigins = [\"https://*.com\"]\n",
            "where \"https://*.com\" must have two labels or more behind its star",
        ),
        ("[server]\nproxy_protocol = \"on\"\n", "must be one of \"off\", \"required\""),
        (
            "[server]\nproxy_protocol = \"required\"\n",
            "h.toml:2: `server.proxy_protocol` (required) needs a network in `server.proxy_from` ([]): whoever may write the header",
        ),
        (
            "[link]\nproxy_protocol = \"required\"\n",
            "`link.proxy_protocol` (required) needs a network in `link.proxy_from`",
        ),
    ] {
        let refused = refusal(text, &[]);
        assert!(refused.contains(told), "{refused}");
    }
    accepted("[server]\nproxy_protocol = \"required\"\nproxy_from = [\"10.0.0.0/8\"]\n", &[]);
}

#[test]
fn rests_are_shorter_than_heartbeats_wait() {
    for rate in ["agent_messages = 5", "agent_bytes = \"1MiB\""] {
        let refused = refusal(&format!("[rates]\n{rate}\n[heartbeat]\ntimeout = \"1s\"\n"), &[]);
        assert!(
            refused.contains("needs two seconds or more of `heartbeat.timeout` (1s): an agent that is over"),
            "{refused}"
        );
        accepted(&format!("[rates]\n{rate}\n"), &[]);
    }
    accepted("[heartbeat]\ntimeout = \"1s\"\n", &[]);
}

#[test]
fn permissions_are_lists_in_the_file_and_with_commas_in_the_environment() {
    let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let file = format!("[[api.keys]]\nname = \"a\"\nsha256 = \"{hash}\"\nallow = [\"list\"]\n");
    let may = |settings: &Settings, right| settings.api.keys[0].permissions.may(Act::Use(right)) == Ruling::Allowed;
    let settings = accepted(&file, &[]);
    assert!(may(&settings, Right::List) && !may(&settings, Right::Call));
    let env = [
        ("HOLDFAST_API__KEYS__0__ALLOW", "call, disconnect"),
        ("HOLDFAST_API__KEYS__0__METHODS", "disk.*,df"),
        ("HOLDFAST_API__KEYS__0__AGENTS", "site=ams"),
    ];
    let settings = accepted(&file, &env);
    let permissions = &settings.api.keys[0].permissions;
    assert!(!may(&settings, Right::List) && may(&settings, Right::Disconnect));
    assert_eq!(permissions.may(Act::Call { method: "df" }), Ruling::Allowed);
    assert_eq!(permissions.conditions(), [("site".to_owned(), "ams".to_owned())]);
    for (lines, expected) in [
        ("allow = \"call\"", "h.toml:4: `api.keys.0.allow` must be a list of strings in brackets, is of type string"),
        ("allow = [\"cal\"]", "h.toml:4: `api.keys.0.allow` where \"cal\" must be one of \"call\", \"list\""),
        ("methods = []", "h.toml:4: `api.keys.0.methods` is empty"),
        ("agent = [\"a=b\"]", "h.toml:4: unknown key `api.keys.0.agent`, did you mean `agents`?"),
    ] {
        let text = format!("[[api.keys]]\nname = \"a\"\nsha256 = \"{hash}\"\n{lines}\n");
        let told = refusal(&text, &[]);
        assert!(told.replace("keys.agent`", "keys.0.agent`").starts_with(expected), "{told}");
    }
}

#[test]
fn an_audit_log_has_a_file() {
    assert!(defaults("n").expect("valid").audit.file.is_empty());
    let settings = accepted("[audit]\nfile = \"audit.jsonl\"\ncalls = \"off\"\nrequired = \"on\"\n", &[]);
    assert!(settings.audit.required && !settings.audit.calls);
    let told = refusal("[audit]\nrequired = \"on\"\n", &[]);
    assert_eq!(
        told,
        "h.toml:2: `audit.required` (on) needs a file in `audit.file` (): without one, no act could be written down"
    );
    let told = refusal("[audit]\ncalls = \"yes\"\n", &[]);
    assert!(told.contains("must be one of \"on\", \"off\""), "{told}");
}

/// A bound of less than a second must not be taken for none.
#[test]
fn a_bound_on_the_life_of_tokens_is_one_however_short_it_is() {
    for (typed, expected) in
        [("0s", None), ("1ms", Some(1)), ("999ms", Some(1)), ("1500ms", Some(1)), ("1h", Some(3600))]
    {
        let settings = accepted(&format!("[auth]\nlifetime_max = \"{typed}\"\n"), &[]);
        assert_eq!(settings.lifetime_max_secs(), expected, "{typed}");
    }
}
