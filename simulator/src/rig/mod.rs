//! Rigs: real faults against the real binary, and an honest count of what survived.

mod kill;

pub use kill::{KillError, KillPlan, KillReport, kill_under_load};
