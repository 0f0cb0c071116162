//! TLS 1.3 with both sides' certificates, and nothing else.
//!
//! ```text
//!  provisioning slot --> Tls (configuration, once) --> TlsStream::connect (a connection)
//!                          |- provider: one cipher suite, one group, one signature
//!                          '- verify:   who is a gateway
//! ```
//!
//! **A [`TlsStream`] exists only once the gateway has proved who it is**, so nothing can be written to anybody else.
//!
//! Memory: [`StreamBuffers`] from the caller; the heap holds rustls' own state, at most 32 KiB whatever the gateway sends
//! (`tests/end_to_end/memory.rs`).

mod config;
mod failure;
mod gateway_certificate;
pub mod provider;
mod stream;
mod verify;

pub use self::{
    config::{CHAIN_BYTES_MAX, ConfigError, Tls, TlsIdentity},
    failure::TlsFailure,
    gateway_certificate::{CertificateFacts, Malformed},
    provider::{Entropy, EntropyFailed, Provider, agree_on_envelope_key},
    stream::{HANDSHAKE_BYTES_MAX, RECEIVE_BYTES, StreamBuffers, TlsStream},
    verify::{Checks, Dates, GatewayVerifier, Refusal},
};
