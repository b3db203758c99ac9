//! The audit log: who was refused, what was changed, and who called whom, as JSON lines in a file of its own.
//!
//! Owns the queue of what is to be written, the thread that writes it, and the file. It never holds up whoever tells it something,
//! never writes a payload, a token or a key, and never loses count of what it could not write.
//!
//! ```text
//!  desk   the queue: a bounded list, and the wake of the writer      event  what can be written
//!  writer the thread: takes what there is, once in a while           line   an event as JSON
//!  book   what a batch becomes: lines, and the count of lost ones    file   the file: append, reopen
//! ```

mod book;
mod desk;
mod event;
mod file;
mod line;
mod writer;

pub use desk::{Audit, CallLines, Strictness, Terms};
pub use event::{Act, Call, Login, Trespass, Who};
pub use file::AuditFile;
pub use writer::Writer;
