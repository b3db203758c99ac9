//! TLS of a fleet's connections, at a hundred bytes for one at rest: rustls opens it, the gateway's own record layer goes on.
//!
//! Owns what a connection has of TLS, by the number of its wire. It knows no frames and touches no socket.

use std::sync::Arc;

use holdfast::net::tls::ciphers::Ciphers;
use holdfast::net::tls::client::{Client, Opened, Opening};
use holdfast::net::tls::record::{Front, front};
use holdfast::net::tls::records::{self, Records};
use holdfast::net::tls::rest::Rest;

/// Ready ciphers of a thread: both directions of the few connections that are busy at one moment.
const CIPHERS: usize = 64;

/// How a connection stands.
enum Side {
    Opening(Box<Opening>),
    Rest(Rest),
}

/// One connection's TLS.
struct Secret {
    side: Side,
    /// Frames that have not come whole.
    plain: Vec<u8>,
}

/// The TLS of the connections of one fleet.
pub struct Secured {
    client: Arc<Client>,
    ciphers: Ciphers,
    /// By wire.
    secrets: Vec<Option<Box<Secret>>>,
    /// Handshakes that a ticket has spared the server's signature.
    resumed: u64,
}

impl Secured {
    /// No connections yet.
    pub fn new(client: Arc<Client>) -> Self {
        Self { client, ciphers: Ciphers::new(CIPHERS), secrets: Vec::new(), resumed: 0 }
    }

    /// How many handshakes were resumed so far.
    pub fn resumed(&self) -> u64 {
        self.resumed
    }

    /// A connection begins, and says `request` as soon as it can. What goes out now is appended.
    ///
    /// # Errors
    /// The settings do not serve.
    pub fn begin(&mut self, wire: usize, request: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        let opening = self.client.begin(request, out).map_err(|failure| failure.to_string())?;
        if self.secrets.len() <= wire {
            self.secrets.resize_with(wire + 1, || None);
        }
        self.secrets[wire] = Some(Box::new(Secret { side: Side::Opening(opening), plain: Vec::new() }));
        Ok(())
    }

    /// Appends frames of a connection that is open, sealed.
    pub fn seal(&mut self, wire: usize, frames: &[u8], out: &mut Vec<u8>) {
        if let Some(Secret { side: Side::Rest(rest), .. }) = self.secrets.get_mut(wire).and_then(Option::as_deref_mut) {
            // What cannot be sealed any more has nobody to hear it.
            let _ = rest.seal(&mut self.ciphers, &[frames], out);
        }
    }

    /// Appends what the records in `input` hold to `plain`, behind what has not come whole, and what goes out to `out`. How many bytes
    /// were used.
    ///
    /// # Errors
    /// The rule that the server has broken.
    pub fn open(
        &mut self,
        wire: usize,
        input: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<usize, &'static str> {
        let Some(secret) = self.secrets.get_mut(wire).and_then(Option::as_deref_mut) else {
            return Err("a connection without TLS");
        };
        plain.append(&mut secret.plain);
        secret.plain = Vec::new();
        let mut at = 0;
        if let Side::Opening(opening) = &mut secret.side {
            match opening.take(input, out).map_err(|failure| failure.label())? {
                Opened::More => return Ok(input.len()),
                Opened::Spoke(first, taken) => {
                    plain.extend(first);
                    at = taken;
                }
            }
            let Some(Some(whole)) = self.secrets.get_mut(wire).map(Option::take) else {
                return Err("a connection without TLS");
            };
            let Secret { side: Side::Opening(opening), plain: cut } = *whole else {
                return Err("a connection that is open twice");
            };
            self.resumed += u64::from(opening.is_resumed());
            let rest = opening.into_rest().map_err(|failure| failure.label())?;
            self.secrets[wire] = Some(Box::new(Secret { side: Side::Rest(rest), plain: cut }));
        }
        let Some(Secret { side: Side::Rest(rest), .. }) = self.secrets[wire].as_deref_mut() else {
            return Err("a connection that is not open");
        };
        while let Front::Whole(whole) = front(&input[at..]) {
            let record = &mut input[at..at + whole];
            match rest.open(&mut self.ciphers, record) {
                records::Opened::Data(range) => plain.extend_from_slice(&record[range]),
                // The end of TCP follows, and is seen there.
                records::Opened::Nothing | records::Opened::Closed => {}
                records::Opened::Failed(_) => return Err("an alert"),
                records::Opened::Refused(alert) => return Err(alert.label()),
            }
            at += whole;
        }
        Ok(at)
    }

    /// Keeps frames that have not come whole.
    pub fn keep(&mut self, wire: usize, plain: &[u8]) {
        if let Some(secret) = self.secrets.get_mut(wire).and_then(Option::as_deref_mut)
            && !plain.is_empty()
        {
            secret.plain = plain.to_vec();
        }
    }

    /// The connection is gone.
    pub fn forget(&mut self, wire: usize) {
        if let Some(secret) = self.secrets.get_mut(wire) {
            *secret = None;
        }
    }
}
