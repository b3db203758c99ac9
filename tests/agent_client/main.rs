//! The reference agent from outside: a fake gateway on a real socket, made with another WebSocket implementation's server.

mod connection;
mod gateway;
mod programs;
mod scratch;
