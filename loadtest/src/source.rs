//! Local addresses to dial from: one source and target pair has only some 28,000 ports.
//!
//! Owns the choice of a source. It must never bind one for a target that is not on this machine.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// How many loopback addresses are used in turn: 127.0.0.2 and up. At 28,000 ports each that is seven million sockets.
const SOURCES: u32 = 250;

/// Opens a socket that does not block and starts to connect it; `turn` chooses the source address.
///
/// # Errors
/// Whatever the kernel says, but for "in progress", which is how this begins.
pub fn dial(target: SocketAddr, turn: u32) -> io::Result<mio::net::TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
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
    use super::*;

    #[test]
    fn loopback_targets_are_dialled_from_many_addresses_and_others_from_none() {
        let loopback = IpAddr::from([127, 0, 0, 1]);
        let all: std::collections::HashSet<_> = (0..1000).filter_map(|turn| source(loopback, turn)).collect();
        assert_eq!(all.len(), 250);
        assert!(!all.contains(&loopback));
        assert_eq!(source(IpAddr::from([192, 0, 2, 1]), 7), None);
    }
}
