//! The alarm queue: who needs help, and who has taken it.
//!
//! **Only a person takes an alarm out of the unacknowledged state.** Nothing expires; a wearer's cancel is a mark. The
//! queue is a fold of committed records, in one direction: an operator's acknowledgement is itself a record, appended,
//! committed, and only then folded. So the first committed acknowledgement owns the alarm, however many were sent.
//!
//! ```text
//! SPOOL -- alarm, cancel, acknowledged, delivered --> Book --> page (SSE), snapshot file
//!   ^                                                  |
//!   |---- Acknowledged <-- operator                    '-- DELIVERED, SEEN --> wearer (receipts)
//!   |---- Delivered <-- forwarder: a force system has it
//!   '---- Verdict <-- the rules, for the history
//! ```
//!
//! Bounds: [`ALARMS_MAX`] unacknowledged alarms of 400 bytes, and as many in all with [`TAKEN_MIN`] on top: over that the
//! oldest *acknowledged* one leaves the page (the spool keeps it), so an acknowledged one is never in the way. With
//! [`ALARMS_MAX`] unacknowledged, or [`UNIT_OPEN_MAX`] of its unit, a new one waits, the page says how many do, and **the
//! one that waited longest is shown as soon as somebody acknowledges**. [`WAITING_MAX`] wait, [`UNIT_OPEN_MAX`] of a unit;
//! beyond that they are only counted, and in the spool. An alarm that leaves the page leaves the receipts that its wearer has
//! not confirmed behind, [`OWED_MAX`] in all.

mod action;
mod ahead;
mod alarm;
mod book;
mod clock;
mod event;
mod figures;
mod grade;
mod id;
mod incident;
mod judge;
mod row;
pub mod rules;
mod rules_record;
pub mod signals;
pub mod snapshot;
mod verdict;

pub(crate) use action::Delivered;
pub use action::{Acknowledgement, Action, Confirmed, Refusal, SHELF_MINUTES_MAX, Said, TEXT_BYTES_MAX};
pub use ahead::{Ahead, Deed, Shown};
pub use alarm::{
    Acceptance, Alarm, AlarmState, Cause, Closing, Escalation, FACTS_MAX, Fact, Origin, Outcome, Owed, Owner,
    ReceiptState, RuleRef, Rung, Shelf, Standing,
};
pub use book::{Book, Kept};
pub use clock::{ClockSaid, Time, Watch};
pub use event::{EVENTS_MAX, Event, EventKind, Story};
pub use figures::{FIGURES_MAX, Figures, Performance, RANGE_MS_MAX};
pub use grade::{Grade, Queue};
pub use id::{AlarmId, AlarmIdError};
pub use judge::{LATE_MS, Observed};
pub use row::{AlarmRow, LonLat};
pub use rules_record::RulesSaid;
pub use verdict::{Finding, UNSAID_MAX, Verdict};

/// Most alarms kept: one of every worn device of the largest force, at once, is 10,000; 16,384 x 400 bytes = 6.5 MB.
pub const ALARMS_MAX: usize = 16_384;

/// Most unacknowledged alarms of one unit: one more says nothing new, and a device gone wild must not fill the queue so
/// that somebody else's first alarm is not shown.
pub const UNIT_OPEN_MAX: usize = 64;

/// Most alarms that wait for room: as many again.
pub const WAITING_MAX: usize = ALARMS_MAX;

/// Most receipts owed for alarms that have left the queue: 64 of 100 devices that never come back, and 60,000 that will.
pub const OWED_MAX: usize = 4 * ALARMS_MAX;

/// So many alarms acknowledged last stay, however full the queue is: their operators see that they have them.
pub const TAKEN_MIN: usize = 64;

/// Most closed alarms whose story can still be asked for here: days of a busy room. The spool and the history keep them.
pub const CLOSED_MAX: usize = 512;

/// Metres between two places, (longitude, latitude) in micro-degrees. Good to a part in a thousand over some kilometres, which is
/// as far as any rule looks.
#[must_use]
pub fn distance_m(a_udeg: (i32, i32), b_udeg: (i32, i32)) -> f64 {
    /// Metres of one micro-degree of latitude on a sphere of 6,371 km.
    const UDEG_M: f64 = 0.111_195;
    let mean_latitude = (f64::from(a_udeg.1) + f64::from(b_udeg.1)) / 2e6;
    let north = (f64::from(a_udeg.1) - f64::from(b_udeg.1)) * UDEG_M;
    let east = (f64::from(a_udeg.0) - f64::from(b_udeg.0)) * UDEG_M * mean_latitude.to_radians().cos();
    north.hypot(east)
}

#[cfg(test)]
mod tests;
