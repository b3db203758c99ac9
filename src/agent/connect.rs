//! From a URL to an open WebSocket: resolve, connect, upgrade, each without blocking the agent's other work.
//!
//! Owns the request that the agent makes. Only the name lookup blocks, since the system offers no other.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tungstenite::client::{ClientRequestBuilder, IntoClientRequest};
use tungstenite::error::ProtocolError;
use tungstenite::handshake::HandshakeError;
use tungstenite::handshake::client::ClientHandshake;
use tungstenite::http::Uri;
use tungstenite::protocol::{WebSocket, WebSocketConfig};

use super::ending::Ending;
use super::events::{Events, Stop};
use super::handler::{Handler, Interest, Watched};
use super::stream::Stream;
use super::{Credentials, Options};
use crate::kit::tick::Now;
use crate::wire::client_tls::{NO_HTTP, explain};
use crate::wire::url::{BadUrl, Scheme, WsUrl};

/// Path of the agents' endpoint, where the URL names none.
const PATH: &str = "/v1/agent";

/// Where a gateway listens, from a URL such as `ws://127.0.0.1:8080` or `wss://agents.example.com`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target(WsUrl);

impl Target {
    /// Reads a `ws://` or `wss://` URL. The port is 80 or 443, and the path `/v1/agent` where the URL has none.
    ///
    /// # Errors
    /// As [`WsUrl::parse`].
    pub fn parse(url: &str) -> Result<Self, BadUrl> {
        WsUrl::parse(url).map(Self)
    }

    fn uri(&self, credentials: &Credentials) -> String {
        let agent = match credentials {
            Credentials::Dev(id) => Some(format!("agent={id}")),
            Credentials::Token(_) | Credentials::Renewed(_) | Credentials::Certificate => None,
        };
        let asked: Vec<String> = self.0.query.iter().cloned().chain(agent).collect();
        if asked.is_empty() { self.to_string() } else { format!("{self}?{}", asked.join("&")) }
    }
}

impl fmt::Display for Target {
    /// Without the query, which may hold a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.0.scheme, self.0.authority, self.0.path_or(PATH))
    }
}

/// Opens a WebSocket to the target: each of its addresses in turn, until one upgrades or refuses.
pub(super) fn dial<H: Handler>(
    events: &mut Events<H>,
    options: &Options,
    token: Option<&str>,
) -> Result<WebSocket<Stream>, Ending> {
    let target = &options.target.0;
    let addresses = (target.host.as_str(), target.port)
        .to_socket_addrs()
        .map_err(|error| Ending::Unreachable(format!("cannot resolve `{}`: {error}", target.host)))?;
    let mut last = Ending::Unreachable(format!("`{}` has no address", target.host));
    for address in addresses {
        let until = events.clock.now().after(options.connect_deadline);
        let opened = tcp(events, address, until).and_then(|stream| upgrade(events, (options, token), stream, until));
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
    (options, token): (&Options, Option<&str>),
    stream: TcpStream,
    until: Now,
) -> Result<WebSocket<Stream>, Ending> {
    let broken = |error: tungstenite::Error| Ending::Broken(error.to_string());
    let tls = |why: &str| Ending::Broken(format!("TLS: {why}"));
    // The handshake swallows its stream, so the wait has a descriptor of its own.
    let watched = stream.try_clone().map_err(|error| Ending::Broken(error.to_string()))?;
    let uri: Uri = options
        .target
        .uri(&options.credentials)
        .parse()
        .map_err(|error| Ending::Broken(format!("the URL: {error}")))?;
    let mut request = ClientRequestBuilder::new(uri).with_sub_protocol(options.encoding.subprotocol());
    if let Some(token) = token {
        request = request.with_header("Authorization", format!("Bearer {token}"));
    }
    let request = request.into_client_request().map_err(broken)?;
    // Small buffers, since there may be many agents on a small machine; a larger message grows the buffer itself.
    let config = WebSocketConfig::default()
        .read_buffer_size(4096)
        .write_buffer_size(0)
        .max_message_size(Some(options.message_bytes_max))
        .max_frame_size(Some(options.message_bytes_max));
    let stream = match options.target.0.scheme {
        Scheme::Plain => Stream::Plain(stream),
        Scheme::Secured => {
            let settings = options.tls.as_ref().ok_or_else(|| tls("there are no roots to trust"))?;
            let connection = settings.begin(&options.target.0.host).map_err(|why| tls(&why))?;
            Stream::secured(connection, stream)
        }
    };
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
            // A date is the other thing that it may be (RFC 9110 section 10.2.3); the gateway never sends one.
            let wait = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
            let body = response.body().as_deref().unwrap_or_default();
            let body = String::from_utf8_lossy(body);
            Ending::Refused {
                status: response.status().as_u16(),
                body: body.lines().next().unwrap_or_default().trim().to_owned(),
                wait: Duration::from_secs(wait.unwrap_or_default()),
            }
        }
        tungstenite::Error::Io(error) => Ending::Broken(explain(&error).unwrap_or_else(|| error.to_string())),
        tungstenite::Error::Protocol(ProtocolError::HttparseError(_)) => Ending::Broken(NO_HTTP.to_owned()),
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
    fn what_is_asked_for_names_the_agent_and_shows_no_token() {
        for (url, shown, dev, token) in [
            ("ws://h:1", "ws://h:1/v1/agent", "ws://h:1/v1/agent?agent=a", "ws://h:1/v1/agent"),
            ("ws://[::1]:9/x", "ws://[::1]:9/x", "ws://[::1]:9/x?agent=a", "ws://[::1]:9/x"),
            ("ws://h/x?y=z", "ws://h/x", "ws://h/x?y=z&agent=a", "ws://h/x?y=z"),
            ("wss://h", "wss://h/v1/agent", "wss://h/v1/agent?agent=a", "wss://h/v1/agent"),
            ("ws://h?y=z", "ws://h/v1/agent", "ws://h/v1/agent?y=z&agent=a", "ws://h/v1/agent?y=z"),
        ] {
            let target = Target::parse(url).expect("a good URL");
            assert_eq!(target.to_string(), shown, "a query may hold a token");
            assert_eq!(target.uri(&Credentials::Dev("a".into())), dev);
            assert_eq!(target.uri(&Credentials::Token("t".into())), token);
        }
        assert!(Target::parse("http://h").is_err());
    }
}
