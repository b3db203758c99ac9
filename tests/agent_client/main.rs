//! The reference agent from outside: a fake gateway on a real socket, made with another WebSocket implementation's server.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod connection;
mod gateway;
mod programs;
mod scratch;
