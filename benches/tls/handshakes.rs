//! CPU of a handshake.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use super::peer::{Identity, connect, shake, shake_rustls};
use super::{RUNS, SUITES};

const HANDSHAKES: usize = 100;

/// Prints the server's CPU of full and of resumed handshakes, ours beside rustls'.
pub fn print(identity: &Identity) {
    println!("\nserver's CPU of a handshake, us: full (P-256), resumed");
    for (suite, name) in SUITES {
        let (server, config) = (identity.server(suite), identity.rustls_server(suite));
        let mut best = [[Duration::MAX; 2]; 2];
        for _ in 0..RUNS {
            for resumed in [0, 1] {
                let mut sums = [Duration::ZERO; 2];
                let [ours, theirs] = [identity.client_config(suite), identity.client_config(suite)];
                for _ in 0..HANDSHAKES {
                    let fresh = identity.client_config(suite);
                    let pick = |kept: &Arc<ClientConfig>| Arc::clone(if resumed == 1 { kept } else { &fresh });
                    sums[0] += shake(&mut connect(&pick(&ours)), &server).0;
                    let fresh = identity.client_config(suite);
                    let pick = |kept: &Arc<ClientConfig>| Arc::clone(if resumed == 1 { kept } else { &fresh });
                    sums[1] += shake_rustls(&mut connect(&pick(&theirs)), &config).0;
                }
                for (best, sum) in best[resumed].iter_mut().zip(sums) {
                    *best = (*best).min(sum);
                }
            }
        }
        let us = |sum: Duration| sum.as_nanos() as f64 / HANDSHAKES as f64 / 1000.0;
        let [[full, full_rustls], [again, again_rustls]] = best;
        println!(
            "{name:<18} ours {:.1}, {:.1}   rustls alone {:.1}, {:.1}   ratio {:.2}, {:.2}",
            us(full),
            us(again),
            us(full_rustls),
            us(again_rustls),
            us(full) / us(full_rustls),
            us(again) / us(again_rustls)
        );
    }
}
