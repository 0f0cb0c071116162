//! What a device has said of its unit: the newest of each kind, by the device's own counters ([`super::order`]).

use fieldpost_protocol::{Duty, Lane, Mode, Position, Status};

use super::order::{JudgedTime, Order};
use super::told::Told;

/// Where a unit was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The position as decoded.
    pub position: Position,
    /// When, by the device.
    pub time: JudgedTime,
    /// When it reached the gateway, Unix ms.
    pub received_at_ms: u64,
    /// It came by the backlog lane.
    pub history: bool,
}

/// What a unit's device has said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Mode of its newest record.
    pub mode: Mode,
    /// What the officer is doing, once a status has said so.
    pub duty: Option<Duty>,
    /// Battery in percent, if known.
    pub battery_pct: Option<u8>,
    /// Where it is; `None` while the duty gate hides it.
    pub place: Option<Place>,
    /// When the newest report was made, Unix ms: receipt of live ones, device time of history.
    pub last_report_ms: u64,
    newest: Option<Order>,
    newest_place: Option<Order>,
    newest_status: Option<Order>,
}

impl Report {
    /// Nothing yet, in this mode.
    pub(super) fn new(mode: Mode) -> Self {
        Self {
            mode,
            duty: None,
            battery_pct: None,
            place: None,
            last_report_ms: 0,
            newest: None,
            newest_place: None,
            newest_status: None,
        }
    }

    /// Whether the duty gate hides its position.
    #[must_use]
    pub fn is_gated(&self) -> bool {
        self.duty.is_some_and(|duty| !duty.permits_position())
    }

    /// Whether the newest record is of the same boot as that at `order`.
    pub(super) fn is_of_boot(&self, order: Order) -> bool {
        self.newest.is_some_and(|newest| newest.is_of_boot_of(order))
    }

    /// Whatever the record says, the device has reported.
    pub(super) fn hear(&mut self, told: &Told<'_>) {
        let reported_ms = match told.lane {
            // When history arrived says nothing of how fresh it is.
            Lane::Backlog if self.last_report_ms > 0 => {
                told.time.believed_ms(told.received_at_ms).unwrap_or(0)
            }
            Lane::Backlog => told.time.believed_ms(told.received_at_ms).unwrap_or(told.received_at_ms),
            _ => told.received_at_ms,
        };
        self.last_report_ms = self.last_report_ms.max(reported_ms);
        if self.newest.is_none_or(|newest| told.order.is_after(newest)) {
            self.newest = Some(told.order);
            self.mode = told.head.mode;
        }
    }

    /// It was at `position`, at `time`.
    pub(super) fn stand(&mut self, told: &Told<'_>, position: Position, time: JudgedTime) {
        if self.newest_place.is_some_and(|newest| !told.order.is_after(newest)) {
            return;
        }
        self.newest_place = Some(told.order);
        if self.is_gated() {
            return;
        }
        self.place = Some(Place {
            position,
            time,
            received_at_ms: told.received_at_ms,
            history: told.lane == Lane::Backlog,
        });
    }

    /// It said how it is.
    pub(super) fn say(&mut self, told: &Told<'_>, status: Status) {
        if self.newest_status.is_some_and(|newest| !told.order.is_after(newest)) {
            return;
        }
        self.newest_status = Some(told.order);
        self.duty = Some(status.duty);
        self.battery_pct = (status.battery_pct <= 100).then_some(status.battery_pct);
        if self.is_gated() {
            self.place = None;
            // What was true before the gate closed must not come out when it opens again.
            if self.newest_place.is_none_or(|newest| told.order.is_after(newest)) {
                self.newest_place = Some(told.order);
            }
        }
    }
}
