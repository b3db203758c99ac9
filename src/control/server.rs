//! The server: accepts, serves each connection with hyper, and stops in order.
//!
//! Owns connections and their limits. It never looks into a request.
//!
//! hyper is driven directly and not by `axum::serve`, which has no limit on connections and no time-out of a head.
//! hyper's own time-out is off, because it makes a timer for each request; [`super::patience`] says what takes its place.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time;

use super::patience::{Fate, Patience};
use super::problem::{Kind, Problem};
use super::request;
use super::setup::{Limits, Shared};
use crate::kit::memory;
use crate::kit::retry_after::retry_after_secs;

/// How often the histograms are emptied into their summaries.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);
/// Two make what was drained free to go, the others free it. Nanoseconds where there is nothing.
const COLLECTS: usize = 8;
/// First and longest pause after an accept that failed, for example for want of descriptors.
const ACCEPT_PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// hyper takes no smaller buffer.
const HEAD_BYTES_MIN: usize = 8192;
/// To connections over the limit. Written without looking at what they ask, since reading it is what we have no room for.
fn full(seed: u64) -> Vec<u8> {
    let answer = Problem::new(Kind::NotReady).detail("Too many connections to the API.").into_answer();
    let wait = retry_after_secs(answer.again_in.unwrap_or_default(), seed);
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nRetry-After: {wait}\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n",
        answer.body.len()
    );
    [head.as_bytes(), &answer.body].concat()
}

/// Stops a server. Clones stop the same one; from any thread.
#[derive(Clone, Debug)]
pub struct Stop(watch::Sender<Option<Duration>>);

impl Stop {
    /// Of a server that is yet to run.
    #[must_use]
    pub fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// Stops accepting; requests that run may end within `grace`, then everything is dropped.
    pub fn stop(&self, grace: Duration) {
        self.0.send_replace(Some(grace));
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self::new()
    }
}

/// The runtime of the control thread, before it runs.
pub struct Runtime {
    runtime: tokio::runtime::Runtime,
    /// Filled when it serves: what is done before the thread sleeps.
    shared: Arc<OnceLock<Arc<Shared>>>,
}

impl Runtime {
    /// Makes it, with its epoll and its waker. Event loops wake it from descriptor tables of their own, so it must be
    /// made before the first of them starts.
    ///
    /// # Errors
    /// No descriptors are left.
    pub fn new() -> io::Result<Self> {
        let shared = Arc::new(OnceLock::<Arc<Shared>>::new());
        let (asleep, awake) = (Arc::clone(&shared), Arc::clone(&shared));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .on_thread_park(move || asleep.get().into_iter().for_each(|shared| shared.exchange.lie_down()))
            .on_thread_unpark(move || awake.get().into_iter().for_each(|shared| shared.exchange.awake()))
            .build()?;
        Ok(Self { runtime, shared })
    }

    /// Serves the API on this thread until it is stopped.
    ///
    /// # Errors
    /// The listener is not usable.
    pub fn serve(self, listener: std::net::TcpListener, shared: &Arc<Shared>, stop: &Stop) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        let shared = self.shared.get_or_init(|| Arc::clone(shared));
        self.runtime.block_on(run(listener, shared, stop))
    }
}

async fn run(listener: std::net::TcpListener, shared: &Arc<Shared>, stop: &Stop) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let connections_max = shared.live().limits.connections_max.min(Semaphore::MAX_PERMITS);
    let room = Arc::new(Semaphore::new(connections_max));
    let mut stopping = stop.0.subscribe();
    let accepting = tokio::spawn(accept(listener, Arc::clone(shared), stop.clone(), Arc::clone(&room)));
    let upkeep = tokio::spawn(upkeep(Arc::clone(shared)));
    let exchanging = Arc::clone(shared);
    let exchange = tokio::spawn(async move { exchanging.exchange.run().await });
    let grace = match stopping.wait_for(Option::is_some).await {
        Ok(grace) => grace.unwrap_or_default(),
        Err(_) => Duration::ZERO,
    };
    accepting.abort();
    upkeep.abort();
    let all = u32::try_from(connections_max).unwrap_or(u32::MAX);
    // Who is not done by then is dropped with the runtime, and its calls are cancelled.
    let _ = time::timeout(grace, room.acquire_many(all)).await;
    exchange.abort();
    Ok(())
}

async fn upkeep(shared: Arc<Shared>) {
    let mut ticks = time::interval(METRICS_UPKEEP);
    loop {
        ticks.tick().await;
        shared.metrics.run_upkeep();
        collect_drained();
        shared.clock.follow_wall();
        memory::quiet();
        // What is resident beside live heap goes into what the memory budget is held against.
        memory::glance();
    }
}

/// Frees the samples that histograms have drained: 16 bytes for each call. They are deferred until no thread can look at them any
/// more, and else stay until a later drain comes by.
fn collect_drained() {
    for _ in 0..COLLECTS {
        crossbeam_epoch::pin().flush();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, stop: Stop, room: Arc<Semaphore>) {
    let mut pause = ACCEPT_PAUSE.0;
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "control: accept failed");
                time::sleep(pause).await;
                pause = (pause * 2).min(ACCEPT_PAUSE.1);
                continue;
            }
        };
        pause = ACCEPT_PAUSE.0;
        match Arc::clone(&room).try_acquire_owned() {
            Ok(permit) => {
                let served = serve_connection((stream, peer), Arc::clone(&shared), stop.clone(), permit);
                tokio::spawn(served);
            }
            Err(_) => refuse(&stream, request::seed(shared.clock.now(), peer)),
        }
    }
}

/// Says that there is no room, as far as the socket takes it at once.
fn refuse(stream: &TcpStream, seed: u64) {
    // What has arrived is read first: closing over unread bytes would reset the connection under our answer.
    let _ = stream.try_read(&mut [0; 4096]);
    let _ = stream.try_write(&full(seed));
}

async fn serve_connection(
    (stream, peer): (TcpStream, SocketAddr),
    shared: Arc<Shared>,
    stop: Stop,
    permit: OwnedSemaphorePermit,
) {
    let limits = shared.live().limits;
    // Without them the connection still works: later answers, or a vanished peer that is noticed later.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(limits.idle_timeout));
    let patience = Patience::new(shared.clock.now());
    let service = service_fn(|asked| request::handle(&shared, &patience, peer, asked));
    let mut serving = pin!(builder(&limits).serve_connection(TokioIo::new(stream), service));
    let mut stops = stop.0.subscribe();
    let mut stopping = pin!(stops.wait_for(Option::is_some));
    let mut look = pin!(time::sleep(limits.head_timeout));
    let mut stopped = false;
    poll_fn(|cx| {
        shared.exchange.polled();
        if !stopped && stopping.as_mut().poll(cx).is_ready() {
            stopped = true;
            serving.as_mut().graceful_shutdown();
        }
        while look.as_mut().poll(cx).is_ready() {
            let now = shared.clock.now();
            match patience.judge(now, limits.head_timeout, limits.idle_timeout) {
                Fate::Close => return Poll::Ready(()),
                // The handler sees it as hyper polls it below.
                Fate::Keep | Fate::Answer => {
                    look.set(time::sleep(limits.head_timeout));
                }
            }
        }
        // A connection that failed has nobody left to be told.
        serving.as_mut().poll(cx).map(drop)
    })
    .await;
    drop(permit);
}

fn builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .header_read_timeout(None)
        .max_headers(limits.head_fields_max)
        .max_buf_size(limits.head_bytes_max.max(HEAD_BYTES_MIN));
    builder
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use serde_json::Value;

    use super::*;

    #[test]
    fn what_this_thread_put_off_is_freed() {
        static FREED: AtomicBool = AtomicBool::new(false);
        crossbeam_epoch::pin().defer(|| FREED.store(true, Ordering::Relaxed));
        // Other tests' threads may hold an epoch for a moment.
        while !FREED.load(Ordering::Relaxed) {
            collect_drained();
        }
        // Of another version it would be another epoch, in which nothing of the histograms waits.
        let versions = include_str!("../../Cargo.lock").matches("name = \"crossbeam-epoch\"").count();
        assert_eq!(versions, 1);
    }

    #[test]
    fn the_refusal_is_whole() {
        let text = String::from_utf8(full(1)).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
        let problem: Value = serde_json::from_str(body).unwrap();
        assert_eq!(problem["status"], 503);
        assert_eq!(problem["type"], "/problems/not_ready");
    }

    #[test]
    fn a_stop_reaches_every_clone() {
        let stop = Stop::new();
        let receiver = stop.clone().0.subscribe();
        stop.stop(Duration::from_secs(1));
        assert_eq!(*receiver.borrow(), Some(Duration::from_secs(1)));
    }
}
