//! One connection that may break every rule: any bytes, below TLS or above it, whole or cut; and what its server does then.
//!
//! Owns one blocking socket with bounded waits, and rustls above it where its target speaks TLS. It judges nothing: what a server must do
//! is for whoever intrudes to say.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use holdfast::wire::encode;
use rustls::ClientConnection;
use tungstenite::protocol::frame::coding::OpCode;

use crate::frame;
use crate::target::{self, Answer, Target};

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes that one read takes at most.
const READ_BYTES: usize = 16 * 1024;

/// What a server did with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// It let us in.
    Open,
    /// It answered with this status.
    Refused(u16),
}

/// An open connection.
pub struct Intruder {
    stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
    /// What has come and was not read yet, without its TLS.
    plain: Vec<u8>,
}

impl Intruder {
    /// Connects TCP, and says nothing.
    ///
    /// # Errors
    /// Nobody is there.
    pub fn dial(target: &Target) -> Result<Self, String> {
        let stream = TcpStream::connect_timeout(&target.listen, PATIENCE).map_err(told)?;
        stream.set_nodelay(true).map_err(told)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(told)?;
        Ok(Self { stream, tls: None, plain: Vec::new() })
    }

    /// The same, and opens TLS where the target speaks it.
    ///
    /// # Errors
    /// Nobody is there, or the handshake fails.
    pub fn connect(target: &Target) -> Result<Self, String> {
        let mut all = Self::dial(target)?;
        let Some(client) = &target.tls else {
            return Ok(all);
        };
        let mut tls = Box::new(client.connection().map_err(|failure| failure.to_string())?);
        all.stream.set_read_timeout(Some(PATIENCE)).map_err(told)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut all.stream).map_err(told)?;
        }
        all.tls = Some(tls);
        Ok(all)
    }

    /// The same, and comes in as an agent that the server welcomes.
    ///
    /// # Errors
    /// It does not.
    pub fn enter(target: &Target, agent: u32) -> Result<Self, String> {
        let mut all = Self::connect(target)?;
        let mut request = String::new();
        target.agent_request(agent, &mut request);
        match all.ask(request.as_bytes())? {
            Door::Refused(status) => return Err(format!("refused with {status}")),
            Door::Open => {}
        }
        let (opcode, _) = all.hear(Instant::now() + PATIENCE)?;
        if opcode == OpCode::from(1) { Ok(all) } else { Err(format!("no welcome but {opcode}")) }
    }

    /// Sends a request for an upgrade, and waits for its answer.
    ///
    /// # Errors
    /// None came, or no answer to an upgrade.
    pub fn ask(&mut self, request: &[u8]) -> Result<Door, String> {
        self.say(request)?;
        let end = Instant::now() + PATIENCE;
        loop {
            match target::read_answer(&self.plain) {
                Answer::Cut => self.read(end)?,
                Answer::Refused(status) => return Ok(Door::Refused(status)),
                Answer::Malformed(why) => return Err(why.to_owned()),
                Answer::Switched { head_bytes } => {
                    self.plain.drain(..head_bytes);
                    return Ok(Door::Open);
                }
            }
        }
    }

    /// Sends bytes in records of TLS, or as they are where there is none.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn say(&mut self, bytes: &[u8]) -> Result<(), String> {
        match &mut self.tls {
            None => self.stream.write_all(bytes).map_err(told),
            Some(tls) => {
                tls.writer().write_all(bytes).map_err(told)?;
                flush(tls, &mut self.stream)
            }
        }
    }

    /// Sends bytes below TLS.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn say_below(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream.write_all(bytes).map_err(told)
    }

    /// Sends a ping and waits for its pong, past all that comes before it.
    ///
    /// # Errors
    /// None came, or another one.
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), String> {
        let mut out = Vec::new();
        frame::masked(OpCode::from(9), payload, [7, 1, 9, 3], &mut out);
        self.say(&out)?;
        let end = Instant::now() + PATIENCE;
        loop {
            match self.hear(end)? {
                (opcode, body) if opcode == OpCode::from(10) => {
                    return if body == payload { Ok(()) } else { Err("another pong".to_owned()) };
                }
                (opcode, _) if opcode == OpCode::from(8) => return Err("the server closed".to_owned()),
                _ => {}
            }
        }
    }

    /// Takes new keys to send with, and asks the server for new ones of its own (RFC 8446 section 4.6.3).
    ///
    /// # Errors
    /// There is no TLS, or the connection has ended.
    pub fn change_keys(&mut self) -> Result<(), String> {
        let tls = self.tls.as_mut().ok_or("a connection without TLS")?;
        tls.refresh_traffic_keys().map_err(|error| error.to_string())?;
        flush(tls, &mut self.stream)
    }

    /// The certificate that the server has shown, in DER.
    pub fn certificate(&self) -> Option<&[u8]> {
        let certificates = self.tls.as_ref()?.peer_certificates()?;
        certificates.first().map(|certificate| certificate.as_ref())
    }

    /// Whether the server has ended this connection by `end`; what it says before is read and dropped.
    pub fn is_ended_by(&mut self, end: Instant) -> bool {
        let mut buffer = [0; READ_BYTES];
        loop {
            let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            if self.stream.set_read_timeout(Some(left)).is_err() {
                return true;
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return true,
                Err(error) if is_late(&error) => return false,
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return true,
                _ => {}
            }
        }
    }

    /// The next whole frame.
    fn hear(&mut self, end: Instant) -> Result<(OpCode, Vec<u8>), String> {
        loop {
            if let Some(frame) = frame::parse(&self.plain).map_err(|rule| rule.0.to_owned())? {
                let body = self.plain[frame.payload.clone()].to_vec();
                self.plain.drain(..frame.payload.end);
                return Ok((frame.opcode, body));
            }
            self.read(end)?;
        }
    }

    /// Reads once.
    fn read(&mut self, end: Instant) -> Result<(), String> {
        let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.stream.set_read_timeout(Some(left)).map_err(told)?;
        let Some(tls) = &mut self.tls else {
            let have = self.plain.len();
            self.plain.resize(have + READ_BYTES, 0);
            let read = self.stream.read(&mut self.plain[have..]);
            self.plain.truncate(have + *read.as_ref().unwrap_or(&0));
            return match read.map_err(told)? {
                0 => Err("the connection ended".to_owned()),
                _ => Ok(()),
            };
        };
        if tls.read_tls(&mut self.stream).map_err(told)? == 0 {
            return Err("the connection ended".to_owned());
        }
        let state = tls.process_new_packets().map_err(|error| error.to_string())?;
        let have = self.plain.len();
        self.plain.resize(have + state.plaintext_bytes_to_read(), 0);
        tls.reader().read_exact(&mut self.plain[have..]).map_err(told)?;
        flush(tls, &mut self.stream)
    }
}

/// A frame of which half is missing.
pub fn half_frame() -> Vec<u8> {
    let mut frame = Vec::new();
    encode::head(OpCode::from(1), 200, Some([7, 1, 9, 3]), &mut frame);
    frame.extend_from_slice(&[b'x'; 100]);
    frame
}

fn flush(tls: &mut ClientConnection, stream: &mut TcpStream) -> Result<(), String> {
    while tls.wants_write() {
        tls.write_tls(stream).map_err(told)?;
    }
    Ok(())
}

/// Whether a read has only taken too long.
fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn told(error: io::Error) -> String {
    if is_late(&error) { "no answer in time".to_owned() } else { error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use tungstenite::Message;

    use super::*;

    fn target(listener: &TcpListener) -> Target {
        let listen = listener.local_addr().expect("an address");
        Target { listen, control: listen, link: None, signer: None, api_key: None, tls: None, link_tls: None }
    }

    #[test]
    fn it_enters_pings_and_sees_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let target = target(&listener);
        let server = thread::spawn(move || {
            let (stream, _) = listener.accept().expect("a client");
            let mut socket = tungstenite::accept(stream).expect("an upgrade");
            socket.send(Message::text("welcome")).expect("sent");
            socket.send(Message::text("more")).expect("sent");
            // Answers the ping, and then finds half a frame.
            assert!(matches!(socket.read(), Ok(Message::Ping(_))));
            socket.flush().expect("sent");
            let (stream, _) = listener.accept().expect("another client");
            drop((stream, socket));
        });
        let mut intruder = Intruder::enter(&target, 3).expect("it is let in");
        intruder.ping(b"hello").expect("a pong");
        intruder.say(&half_frame()).expect("sent");
        assert!(!intruder.is_ended_by(Instant::now()), "nothing has ended it yet");
        let mut second = Intruder::dial(&target).expect("it listens");
        server.join().expect("the server saw what it should");
        let end = Instant::now() + PATIENCE;
        assert!(intruder.is_ended_by(end) && second.is_ended_by(end));
        assert_eq!(intruder.certificate(), None);
        assert!(intruder.change_keys().is_err());
    }

    #[test]
    fn a_refusal_is_told_with_its_status() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let target = target(&listener);
        let server = thread::spawn(move || {
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().expect("a client");
                let mut request = [0; 1024];
                while !request.windows(4).any(|four| four == b"\r\n\r\n") {
                    let _ = stream.read(&mut request).expect("a request");
                }
                stream.write_all(b"HTTP/1.1 401 No\r\n\r\n").expect("sent");
            }
        });
        let mut request = String::new();
        target.agent_request(1, &mut request);
        let door = Intruder::connect(&target).and_then(|mut intruder| intruder.ask(request.as_bytes()));
        assert_eq!(door, Ok(Door::Refused(401)));
        assert_eq!(Intruder::enter(&target, 1).err(), Some("refused with 401".to_owned()));
        server.join().expect("the server saw what it should");
    }
}
