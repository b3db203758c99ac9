//! What kinds of values settings have: how each is typed, parsed, and written down.
//!
//! Owns the parsing of one value. It knows no key and no layer; relations between values are not its business.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::time::Duration;

use bytesize::ByteSize;
use serde::de::DeserializeOwned;

use crate::auth::token::Algorithm;
use crate::kit::ids::{NAME_RULE, is_name};
use crate::kit::network::{Network, Networks};
use crate::wire::origins::{AllowedOrigin, AllowedOrigins};

/// How a value is typed in TOML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A string.
    Text,
    /// A whole number that is not negative.
    Number,
    /// A list of strings.
    List,
}

/// One kind of value.
pub trait Kind {
    /// What was typed.
    type Raw: Clone + Debug + PartialEq + DeserializeOwned;
    /// What the program uses.
    type Value: PartialOrd;
    /// How defaults and bounds are written in the table of settings.
    type Literal: Copy;
    /// How it is typed in TOML.
    const SHAPE: Shape;

    /// A default or bound as it would be typed.
    fn raw(literal: Self::Literal) -> Self::Raw;

    /// A value as TOML text.
    fn toml(raw: &Self::Raw) -> String;

    /// The value.
    ///
    /// # Errors
    /// The rest of a sentence that begins with the key: "must be …".
    fn parse(raw: &Self::Raw) -> Result<Self::Value, String>;
}

/// Kinds that are typed as strings differ in their value and their parser alone.
macro_rules! text_kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident => $value:ty, $parse:expr;)*) => {$(
        $(#[doc = $doc])+
        pub struct $kind;

        impl Kind for $kind {
            type Raw = String;
            type Value = $value;
            type Literal = &'static str;
            const SHAPE: Shape = Shape::Text;

            fn raw(literal: &'static str) -> String {
                literal.to_owned()
            }

            fn toml(raw: &String) -> String {
                toml::Value::String(raw.clone()).to_string()
            }

            fn parse(raw: &String) -> Result<$value, String> {
                let parse: fn(&str) -> Result<$value, String> = $parse;
                parse(raw)
            }
        }
    )*};
}

/// Kinds that are typed as lists of strings differ in the value that they come to and in the parser of one entry.
macro_rules! list_kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident => $value:ident of $entry:ty;)*) => {$(
        $(#[doc = $doc])+
        pub struct $kind;

        impl Kind for $kind {
            type Raw = Vec<String>;
            type Value = $value;
            type Literal = &'static [&'static str];
            const SHAPE: Shape = Shape::List;

            fn raw(literal: &'static [&'static str]) -> Vec<String> {
                literal.iter().map(|entry| (*entry).to_owned()).collect()
            }

            fn toml(raw: &Vec<String>) -> String {
                toml::Value::from(raw.clone()).to_string()
            }

            fn parse(raw: &Vec<String>) -> Result<$value, String> {
                let entry = |text: &String| {
                    text.parse::<$entry>().map_err(|error| format!("where \"{text}\" {error}"))
                };
                raw.iter().map(entry).collect::<Result<_, _>>().map($value)
            }
        }
    )*};
}

/// Kinds that are typed as whole numbers differ in their width alone.
macro_rules! number_kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident => $value:ty;)*) => {$(
        $(#[doc = $doc])+
        pub struct $kind;

        impl Kind for $kind {
            type Raw = u64;
            type Value = $value;
            type Literal = u64;
            const SHAPE: Shape = Shape::Number;

            fn raw(literal: u64) -> u64 {
                literal
            }

            fn toml(raw: &u64) -> String {
                raw.to_string()
            }

            fn parse(raw: &u64) -> Result<$value, String> {
                <$value>::try_from(*raw).map_err(|_| format!("must be at most {}", <$value>::MAX))
            }
        }
    )*};
}

text_kinds! {
    /// An IP address and port.
    Address => SocketAddr, parse_address;
    /// An IP address and port, or nothing.
    OptionalAddress => Option<SocketAddr>, parse_optional_address;
    /// A span of time, such as "20s" or "1m 30s".
    Span => Duration, parse_span;
    /// A number of bytes, such as "64KiB".
    Size => usize, parse_size;
    /// Any text.
    Text => String, |text| Ok(text.to_owned());
    /// A name (see [`is_name`]), or nothing.
    OptionalName => String, parse_optional_name;
    /// A URL of `http` or `https`, or nothing.
    HttpUrl => String, parse_http_url;
    /// How log lines are written.
    Format => LogFormat, parse_log_format;
    /// How much is logged.
    Level => LogLevel, parse_log_level;
    /// Whether a port speaks TLS.
    TlsPort => PortTls, |text| one_of(text, &[("off", PortTls::Off), ("required", PortTls::Required)]);
    /// The oldest version of TLS.
    TlsVersion => OldestTls, |text| one_of(text, &[("1.2", OldestTls::Tls12), ("1.3", OldestTls::Tls13)]);
    /// Whether clients show certificates.
    Certificates => ClientCertificates, parse_client_certificates;
    /// Something that is done or not.
    Switch => bool, |text| one_of(text, &[("on", true), ("off", false)]);
    /// Who may read something.
    Readers => MetricsReaders, |text| one_of(text, &[("open", MetricsReaders::Everybody), ("keyed", MetricsReaders::KeysThatObserve)]);
    /// Whether a PROXY header comes first.
    ProxyHeader => ProxyProtocol, |text| one_of(text, &[("off", ProxyProtocol::Off), ("required", ProxyProtocol::Required)]);
}

list_kinds! {
    /// Networks in CIDR form.
    NetworkList => Networks of Network;
    /// Origins of web pages.
    OriginList => AllowedOrigins of AllowedOrigin;
}

number_kinds! {
    /// A number of things that are counted.
    Count => u32;
    /// A number of places in a table or queue, or of threads.
    Places => usize;
}

/// Who may read the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub enum MetricsReaders {
    /// Everybody who reaches the port.
    Everybody,
    /// Holders of a key that may observe.
    KeysThatObserve,
}

/// Whether connections at a port begin with a PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub enum ProxyProtocol {
    /// They do not.
    Off,
    /// Each of them does.
    Required,
}

/// Whether connections at a port speak TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub enum PortTls {
    /// None does.
    Off,
    /// Each of them does.
    Required,
}

/// The oldest version of TLS that a client may speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub enum OldestTls {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// Whether agents show TLS certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub enum ClientCertificates {
    /// They are not asked for one.
    Off,
    /// They may.
    Optional,
    /// They must.
    Required,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub enum LogLevel {
    /// What failed.
    Error,
    /// And what somebody should look at.
    Warn,
    /// And what the node does.
    Info,
    /// And ordinary weather.
    Debug,
    /// And everything.
    Trace,
}

/// An algorithm by its name in RFC 7518 and RFC 8037.
///
/// # Errors
/// The rest of a sentence that begins with the key.
pub fn parse_algorithm(text: &str) -> Result<Algorithm, String> {
    one_of(text, &Algorithm::ALL.map(|algorithm| (algorithm.name(), algorithm)))
}

fn one_of<T: Copy>(text: &str, all: &[(&str, T)]) -> Result<T, String> {
    let found = all.iter().find(|(name, _)| *name == text);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<_> = all.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        format!("must be one of {}", names.join(", "))
    })
}

fn parse_client_certificates(text: &str) -> Result<ClientCertificates, String> {
    use ClientCertificates::{Off, Optional, Required};
    one_of(text, &[("off", Off), ("optional", Optional), ("required", Required)])
}

fn parse_log_format(text: &str) -> Result<LogFormat, String> {
    one_of(text, &[("text", LogFormat::Text), ("json", LogFormat::Json)])
}

fn parse_log_level(text: &str) -> Result<LogLevel, String> {
    one_of(
        text,
        &[
            ("error", LogLevel::Error),
            ("warn", LogLevel::Warn),
            ("info", LogLevel::Info),
            ("debug", LogLevel::Debug),
            ("trace", LogLevel::Trace),
        ],
    )
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let wanted = "must be an IP address with a port, such as \"127.0.0.1:8080\" or \"[::]:8080\"";
    text.parse().map_err(|_| wanted.to_owned())
}

fn parse_optional_address(text: &str) -> Result<Option<SocketAddr>, String> {
    if text.is_empty() { Ok(None) } else { parse_address(text).map(Some) }
}

/// A URL that can be asked; an empty text is none.
///
/// # Errors
/// The rest of a sentence that begins with the key.
pub fn parse_http_url(text: &str) -> Result<String, String> {
    let wanted = "must be a URL such as \"https://id.example.com/keys\"";
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    let rest = ["http://", "https://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    let has_host = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', ':', '?', '#']));
    if text.is_empty() || is_plain && has_host && !text.contains('@') {
        return Ok(text.to_owned());
    }
    Err(wanted.to_owned())
}

fn parse_span(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("must be a duration such as \"20s\" or \"5m\" ({error})"))
}

fn parse_size(text: &str) -> Result<usize, String> {
    let wanted = "must be a size such as \"64KiB\" or \"1MiB\"";
    // A sum beyond 64 bits saturates in `bytesize`, and is then over the upper bound of any key.
    let size: ByteSize = text.trim().parse().map_err(|_| wanted.to_owned())?;
    usize::try_from(size.as_u64()).map_err(|_| wanted.to_owned())
}

fn parse_optional_name(text: &str) -> Result<String, String> {
    if text.is_empty() || is_name(text) {
        return Ok(text.to_owned());
    }
    Err(format!("must be a name: {NAME_RULE}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes_are_read_with_their_units() {
        let spans = [("20s", 20_000), ("5m", 300_000), ("1m 30s", 90_000), ("15ms", 15)];
        for (text, ms) in spans {
            assert_eq!(parse_span(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        let sizes =
            [("64KiB", 65536), ("64 KiB", 65536), ("1MiB", 1 << 20), ("1kB", 1000), ("12", 12), ("1.5KiB", 1536)];
        for (text, bytes) in sizes {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for text in ["", "20", "-20s", "twenty", "20 parsecs", "99999999999999999999y"] {
            assert!(parse_span(text).is_err(), "{text:?}");
        }
        for text in ["", "-1KiB", "KiB", "1 stone", "1.2.3KiB"] {
            assert!(parse_size(text).is_err(), "{text:?}");
        }
        for text in ["", "8080", "localhost:8080", "127.0.0.1", "127.0.0.1:99999"] {
            assert!(parse_address(text).is_err(), "{text:?}");
        }
        for text in ["a b", "a/b", "ü"] {
            assert!(parse_optional_name(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn words_are_exact_and_errors_name_the_choices() {
        assert_eq!(parse_algorithm("EdDSA"), Ok(Algorithm::EdDsa));
        assert_eq!(
            parse_algorithm("none"),
            Err("must be one of \"HS256\", \"RS256\", \"RS384\", \"RS512\", \"PS256\", \"PS384\", \"PS512\", \"ES256\", \"ES384\", \"EdDSA\""
                .to_owned())
        );
        assert_eq!(parse_log_format("json"), Ok(LogFormat::Json));
        assert_eq!(parse_log_level("warn"), Ok(LogLevel::Warn));
        assert!(parse_log_level("WARNING").is_err());
    }
}
