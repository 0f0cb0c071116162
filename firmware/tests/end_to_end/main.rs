//! Claims about the device logic, on the host, under virtual time.
#![allow(
    clippy::unwrap_used,
    reason = "tests state their expectations with unwrap; clippy knows only test functions"
)]

mod bench;
mod logs;
