//! Forwarders against real sinks: a real spool on a real disk, a real NATS server, a real HTTP server.

#![allow(clippy::unwrap_used, reason = "tests state their expectations with unwrap")]

mod file;
mod nats;
mod nats_login;
pub(crate) mod nats_server;
mod nmea;
pub(crate) mod page;
pub(crate) mod rig;
mod start;
mod tak;
pub(crate) mod tak_listener;
pub(crate) mod webhook;
pub(crate) mod webhook_server;
