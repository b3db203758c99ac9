//! What a server and the kernel under it use, read from `/proc` while a run goes on.
//!
//! Owns the reading and the arithmetic of it: a [`Mark`] is an exact reading at a quiet moment, a [`Split`] the difference of two of them for each
//! connection, a [`Sampler`] a thread that draws the lines between. It must never change anything.
//!
//! A mark is dear: `smaps_rollup` takes about 10 ms for each GiB of the server and holds the lock of its address space meanwhile, `slabinfo` takes 4 ms and
//! the lock of all caches. So marks are taken between phases, and the thread takes only what costs some 10 µs each (`status`, `stat`, the clock of
//! the process, `sockstat`, `meminfo`).

pub mod host;
pub mod kernel;
mod lines;
mod mark;
mod process;
mod sampler;
mod slab;
mod split;
mod thin;

pub use self::kernel::Kernel;
pub use self::mark::Mark;
pub use self::process::{Table, descriptors, server};
pub use self::sampler::{Sampler, Samples, Watch};
pub use self::slab::Slab;
pub use self::split::Split;
