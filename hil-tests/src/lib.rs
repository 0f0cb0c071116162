//! The bench rig: **the firmware image, as it would be flashed, against the gateway's binary, over real sockets.**
//!
//! ```text
//!  NMEA, pins, I2C values          +--------------------+   TCP/IP, TLS, MQTT    +------------------+
//!  ------------ inputs ----------> | QEMU: the image on | ---- pcap -----------> | fieldpost run    |
//!  <-- log (defmt), output pins -- | an emulated board  | <--------------------- | (child process)  |
//!                                  +--------------------+                        +------------------+
//!     faults: power cut, link, clock                       faults: kill -9, restart on the same ports
//!                                                          outcomes: records, page, acknowledgements
//! ```
//!
//! Everything that runs is a child that dies with its handle. Nothing waits by sleeping: the rig waits for a line, a pin, a
//! record or a packet, each with a deadline that names what did not come. A missing tool is an error, never a skip.
//!
//! An emulated target proves what the image does, not how fast silicon does it: no figure here says anything about cycle time,
//! power, real flash or radio.
#![cfg(feature = "emulated-board")]

pub mod account;
pub mod bench;
pub mod broker;
pub mod costs;
pub mod failure;
pub mod feed;
pub mod flash;
pub mod gateway;
pub mod image;
pub mod inputs;
pub mod log;
pub mod pcap;
pub mod places;
pub mod power_cuts;
pub mod qemu;
pub mod qmp;
pub mod qtest;
pub mod socket;

pub use bench::Bench;
pub use failure::Failure;
