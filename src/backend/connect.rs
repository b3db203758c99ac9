//! From a target to a link that was welcomed: TCP, upgrade, `welcome`.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use tungstenite::client::ClientRequestBuilder;
use tungstenite::error::ProtocolError;
use tungstenite::handshake::HandshakeError;
use tungstenite::http::Uri;
use tungstenite::protocol::{WebSocket, WebSocketConfig};

use super::reader::{Said, read_one};
use super::stream::Stream;
use super::{ConnectError, Options};
use crate::wire::client_tls::{NO_HTTP, explain};
use crate::wire::envelope::link_side::client::FromLink;
use crate::wire::url::Scheme;

/// An open link, and what its gateway promises.
pub(super) struct Opened {
    pub socket: WebSocket<Stream>,
    pub stream: Stream,
    pub window: u32,
    pub heartbeat: Duration,
}

/// Connects, upgrades, and waits for the welcome.
pub(super) fn connect(options: &Options) -> Result<Opened, ConnectError> {
    let socket = dial(options)?;
    let broken = |error: io::Error| ConnectError::Broken(error.to_string());
    // A connection that is not welcomed in time is given up by these, too.
    socket.set_read_timeout(Some(options.connect_deadline)).map_err(broken)?;
    socket.set_write_timeout(Some(options.write_deadline)).map_err(broken)?;
    socket.set_nodelay(true).map_err(broken)?;
    let stream = match options.target.0.scheme {
        Scheme::Plain => Stream::new(socket),
        Scheme::Secured => {
            let tls =
                options.tls.as_ref().ok_or_else(|| ConnectError::Broken("wss:// needs roots to trust".to_owned()))?;
            let connection = tls.begin(&options.target.0.host).map_err(ConnectError::Broken)?;
            let told = |error: io::Error| explain(&error).unwrap_or_else(|| format!("TLS: {error}"));
            Stream::secured(socket, connection).map_err(|error| ConnectError::Broken(told(error)))?
        }
    };
    let mut socket = upgrade(options, stream.clone())?;
    let said = read_one(&mut socket, options.encoding, |envelope| match envelope {
        FromLink::Welcome { heartbeat_ms, window, .. } => Some((heartbeat_ms, window)),
        _ => None,
    });
    match said {
        Said::Envelope(Some((heartbeat_ms, window))) => {
            let heartbeat = Duration::from_millis(u64::from(heartbeat_ms));
            Ok(Opened { socket, stream, window, heartbeat })
        }
        Said::Silence => Err(ConnectError::Broken("the gateway is silent".to_owned())),
        Said::Envelope(None) | Said::Alive => {
            Err(ConnectError::Broken("the gateway does not begin with a welcome".to_owned()))
        }
        Said::End(why) => Err(ConnectError::Broken(why)),
    }
}

fn dial(options: &Options) -> Result<TcpStream, ConnectError> {
    let target = &options.target.0;
    let addresses = (target.host.as_str(), target.port)
        .to_socket_addrs()
        .map_err(|error| ConnectError::Unreachable(format!("cannot resolve `{}`: {error}", target.host)))?;
    let mut last = format!("`{}` has no address", target.host);
    for address in addresses {
        match TcpStream::connect_timeout(&address, options.connect_deadline) {
            Ok(stream) => return Ok(stream),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                last = format!("nothing listens at {address} (connection refused): does the gateway serve links?");
            }
            Err(error) => last = format!("cannot connect to {address}: {error}"),
        }
    }
    Err(ConnectError::Unreachable(last))
}

fn upgrade(options: &Options, stream: Stream) -> Result<WebSocket<Stream>, ConnectError> {
    let uri: Uri =
        options.target.to_string().parse().map_err(|error| ConnectError::Broken(format!("the URL: {error}")))?;
    let mut request = ClientRequestBuilder::new(uri).with_sub_protocol(options.encoding.subprotocol());
    if let Some(key) = &options.key {
        request = request.with_header("Authorization", format!("Bearer {key}"));
    }
    let config = WebSocketConfig::default()
        .max_message_size(Some(options.message_bytes_max))
        .max_frame_size(Some(options.message_bytes_max))
        .write_buffer_size(0);
    match tungstenite::client::client_with_config(request, stream, Some(config)) {
        Ok((socket, _)) => Ok(socket),
        Err(HandshakeError::Failure(tungstenite::Error::Http(response))) => {
            let body = String::from_utf8_lossy(response.body().as_deref().unwrap_or_default()).into_owned();
            let body = body.lines().next().unwrap_or_default().trim().to_owned();
            Err(ConnectError::Refused { status: response.status().as_u16(), body })
        }
        Err(HandshakeError::Failure(tungstenite::Error::Protocol(ProtocolError::HttparseError(_)))) => {
            Err(ConnectError::Broken(NO_HTTP.to_owned()))
        }
        Err(HandshakeError::Failure(tungstenite::Error::Io(error))) => {
            Err(ConnectError::Broken(explain(&error).unwrap_or_else(|| error.to_string())))
        }
        Err(HandshakeError::Failure(error)) => Err(ConnectError::Broken(error.to_string())),
        Err(HandshakeError::Interrupted(_)) => {
            Err(ConnectError::Broken("the upgrade was not answered in time".to_owned()))
        }
    }
}
