//! # The Fieldpost gateway
//!
//! Authenticates devices, stores their records durably, forwards them, and shows them live. Data flows one way, and the
//! modules stand in its order:
//!
//! ```text
//! ingest -> decode -> dedup -> SPOOL (fsync) -+-> forward -> JetStream / PostgreSQL / webhook / file
//!    ^  <- PUBACK only after the commit <-----+-> live, alarms -> audit -> http -> control room
//! ```
//!
//! **A record has exactly one owner at a time**: the device until the spool has committed it, the gateway from then on.

#[cfg(all(feature = "sabotage", not(debug_assertions)))]
compile_error!("sabotage breaks promises on purpose: it is for rigs, in debug builds only");

pub mod admin;
pub mod alarms;
pub mod audit;
pub mod broker;
pub mod cli;
pub mod config;
pub mod decode;
pub mod dedup;
pub mod downlink;
pub mod fingerprint;
pub mod forward;
pub mod health;
pub mod history;
pub mod http;
pub mod https;
pub mod ingest;
pub mod init;
pub mod ledger;
pub mod live;
pub mod log;
pub mod login;
pub mod machines;
pub mod metrics;
pub mod people;
pub mod pki;
pub mod postgres;
pub mod quota;
pub mod record;
pub mod retention;
pub mod sabotage;
pub mod sealed;
pub mod service;
pub mod spool;
mod table_file;
pub mod trace;
