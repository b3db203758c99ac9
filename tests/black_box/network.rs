//! A bad network: connections that stall, break in the middle of a frame, are reset, or fall silent for ever. Agents come back, and
//! each call has one true outcome.
//!
//! The network is a proxy on this machine that passes bytes on between agents and the gateway, and has its moods.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::SockRef;

use crate::faults::descriptors;
use crate::gateway::{Gateway, until};
use crate::returning::Returning;

/// Agents behind the network.
const AGENTS: usize = 12;
/// It is bad until each mishap has come so often.
const MISHAPS_EACH: usize = 3;
/// Of so many pieces that it passes on, one each meets each mishap.
const ODDS: u32 = 40;
/// How long a stalled connection stalls.
const STALL: Duration = Duration::from_millis(300);
/// How often a pump looks whether it is over.
const LOOK: Duration = Duration::from_millis(50);

/// What became of pieces, and whether the network is bad just now.
#[derive(Default)]
struct Moods {
    bad: AtomicBool,
    over: AtomicBool,
    stalls: AtomicUsize,
    cuts: AtomicUsize,
    resets: AtomicUsize,
    holes: AtomicUsize,
}

/// A proxy, until it is dropped.
struct Network {
    address: SocketAddr,
    moods: Arc<Moods>,
    accepts: Option<JoinHandle<()>>,
}

impl Network {
    fn before(gateway: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let moods = Arc::new(Moods::default());
        let shared = Arc::clone(&moods);
        let accepts = thread::spawn(move || {
            for near in listener.incoming() {
                if shared.over.load(Ordering::Acquire) {
                    return;
                }
                let (Ok(near), Ok(far)) = (near, TcpStream::connect(gateway)) else {
                    continue;
                };
                connect(&shared, &near, &far);
                connect(&shared, &far, &near);
            }
        });
        Self { address, moods, accepts: Some(accepts) }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.moods.over.store(true, Ordering::Release);
        // It looks when somebody comes.
        let _ = TcpStream::connect(self.address);
        let _ = self.accepts.take().map(JoinHandle::join);
    }
}

fn connect(moods: &Arc<Moods>, from: &TcpStream, to: &TcpStream) {
    let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else {
        return;
    };
    let moods = Arc::clone(moods);
    thread::spawn(move || pump(&moods, from, to));
}

/// Passes bytes on one way until either end is gone.
fn pump(moods: &Moods, mut from: TcpStream, mut to: TcpStream) {
    let _ = from.set_read_timeout(Some(LOOK));
    let _ = to.set_nodelay(true);
    let mut bytes = [0; 4096];
    let mut silent = false;
    while !moods.over.load(Ordering::Acquire) {
        let count = match from.read(&mut bytes) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(_) => break,
        };
        let mishap = if moods.bad.load(Ordering::Acquire) { fastrand::u32(..ODDS) } else { ODDS };
        let part = match mishap {
            0 => {
                moods.stalls.fetch_add(1, Ordering::Relaxed);
                thread::sleep(STALL);
                count
            }
            1 => {
                moods.cuts.fetch_add(1, Ordering::Relaxed);
                count / 2
            }
            2 => {
                moods.resets.fetch_add(1, Ordering::Relaxed);
                // What was not read is thrown away as well.
                for end in [&from, &to] {
                    let _ = SockRef::from(end).set_linger(Some(Duration::ZERO));
                }
                return;
            }
            3 => {
                moods.holes.fetch_add(1, Ordering::Relaxed);
                silent = true;
                count
            }
            _ => count,
        };
        // A hole swallows: neither end learns of it but by silence.
        if !silent && to.write_all(&bytes[..part]).is_err() || part < count {
            break;
        }
    }
    for end in [&from, &to] {
        let _ = end.shutdown(std::net::Shutdown::Both);
    }
}

#[test]
fn agents_behind_a_bad_network_come_back_and_no_call_is_told_wrongly() {
    let gateway = Gateway::start(
        "[server]\nloops = 2\n[heartbeat]\ninterval = \"1s\"\ntimeout = \"900ms\"\n\
         [limits]\nhandshake_deadline = \"1s\"\nclose_deadline = \"1s\"\n[control]\nidle = \"1s\"\n",
    );
    let network = Network::before(gateway.agents);
    let agents = Returning::start(network.address, AGENTS);
    agents.all_answer(&gateway);
    let before = descriptors(&gateway);
    network.moods.bad.store(true, Ordering::Release);
    let moods = &network.moods;
    let mishaps =
        || [&moods.stalls, &moods.cuts, &moods.resets, &moods.holes].map(|count| count.load(Ordering::Relaxed));
    let enough = || mishaps().iter().all(|count| *count >= MISHAPS_EACH);
    let called = agents.call_while(&gateway, || until(enough, "the network was bad in each way"));
    network.moods.bad.store(false, Ordering::Release);

    agents.all_answer(&gateway);
    let tally = agents.judge(&called);
    println!("{tally:?} after {:?} stalls, cuts, resets, holes", mishaps());
    assert!(tally.contains_key("ok") && tally.len() > 1, "{tally:?}");
    assert!(!tally.contains_key(""), "the callers' own connections are not behind it: {tally:?}");
    gateway.wait_metric("holdfast_agents", "", AGENTS as u64);
    until(|| descriptors(&gateway) <= before, &format!("descriptors are {before} again"));
    drop(agents);
}
