//! Where a unit stood at one time: what the live page would show, had it known then all that is known now.
//!
//! **The newest row of the time is the one that counts, and the duty gate hides what came before it.** A live row is never dated
//! far from its receipt ([`super::row`]), so no device's clock can freeze or rewind a replay. Rows whose time nobody knows
//! tell nothing about a time.

use fieldpost_protocol::{Duty, Mode};

use super::row::{Row, Said};
use crate::live::unit::{PERIOD_GATED_MS, PERIOD_ON_DUTY_MS, STALE_FACTOR, UnitId};

/// A unit at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Which.
    pub unit: UnitId,
    /// The time, Unix ms.
    pub at_ms: u64,
    /// Its newest position.
    place: Option<Row>,
    /// Its newest position among those that had come, by another lane than the backlog.
    shown: Option<Row>,
    status: Option<Row>,
    /// Newest status that hides positions.
    gate: Option<Row>,
    newest: Option<Row>,
}

/// By time first, so that what lies in an earlier hour need not be read.
fn is_newer(row: &Row, than: &Row) -> bool {
    row.key() > than.key()
}

fn take_if_newer(known: &mut Option<Row>, row: &Row) {
    if known.as_ref().is_none_or(|known| is_newer(row, known)) {
        *known = Some(row.clone());
    }
}

impl Standing {
    /// Nothing is known of `unit` yet.
    #[must_use]
    pub fn new(unit: UnitId, at_ms: u64) -> Self {
        Self { unit, at_ms, place: None, shown: None, status: None, gate: None, newest: None }
    }

    /// Takes a row into account, in any order; those after the time, or of no known time, say nothing.
    pub fn fold(&mut self, row: &Row) {
        if row.at_ms > self.at_ms || row.is_timeless() {
            return;
        }
        match &row.said {
            Said::Position(_) => {
                take_if_newer(&mut self.place, row);
                if !row.is_backlog && row.received_at_ms <= self.at_ms {
                    take_if_newer(&mut self.shown, row);
                }
            }
            Said::Status { duty, .. } => {
                take_if_newer(&mut self.status, row);
                if !duty.permits_position() {
                    take_if_newer(&mut self.gate, row);
                }
            }
            Said::Alarm(_) => return,
        }
        take_if_newer(&mut self.newest, row);
    }

    /// Moves on to a later time; rows in between have to be folded after it.
    pub fn move_to(&mut self, at_ms: u64) {
        self.at_ms = self.at_ms.max(at_ms);
    }

    /// Whether rows from before all that were folded can change nothing any more.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.status.is_some() && (self.shown.is_some() || self.is_gated())
    }

    /// Whether anything is known of it.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.newest.is_some()
    }

    fn open<'a>(&self, place: Option<&'a Row>) -> Option<&'a Row> {
        place.filter(|place| self.gate.as_ref().is_none_or(|gate| is_newer(place, gate)))
    }

    /// The row of its position, by all that is known now; `None` while the duty gate hides it.
    #[must_use]
    pub fn place(&self) -> Option<&Row> {
        self.open(self.place.as_ref())
    }

    /// The row of the position that the page showed at the time.
    #[must_use]
    pub fn shown(&self) -> Option<&Row> {
        self.open(self.shown.as_ref())
    }

    /// What the officer was doing.
    #[must_use]
    pub fn duty(&self) -> Option<Duty> {
        match self.status.as_ref()?.said {
            Said::Status { duty, .. } => Some(duty),
            _ => None,
        }
    }

    /// Battery in percent, if known.
    #[must_use]
    pub fn battery_pct(&self) -> Option<u8> {
        match self.status.as_ref()?.said {
            Said::Status { battery_pct, .. } => Some(battery_pct).filter(|battery| *battery <= 100),
            _ => None,
        }
    }

    /// Mode of its newest row.
    #[must_use]
    pub fn mode(&self) -> Option<Mode> {
        self.newest.as_ref().map(|row| row.mode)
    }

    /// When its newest row was true, Unix ms; 0 if there is none.
    #[must_use]
    pub fn last_report_ms(&self) -> u64 {
        self.newest.as_ref().map_or(0, |row| row.at_ms)
    }

    /// Whether the duty gate hides positions.
    #[must_use]
    pub fn is_gated(&self) -> bool {
        self.duty().is_some_and(|duty| !duty.permits_position())
    }

    /// Whether its newest row was older than its expected period allows.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        let period_ms = if self.is_gated() { PERIOD_GATED_MS } else { PERIOD_ON_DUTY_MS };
        self.at_ms.saturating_sub(self.last_report_ms()) > STALE_FACTOR * period_ms
    }
}
