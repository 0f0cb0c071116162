//! Rigs: real faults against the real binary, and an honest count of what survived.

mod attacks;
mod backlog;
mod clocks;
mod cluster;
mod command;
mod consumer;
mod disk;
mod error;
mod faults;
mod full;
mod gateway;
mod jetstream_cluster;
mod kill;
mod load;
mod look;
mod nats;
mod network;
mod outage;
mod power;
mod sink;
mod sinks;

pub use attacks::{AttackPlan, AttackReport, attacks};
pub use backlog::{BacklogPlan, BacklogReport, backlog};
pub use clocks::{ClockReport, clock_jumps};
pub use command::{RigCommand, Verdict};
pub use error::RigError;
pub use faults::{Fault, FaultPlan, FaultReport, faults};
pub use full::{FullReport, full_disk};
pub use jetstream_cluster::{ClusterPlan, ClusterReport, jetstream_cluster};
pub use kill::{KillError, KillPlan, KillReport, kill_under_load};
pub use load::Account;
pub use look::{LookError, LookPlan, LookReport, kill_under_looks};
pub use network::{NetworkPlan, NetworkReport, bad_network};
pub use outage::{OutageError, OutagePlan, OutageReport, jetstream_outage};
pub use power::{PowerPlan, PowerReport, power_cuts};
pub use sinks::{SinkPlan, SinkReport, sinks};
