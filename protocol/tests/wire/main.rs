//! Claims about the wire: golden vectors, round trips, bounds, sizes, and that no bytes can panic a decoder.

mod auth;
mod bounds;
mod document;
mod golden;
mod round_trip;
mod samples;
mod sizes;
