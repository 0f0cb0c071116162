//! The gateway.

pub mod login;
pub mod metrics;
