//! # The Fieldpost simulator
//!
//! A made-up town with officers and vehicles, each a real device: the firmware crate's own logic behind a real MQTT 5
//! connection over mutual TLS. **What the fleet sends is counted, and what arrives is checked against it.**
//!
//! ```text
//! world -> fleet (firmware::Device + mTLS) -> a gateway -> sinks, control room
//!            |                                              |
//!            '------------------> check <-------------------'
//! ```
//!
//! Beside the fleet stand bare devices ([`raw`]) that run none of the device logic: they drive the rigs ([`rig`]), which
//! break real servers, and the benchmarks ([`bench`]), which measure them.

pub mod bench;
pub mod binary;
pub mod check;
pub mod cli;
pub mod console;
pub mod fleet;
pub mod host;
pub mod raw;
pub mod rig;
pub mod run;
pub mod simulation;
pub mod slot;
pub mod summary;
pub mod world;
