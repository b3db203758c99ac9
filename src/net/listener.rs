//! Listening sockets: one for each loop on the same address, so that the kernel spreads connections (SO_REUSEPORT), and one
//! that nobody shares.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel completes before they are accepted; bounded by `net.core.somaxconn`.
pub const BACKLOG: i32 = 65_535;

/// Binds one listener that has its address for itself. At least `waiting_max` connections may wait to be accepted, where
/// `net.core.somaxconn` lets them: the standard library's listeners have room for 128, and the kernel leaves the rest of a burst to
/// come again a second later.
///
/// # Errors
/// Of bind and listen; the address is in use when another socket has it.
pub fn bind_alone(address: SocketAddr, waiting_max: usize) -> io::Result<TcpListener> {
    let socket = open(address, Share::Alone)?;
    socket.listen(i32::try_from(waiting_max).unwrap_or(i32::MAX).max(BACKLOG))?;
    Ok(socket.into())
}

/// Binds `count` listeners to one address. Port 0 is chosen by the kernel once, for all.
///
/// # Errors
/// Of bind and listen; the address is in use when another process, or another user's, has it.
pub fn bind(address: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
    // Without SO_REUSEPORT first: with it, a second gateway of the same user would share the port unnoticed.
    drop(open(address, Share::Alone)?);
    let first = open_shared(address)?;
    let address = first.local_addr()?;
    let rest = (1..count).map(|_| open_shared(address));
    std::iter::once(Ok(first)).chain(rest).collect()
}

#[derive(Clone, Copy, PartialEq)]
enum Share {
    Alone,
    WithLoops,
}

fn open_shared(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = open(address, Share::WithLoops)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A socket that is bound and does not listen yet.
fn open(address: SocketAddr, share: Share) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share == Share::WithLoops)?;
    // Accepted sockets inherit it: no system call for each connection.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::time::Duration;

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

    #[test]
    fn a_burst_waits_for_a_listener_that_accepts_nobody_yet() -> io::Result<()> {
        let listener = bind_alone(SocketAddr::from(([127, 0, 0, 1], 0)), 1024)?;
        let address = listener.local_addr()?;
        assert!(bind_alone(address, 1024).is_err(), "nobody shares its address");
        let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn")?;
        let burst = most.trim().parse().unwrap_or(128).min(300);
        // Whoever finds no room is left to try again for longer than that.
        let patience = Duration::from_millis(900);
        let waiting: Result<Vec<_>, _> = (0..burst).map(|_| TcpStream::connect_timeout(&address, patience)).collect();
        assert_eq!(waiting?.len(), burst);
        Ok(())
    }
}
