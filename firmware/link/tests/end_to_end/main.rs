//! The link against the real gateway, and against gateways that are none.

mod body;
mod cost;
mod delivery;
mod gateway;
mod hostile;
mod memory;
mod rogue;
mod stream;
mod wire;
