//! # The connection of a Fieldpost device
//!
//! ```text
//!  fieldpost_firmware::Device <--Switchboard--> session --> mqtt --> tls::stream --> the board's TCP
//!                                                                       |
//!                                                            tls::verify, tls::provider
//! ```
//!
//! Independent of board and executor: bytes go through `embedded-io-async`, time, randomness, buffers and the way to the
//! device logic come from the caller. **No byte of MQTT leaves before the gateway is verified**, because an
//! [`tls::TlsStream`] does not exist before; whatever a gateway sends, the worst that happens is [`session::End`].
//!
//! Start at [`session::Session`].
#![no_std]

#[cfg(all(feature = "broken-checks", target_os = "none"))]
compile_error!("a device image must judge gateways completely: build it without `broken-checks`");

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod mqtt;
pub mod session;
pub mod tls;

pub use session::{Buffers, Clock, Desk, Dial, End, News, Order, Session, Switchboard};
pub use tls::{ConfigError, Entropy, EntropyFailed, Provider, Tls, TlsIdentity, agree_on_envelope_key};
