//! TLS 1.3 (RFC 8446): the handshake by rustls, the records of a resting connection by ourselves.
//!
//! Pure: bytes in, bytes out. Nothing in here knows of sockets, loops or clocks, keeps a buffer for a resting
//! connection, or lets a secret into its `Debug` output. rustls is named in this folder and nowhere else; within it,
//! `suite` alone names the ciphers and the key schedule.
//!
//! How a loop uses it: bytes of a newcomer go to [`handshake::Handshake::take`] until that is done, which leaves every
//! byte after the client's Finished to the loop; `into_rest` then gives a [`rest::Rest`] of 80 or 112 bytes a
//! connection. From then on [`record::front`] finds whole records in scratch, [`records::Records::open`] opens each
//! in place, and [`records::Records::seal`] writes what is to be sent, up to 16,384 bytes a record.

pub mod alert;
pub mod at_rest;
pub mod certificate_files;
pub mod certificates;
pub mod ciphers;
pub mod client;
pub mod fuzz_bodies;
pub mod handshake;
pub mod identity;
pub mod inner;
pub mod live;
pub mod provider;
pub mod record;
pub mod records;
pub mod rest;
pub mod subject;
pub mod suite;

pub mod failure;
pub mod server;
pub mod tickets;

mod captured;
mod counter;
mod pieces;
mod resumption;

#[cfg(test)]
mod tests;
