//! CPU of a handshake.

use std::sync::Arc;
use std::time::Duration;

use holdfast::net::tls::server::Server;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ServerConfig};

use super::peer::{Identity, connect, shake, shake_rustls};
use super::{RUNS, SUITES};

const HANDSHAKES: usize = 100;

/// What ours may take of what rustls' takes, in a full handshake.
const MOST: f64 = 1.2;

/// Prints the server's CPU of full and of resumed handshakes, ours beside rustls'. They alternate, one by one; the best run of each counts.
pub fn print(identity: &Identity) {
    println!("\nserver's CPU of a handshake, us: full (P-256), resumed");
    for (suite, name) in SUITES {
        let (ours, theirs) = (identity.server(suite), identity.rustls_server(suite));
        let mut best = [[Duration::MAX; 2]; 2];
        for _ in 0..RUNS {
            for (kind, best) in [HandshakeKind::Full, HandshakeKind::Resumed].into_iter().zip(&mut best) {
                let sums = run(kind, &mut || identity.client_config(suite), &ours, &theirs);
                best[0] = best[0].min(sums[0]);
                best[1] = best[1].min(sums[1]);
            }
        }
        let us = |sum: Duration| sum.as_nanos() as f64 / HANDSHAKES as f64 / 1000.0;
        let [[full, full_rustls], [again, again_rustls]] = best;
        let ratio = us(full) / us(full_rustls);
        println!(
            "{name:<18} ours {:.1}, {:.1}   rustls alone {:.1}, {:.1}   ratio {ratio:.2}, {:.2}   must {MOST} full: {}",
            us(full),
            us(again),
            us(full_rustls),
            us(again_rustls),
            us(again) / us(again_rustls),
            if ratio <= MOST { "kept" } else { "MISSED" }
        );
    }
}

/// The sums of handshakes of this kind, ours and rustls'. A client's settings keep its tickets, so full handshakes have new ones each.
fn run(
    kind: HandshakeKind,
    settings: &mut dyn FnMut() -> Arc<ClientConfig>,
    ours: &Arc<Server>,
    theirs: &Arc<ServerConfig>,
) -> [Duration; 2] {
    let kept = [settings(), settings()];
    if kind == HandshakeKind::Resumed {
        shake(&mut connect(&kept[0]), ours);
        shake_rustls(&mut connect(&kept[1]), theirs);
    }
    let mut sums = [Duration::ZERO; 2];
    for _ in 0..HANDSHAKES {
        let clients = if kind == HandshakeKind::Resumed { kept.clone() } else { [settings(), settings()] };
        let [mut first, mut second] = clients.map(|config| connect(&config));
        sums[0] += shake(&mut first, ours).0;
        sums[1] += shake_rustls(&mut second, theirs).0;
        let is_right = |client: &ClientConnection| client.handshake_kind() == Some(kind);
        assert!(is_right(&first) && is_right(&second), "a handshake is not {kind:?}");
    }
    sums
}
