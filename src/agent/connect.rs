//! From a URL to an open WebSocket: resolve, connect, upgrade, each without blocking the agent's other work.
//!
//! Owns the request that the agent makes. Only the name lookup blocks, since the system offers no other.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;

use socket2::{Domain, Protocol, Socket, Type};
use tungstenite::client::{ClientRequestBuilder, IntoClientRequest};
use tungstenite::handshake::HandshakeError;
use tungstenite::handshake::client::ClientHandshake;
use tungstenite::http::Uri;
use tungstenite::protocol::{WebSocket, WebSocketConfig};

use super::ending::Ending;
use super::events::{Events, Stop};
use super::handler::{Handler, Interest, Watched};
use super::{Credentials, Options};
use crate::kit::tick::Now;

/// Path of the agents' endpoint, where the URL names none.
const PATH: &str = "/v1/agent";

/// Where a gateway listens, from a URL such as `ws://127.0.0.1:8080`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    host: String,
    port: u16,
    authority: String,
    path_and_query: String,
}

/// Why a URL names no gateway that this agent can reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadTarget(String);

impl fmt::Display for BadTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadTarget {}

impl Target {
    /// Reads a `ws://` URL. The port is 80 and the path `/v1/agent` where the URL has none.
    ///
    /// # Errors
    /// No URL, another scheme, `wss://` (this agent leaves TLS to a proxy), a user name in it.
    pub fn parse(url: &str) -> Result<Self, BadTarget> {
        let bad = |why: &str| BadTarget(format!("`{url}` {why}"));
        let uri: Uri = url.parse().map_err(|error| bad(&format!("is no URL: {error}")))?;
        match uri.scheme_str() {
            Some("ws") => {}
            Some("wss") => {
                return Err(bad(
                    "asks for TLS, which this agent does not speak yet: run a proxy that does (stunnel, nginx, envoy) next to it and connect to that with ws://",
                ));
            }
            _ => return Err(bad("must begin with ws://")),
        }
        let authority = uri.authority().ok_or_else(|| bad("has no host"))?.to_string();
        if authority.contains('@') {
            return Err(bad("holds a user name, but agents show a token: use --token-file"));
        }
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(bad("has no host"));
        }
        let path = match uri.path() {
            "" | "/" => PATH,
            path => path,
        };
        let query = uri.query().map(|query| format!("?{query}"));
        Ok(Self {
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(80),
            path_and_query: format!("{path}{}", query.unwrap_or_default()),
            authority,
        })
    }

    fn uri(&self, credentials: &Credentials) -> String {
        let mut uri = format!("ws://{}{}", self.authority, self.path_and_query);
        if let Credentials::Dev(id) = credentials {
            uri.push(if self.path_and_query.contains('?') { '&' } else { '?' });
            uri.push_str("agent=");
            uri.push_str(id);
        }
        uri
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the query, which may hold a token.
        let path = self.path_and_query.split('?').next().unwrap_or_default();
        write!(f, "ws://{}{path}", self.authority)
    }
}

/// Opens a WebSocket to the target: each of its addresses in turn, until one upgrades or refuses.
pub(super) fn dial<H: Handler>(events: &mut Events<H>, options: &Options) -> Result<WebSocket<TcpStream>, Ending> {
    let target = &options.target;
    let addresses = (target.host.as_str(), target.port)
        .to_socket_addrs()
        .map_err(|error| Ending::Unreachable(format!("cannot resolve `{}`: {error}", target.host)))?;
    let mut last = Ending::Unreachable(format!("`{}` has no address", target.host));
    for address in addresses {
        let until = events.clock.now().after(options.connect_deadline);
        let opened = tcp(events, address, until).and_then(|stream| upgrade(events, options, stream, until));
        match opened {
            Err(ending @ (Ending::Unreachable(_) | Ending::Slow(_))) => last = ending,
            decided => return decided,
        }
    }
    Err(last)
}

fn tcp<H: Handler>(events: &mut Events<H>, address: SocketAddr, until: Now) -> Result<TcpStream, Ending> {
    let unreachable = |error: io::Error| {
        Ending::Unreachable(match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                format!("nothing listens at {address} (connection refused): is the gateway running?")
            }
            _ => format!("cannot connect to {address}: {error}"),
        })
    };
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&address.into()) {
            Err(error) if error.raw_os_error() != Some(nix::libc::EINPROGRESS) => Err(error),
            _ => Ok(socket),
        }
    };
    let socket = open().map_err(unreachable)?;
    loop {
        if let Some(error) = socket.take_error().map_err(unreachable)? {
            return Err(unreachable(error));
        }
        if socket.peer_addr().is_ok() {
            return Ok(socket.into());
        }
        still(events, "connecting", until)?;
        let watched = Watched { fd: socket.as_fd(), interest: Interest::Write };
        events.wait(Some(watched), Some(until));
    }
}

fn upgrade<H: Handler>(
    events: &mut Events<H>,
    options: &Options,
    stream: TcpStream,
    until: Now,
) -> Result<WebSocket<TcpStream>, Ending> {
    let broken = |error: tungstenite::Error| Ending::Broken(error.to_string());
    // The handshake swallows its stream, so the wait has a descriptor of its own.
    let watched = stream.try_clone().map_err(|error| Ending::Broken(error.to_string()))?;
    let uri: Uri = options
        .target
        .uri(&options.credentials)
        .parse()
        .map_err(|error| Ending::Broken(format!("the URL: {error}")))?;
    let mut request = ClientRequestBuilder::new(uri).with_sub_protocol(options.encoding.subprotocol());
    if let Credentials::Token(token) = &options.credentials {
        request = request.with_header("Authorization", format!("Bearer {token}"));
    }
    let request = request.into_client_request().map_err(broken)?;
    // Small buffers, since there may be many agents on a small machine; a larger message grows the buffer itself.
    let config = WebSocketConfig::default()
        .read_buffer_size(4096)
        .write_buffer_size(0)
        .max_message_size(Some(options.message_bytes_max))
        .max_frame_size(Some(options.message_bytes_max));
    let mut handshake = ClientHandshake::start(stream, request, Some(config)).map_err(broken)?;
    loop {
        match handshake.handshake() {
            Ok((socket, _)) => return Ok(socket),
            Err(HandshakeError::Failure(error)) => return Err(refusal(error)),
            Err(HandshakeError::Interrupted(rest)) => handshake = rest,
        }
        still(events, "the upgrade", until)?;
        // The request fits the send buffer of a new socket, so what is awaited is the answer.
        let watched = Watched { fd: watched.as_fd(), interest: Interest::Read };
        events.wait(Some(watched), Some(until));
    }
}

fn refusal(error: tungstenite::Error) -> Ending {
    match error {
        tungstenite::Error::Http(response) => {
            let body = response.body().as_deref().unwrap_or_default();
            let body = String::from_utf8_lossy(body);
            Ending::Refused {
                status: response.status().as_u16(),
                body: body.lines().next().unwrap_or_default().trim().to_owned(),
            }
        }
        other => Ending::Broken(other.to_string()),
    }
}

fn still<H>(events: &Events<H>, what: &'static str, until: Now) -> Result<(), Ending> {
    if events.stop() != Stop::No {
        return Err(Ending::Stopped);
    }
    if events.clock.now() >= until {
        return Err(Ending::Slow(what));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (url, host, port, uri) in [
            ("ws://127.0.0.1:8080", "127.0.0.1", 8080, "ws://127.0.0.1:8080/v1/agent?agent=a"),
            ("ws://gw.example/", "gw.example", 80, "ws://gw.example/v1/agent?agent=a"),
            ("ws://[::1]:9/x?y=z", "::1", 9, "ws://[::1]:9/x?y=z&agent=a"),
        ] {
            let target = Target::parse(url).expect("a good URL");
            assert_eq!((target.host.as_str(), target.port), (host, port), "{url}");
            assert_eq!(target.uri(&Credentials::Dev("a".into())), uri);
        }
        let target = Target::parse("ws://h/x?access_token=secret").expect("a good URL");
        assert_eq!(target.to_string(), "ws://h/x", "a token is not shown");
        assert_eq!(target.uri(&Credentials::Token("t".into())), "ws://h/x?access_token=secret");
    }

    #[test]
    fn bad_urls_say_why() {
        for (url, word) in [
            ("wss://gw.example", "proxy"),
            ("http://gw.example", "ws://"),
            ("gw.example:80", "ws://"),
            ("ws://user:pw@gw.example", "token"),
            ("", "URL"),
            ("ws://", "URL"),
        ] {
            let error = Target::parse(url).expect_err("a bad URL").to_string();
            assert!(error.contains(word), "{url}: {error}");
        }
    }
}
