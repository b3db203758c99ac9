//! What a session wants done: values in a list that the event loop lends and carries out in order.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use bytes::Bytes;

use crate::kit::buffer_pool::Lease;
use crate::kit::secret::Secret;
use crate::wire::envelope::Encoding;
use crate::wire::upgrade::{Deflate, Offer};

use super::rules::Door;

/// Where the bytes of a whole message are.
#[derive(Debug)]
pub enum Body {
    /// In the scratch that was handed in, unmasked in place.
    Scratch(Range<usize>),
    /// In a buffer on loan, because the message was cut; goes back to the pool.
    Leased(Lease),
}

/// What a client's certificate, which was checked, says of who it is by the rule of the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certified {
    /// This agent.
    Named {
        /// The agent's id.
        agent: String,
        /// Its tenant, where the rule says where that stands.
        tenant: Option<String>,
        /// The last second of the certificate's life, since 1970.
        expires_unix: u64,
    },
    /// Nobody whom the rule can name.
    Nameless,
}

/// Who wants to come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// What it wants to be: an agent, or a backend's link.
    pub door: Door,
    /// Where it comes from; the session does not know it.
    pub peer: Option<SocketAddr>,
    /// The address that limits hold it to account by: that of `peer`, and `None` where a balancer does not say whose connection it is.
    pub held_to: Option<IpAddr>,
    /// The token, from the `Authorization` header or, of an agent, from `?access_token=`.
    pub token: Option<Secret>,
    /// `?agent=`: an id without proof, for development.
    pub agent: Option<String>,
    /// What its TLS certificate says of it, where one was shown and there is a rule; the session does not know it.
    pub certified: Option<Box<Certified>>,
    /// `Origin`, which browsers write and other clients leave out.
    pub origin: Option<String>,
    /// `Sec-WebSocket-Accept` for the answer.
    pub accept: [u8; 28],
    /// The subprotocol.
    pub offer: Offer,
    /// permessage-deflate, where it was agreed on.
    pub deflate: Option<Deflate>,
}

impl Greeting {
    /// Bytes that it takes, with its texts.
    #[must_use]
    pub fn weight(&self) -> usize {
        let texts = [self.token.as_deref(), self.agent.as_deref(), self.origin.as_deref()];
        size_of::<Self>() + texts.into_iter().flatten().map(str::len).sum::<usize>()
    }
}

/// One thing to do.
#[derive(Debug)]
pub enum Effect {
    /// Ask the workers who this is.
    Authenticate(Box<Greeting>),
    /// Hand a whole message to the workers.
    Deliver(Encoding, Body),
    /// Hand a whole message of a link to the workers.
    DeliverLink(Encoding, Body),
    /// Queue bytes to the peer: a frame, or an HTTP response.
    Send(Bytes),
    /// Queue a ping that carries the time of this turn.
    Ping,
    /// The request was answered with this HTTP status.
    Refused(u16),
}
