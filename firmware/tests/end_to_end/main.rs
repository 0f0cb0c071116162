//! Claims about the device logic, on the host, under virtual time.
#![allow(
    clippy::unwrap_used,
    reason = "tests state their expectations with unwrap; clippy knows only test functions"
)]

mod bench;
mod broker;
mod clock;
mod downlink;
mod flash;
mod gate;
mod lanes;
mod logs;
mod memory;
mod motion;
mod nmea;
mod outbox;
mod padding;
mod receiver;
mod robust;
mod rules;
mod sampler;
mod sensors;
mod slot;
mod status;
mod trace;
mod uplink;
