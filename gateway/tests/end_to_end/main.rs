//! The gateway's library against real parts: real sockets, real TLS and MQTT, real servers, a real disk or one that can
//! be told to go wrong; and the built `fieldpost` binary as an operator meets it. One binary, so that the gateway is
//! linked once.

#![allow(clippy::unwrap_used, reason = "an unwrap states what a test expects, in its helpers too")]

mod audit;
mod bad_input;
mod cli;
mod control_room;
mod custody;
mod door;
mod downlink;
mod forward;
mod front_door;
mod ledger;
mod mqtt;
mod operations;
#[path = "../../src/postgres/cluster.rs"]
mod postgres_server;
mod process;
mod rules;
mod service;
mod trace;
