//! Addresses to dial from and to: one pair of them has only some 28,000 ports.
//!
//! Owns the choice of both. It must never bind a source for a target that is not on this machine.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// How many loopback addresses are used in turn: 127.0.0.2 and up. At 28,000 ports each that is seven million sockets.
pub const SOURCES: u32 = 250;

/// Loopback addresses that are dialled in turn where the server listens on all of them.
const TARGETS: u32 = 4;

/// Pairs of a source and a target address where the server listens on all.
pub const PAIRS: u32 = SOURCES * TARGETS;

/// How a connection treats what it receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// As the kernel likes.
    Usual,
    /// As little as the kernel allows: for a peer that will not read.
    Narrow,
}

/// Opens a socket that does not block and starts to connect it; `turn` chooses the addresses.
///
/// # Errors
/// Whatever the kernel says, but for "in progress", which is how this begins.
pub fn dial(target: SocketAddr, turn: u32, window: Window) -> io::Result<mio::net::TcpStream> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new_raw(Domain::for_address(target), kind, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    if window == Window::Narrow {
        socket.set_recv_buffer_size(1)?;
    }
    let target = SocketAddr::new(destination(target.ip(), turn), target.port());
    if let Some(source) = source(target.ip(), turn) {
        // The port is chosen at connect, when the kernel knows the target and can use one port for several of them.
        setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
        socket.bind(&SockAddr::from(SocketAddr::new(source, 0)))?;
    }
    match socket.connect(&SockAddr::from(target)) {
        Err(error) if error.raw_os_error() != Some(nix::libc::EINPROGRESS) => Err(error),
        _ => Ok(mio::net::TcpStream::from_std(socket.into())),
    }
}

/// The address to dial: one of several where the server listens on all.
fn destination(target: IpAddr, turn: u32) -> IpAddr {
    match target {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => {
            let [.., last] = (turn / SOURCES % TARGETS).to_be_bytes();
            IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1 + last))
        }
        other => other,
    }
}

/// The address to dial `target` from; `None` leaves it to the kernel.
fn source(target: IpAddr, turn: u32) -> Option<IpAddr> {
    let IpAddr::V4(address) = target else {
        return None;
    };
    address.is_loopback().then(|| {
        let [.., last] = (turn % SOURCES).to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2 + last))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn loopback_targets_are_dialled_from_many_addresses_and_others_from_none() {
        let loopback = IpAddr::from([127, 0, 0, 1]);
        let all: HashSet<_> = (0..1000).filter_map(|turn| source(loopback, turn)).collect();
        assert_eq!(all.len(), 250);
        assert!(!all.contains(&loopback));
        assert_eq!(source(IpAddr::from([192, 0, 2, 1]), 7), None);
    }

    #[test]
    fn all_pairs_are_used_where_the_server_listens_on_all_addresses() {
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let pair = |turn| (source(destination(any, turn), turn), destination(any, turn));
        let pairs: HashSet<_> = (0..SOURCES * TARGETS).map(pair).collect();
        assert_eq!(pairs.len(), 1000);
        let one = IpAddr::from([127, 0, 0, 1]);
        assert!((0..1000).all(|turn| destination(one, turn) == one));
    }
}
