//! The loop's system calls, answered by the simulated kernel.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::kit::tick::{Now, Took};
use crate::net::io::{Io, Ready, Token, Wake, Watch};
use crate::session::rules::Door;

use super::kernel::{Kernel, SocketId};

/// All parts of a run share one kernel.
pub(super) type SharedKernel = Rc<RefCell<Kernel>>;

/// One loop's view of the kernel.
pub(super) struct SimIo {
    pub(super) kernel: SharedKernel,
    pub(super) door: usize,
}

/// The gateway's end of a socket; closed when dropped.
pub(super) struct SimStream {
    kernel: SharedKernel,
    id: SocketId,
}

impl Drop for SimStream {
    fn drop(&mut self) {
        // While a failed run unwinds the kernel may be in use; there is nothing to tell it any more.
        if let Ok(mut kernel) = self.kernel.try_borrow_mut() {
            kernel.dropped(self.id);
        }
    }
}

/// Wakes a simulated loop.
pub(super) struct SimWake(pub(super) Arc<AtomicBool>);

impl Wake for SimWake {
    fn wake(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Io for SimIo {
    type Stream = SimStream;

    /// The world has slept already: it runs a loop only when something is ready for it or its time-out has passed.
    fn wait(&mut self, _timeout: Option<Duration>, ready: &mut Vec<Ready>) -> Now {
        let mut kernel = self.kernel.borrow_mut();
        kernel.ready(self.door, ready);
        Now(kernel.now)
    }

    fn turn_took(&mut self) -> Took {
        let wall = self.kernel.borrow().turn;
        Took { wall, cpu: wall }
    }

    fn unix_secs(&mut self, now: Now) -> u64 {
        self.kernel.borrow().wall_began + now.0 / 1000
    }

    fn accept(&mut self, door: Door) -> io::Result<(SimStream, SocketAddr)> {
        let id = self.kernel.borrow_mut().accept(self.door, door)?;
        let kernel = Rc::clone(&self.kernel);
        Ok((SimStream { kernel, id }, address(id)))
    }

    fn stop_listening(&mut self) {
        self.kernel.borrow_mut().stop_listening(self.door);
    }

    fn watch(&mut self, stream: &mut SimStream, token: Token) -> io::Result<()> {
        self.kernel.borrow_mut().watch(stream.id, token, Watch::Read)
    }

    fn rewatch(&mut self, stream: &mut SimStream, token: Token, watch: Watch) -> io::Result<()> {
        self.kernel.borrow_mut().watch(stream.id, token, watch)
    }

    fn read(&mut self, stream: &mut SimStream, into: &mut [u8]) -> io::Result<usize> {
        self.kernel.borrow_mut().read(stream.id, into)
    }

    fn write(&mut self, stream: &mut SimStream, from: &[IoSlice<'_>]) -> io::Result<usize> {
        self.kernel.borrow_mut().write(stream.id, from)
    }

    fn shut(&mut self, stream: &mut SimStream) {
        self.kernel.borrow_mut().sockets[stream.id].shut();
    }

    fn peer(&self, stream: &SimStream) -> Option<SocketAddr> {
        Some(address(stream.id))
    }
}

/// Where a socket's other end is: of four networks, the last of which is no balancer's.
fn address(id: SocketId) -> SocketAddr {
    SocketAddr::from(([10, (id % 4) as u8 / 2 + (id % 4) as u8 / 3, 0, id as u8], 7))
}
