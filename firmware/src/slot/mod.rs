//! The provisioning slot: who this device is, what it may say, whom it trusts. Written at enrolment, read at start.
//!
//! ```text
//!  "FPSL" | version u16 | length u16 | CRC-32 u32 | body (postcard), length bytes          little-endian
//!  0        4             6            8            12
//! ```
//!
//! Version 2 is version 1 and the gateways' envelope key behind it: a device behind a broker. A slot without that key is written as
//! version 1, which every firmware reads; **a firmware that knows no broker refuses version 2**, as it would take a broker's
//! PUBACK for STORED.
//!
//! The CRC (ISO-HDLC, as in zlib) covers version, length and body. There are two slots: renewal writes the one that is not
//! in force, with the next generation number, so **a power cut while a slot is written leaves the other one in force**. The
//! newest valid slot wins ([`newest`]).
//!
//! Everything borrows from the caller's image: on a part with memory-mapped flash a slot costs no RAM. Counts and sizes are
//! bounded by the constants below. **The private key has no `Debug` and no `defmt::Format` that shows it.**
//!
//! A device without a valid slot has no name: it must not connect, and says on its log what is wrong ([`SlotsError`]).

mod choose;
mod error;
mod image;
mod provision;
mod rules;
mod wire;

pub use self::{
    choose::{SlotName, newest},
    error::{SlotError, SlotsError},
    image::{decode, encode},
    provision::{GatewayAddress, PrivateKey, Provision},
};

/// What a slot image begins with.
pub const MAGIC: [u8; 4] = *b"FPSL";

/// Version of a slot whose device talks to its gateway.
pub const VERSION: u16 = 1;

/// Version of a slot whose device is behind a broker.
pub const VERSION_BROKER: u16 = 2;

/// The gateways' envelope key: an uncompressed point of P-256.
pub const ENVELOPE_KEY_BYTES: usize = 65;

/// Magic, version, length, CRC.
pub const HEADER_BYTES: usize = 12;

/// A slot in flash: two erase blocks of 4 KiB. What `fieldpost pki issue` writes takes about 1.2 KiB of it.
pub const IMAGE_BYTES_MAX: usize = 8192;

/// Certificates in the device's chain, its own first: the device and two intermediate authorities.
pub const CHAIN_COUNT_MAX: usize = 3;

/// Authorities a device trusts: the one in force, the next one while it is replaced, and one spare of each.
pub const AUTHORITY_COUNT_MAX: usize = 4;

/// Longest name or host of a gateway: the longest DNS name.
pub const GATEWAY_NAME_BYTES_MAX: usize = 253;
