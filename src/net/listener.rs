//! Listening sockets: one for each loop on the same address, so that the kernel spreads connections (SO_REUSEPORT).

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel completes before they are accepted; bounded by `net.core.somaxconn`.
pub const BACKLOG: i32 = 65_535;

/// Binds `count` listeners to one address. Port 0 is chosen by the kernel once, for all.
///
/// # Errors
/// Of bind and listen; the address is in use when another process, or another user's, has it.
pub fn bind(address: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
    // Without SO_REUSEPORT first: with it, a second gateway of the same user would share the port unnoticed.
    drop(open(address, Share::Alone)?);
    let first = open(address, Share::WithLoops)?;
    let address = first.local_addr()?;
    let rest = (1..count).map(|_| open(address, Share::WithLoops));
    std::iter::once(Ok(first)).chain(rest).collect()
}

#[derive(Clone, Copy, PartialEq)]
enum Share {
    Alone,
    WithLoops,
}

fn open(address: SocketAddr, share: Share) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share == Share::WithLoops)?;
    // Accepted sockets inherit it: no system call for each connection.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    if share == Share::WithLoops {
        socket.listen(BACKLOG)?;
    }
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_share_a_port_and_a_second_gateway_does_not() -> io::Result<()> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listeners = bind(any, 3)?;
        let address = listeners[0].local_addr()?;
        assert!(listeners.iter().all(|listener| listener.local_addr().ok() == Some(address)));
        let second = bind(address, 1).map_err(|error| error.kind());
        assert_eq!(second.err(), Some(io::ErrorKind::AddrInUse));
        Ok(())
    }
}
