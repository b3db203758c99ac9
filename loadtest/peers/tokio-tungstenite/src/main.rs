//! An echo server as one writes it with tokio-tungstenite: one task for each connection.
//!
//!     peer-tokio-tungstenite ADDRESS:PORT
//!
//! It is given what helps it: one thread, since it has one core; mimalloc, which gives pages back; read buffers of 4 KiB, which
//! tungstenite's documentation advises for many connections (128 KiB is its default).

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::Error;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let address = address.ok_or_else(|| std::io::Error::other("usage: peer-tokio-tungstenite ADDRESS:PORT"))?;
    tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(serve(address))
}

async fn serve(address: SocketAddr) -> std::io::Result<()> {
    let listener = listen(address)?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            if let Err(error) = echo(stream).await {
                // A client that resets TCP has left, which is no fault.
                if !matches!(error, Error::Io(_) | Error::ConnectionClosed | Error::Protocol(_)) {
                    eprintln!("{error}");
                }
            }
        });
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(4096)
}

async fn echo(stream: TcpStream) -> Result<(), Error> {
    stream.set_nodelay(true)?;
    let config = WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(0);
    let mut socket = tokio_tungstenite::accept_async_with_config(stream, Some(config)).await?;
    while let Some(message) = socket.next().await {
        let message = message?;
        // Pings are answered by the library at the next read.
        if message.is_text() || message.is_binary() {
            socket.send(message).await?;
        }
    }
    Ok(())
}
