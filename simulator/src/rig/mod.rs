//! Rigs: real faults against the real binary, and an honest count of what survived.

mod backlog;
mod command;
mod kill;
mod outage;

pub use backlog::{BacklogPlan, BacklogReport, backlog};
pub use command::{RigCommand, Verdict};
pub use kill::{KillError, KillPlan, KillReport, kill_under_load};
pub use outage::{OutageError, OutagePlan, OutageReport, jetstream_outage};
