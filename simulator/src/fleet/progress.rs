//! How the fleet is doing, for the story, the living line and the end of the run.

use std::sync::{Mutex, MutexGuard, PoisonError};

use fieldpost_firmware::AlarmId;
use fieldpost_protocol::{AlarmCause, Receipt};
use tokio::sync::Notify;

use crate::world::plane::Point;

/// Most different reasons for lost connections remembered for the report.
const REASONS_MAX: usize = 8;

/// An alarm that a device raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RaisedAlarm {
    /// The device's place in the fleet.
    pub device: usize,
    /// Its identity on the device.
    pub alarm: AlarmId,
    /// Why.
    pub cause: AlarmCause,
    /// When, in microseconds of the run.
    pub raised_us: u64,
    /// When its device heard that a force system has it.
    pub delivered_us: Option<u64>,
    /// When a person's acknowledgement was back on the device.
    pub seen_us: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct One {
    is_connected: bool,
    connections: u64,
    source_ended: bool,
    is_draining: bool,
    issued: u32,
    owed: u32,
    place: Option<Point>,
}

#[derive(Debug, Default)]
struct State {
    devices: Vec<One>,
    alarms: Vec<RaisedAlarm>,
    down_reasons: Vec<(String, u64)>,
}

/// Sums over the fleet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FleetCounts {
    /// Devices connected now.
    pub connected: usize,
    /// Devices that have been connected at least once.
    pub ever_connected: usize,
    /// Connections made: more than devices, because the radio loses some.
    pub connections: u64,
    /// Records issued.
    pub issued: u64,
    /// Records not stored yet.
    pub owed: u64,
    /// Devices whose source has come to its end.
    pub ended: usize,
    /// Devices that take no more readings.
    pub draining: usize,
}

/// Shared by all agents. Every method locks briefly.
#[derive(Debug)]
pub struct Progress {
    state: Mutex<State>,
    changed: Notify,
}

impl Progress {
    /// For a fleet of `count` devices.
    #[must_use]
    pub fn new(count: usize) -> Self {
        let state = State { devices: vec![One::default(); count], ..State::default() };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    /// Sums over the fleet.
    #[must_use]
    pub fn counts(&self) -> FleetCounts {
        let mut counts = FleetCounts::default();
        for one in &self.lock().devices {
            counts.connected += usize::from(one.is_connected);
            counts.ever_connected += usize::from(one.connections > 0);
            counts.connections += one.connections;
            counts.issued += u64::from(one.issued);
            counts.owed += u64::from(one.owed);
            counts.ended += usize::from(one.source_ended);
            counts.draining += usize::from(one.is_draining);
        }
        counts
    }

    /// Every alarm so far.
    #[must_use]
    pub fn alarms(&self) -> Vec<RaisedAlarm> {
        self.lock().alarms.clone()
    }

    /// Where every unit of the world is.
    #[must_use]
    pub fn places(&self) -> Vec<Option<Point>> {
        self.lock().devices.iter().map(|one| one.place).collect()
    }

    /// Why connections ended, with how often.
    #[must_use]
    pub fn down_reasons(&self) -> Vec<(String, u64)> {
        self.lock().down_reasons.clone()
    }

    /// Until `condition` holds. Looks again whenever something changed.
    pub async fn wait(&self, condition: impl Fn(&Self) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before looking, so that no change falls between.
            changed.as_mut().enable();
            if condition(self) {
                return;
            }
            changed.await;
        }
    }

    pub(super) fn connected(&self, device: usize) {
        self.update(device, |one| {
            one.is_connected = true;
            one.connections += 1;
        });
    }

    pub(super) fn disconnected(&self, device: usize) {
        self.update(device, |one| one.is_connected = false);
    }

    pub(super) fn source_ended(&self, device: usize) {
        self.update(device, |one| one.source_ended = true);
    }

    pub(super) fn draining(&self, device: usize) {
        self.update(device, |one| one.is_draining = true);
    }

    pub(super) fn moved(&self, device: usize, place: Option<Point>) {
        self.lock().devices[device].place = place;
    }

    /// Returns whether the numbers differ from the last.
    pub(super) fn outbox(&self, device: usize, issued: u32, owed: u32) -> bool {
        let mut state = self.lock();
        let one = &mut state.devices[device];
        let changed = (one.issued, one.owed) != (issued, owed);
        (one.issued, one.owed) = (issued, owed);
        drop(state);
        if changed {
            self.changed.notify_waiters();
        }
        changed
    }

    pub(super) fn alarm_raised(&self, device: usize, alarm: AlarmId, cause: AlarmCause, now_us: u64) {
        self.lock().alarms.push(RaisedAlarm {
            device,
            alarm,
            cause,
            raised_us: now_us,
            delivered_us: None,
            seen_us: None,
        });
        self.changed.notify_waiters();
    }

    pub(super) fn alarm_receipt(&self, device: usize, alarm: AlarmId, receipt: Receipt, now_us: u64) {
        let mut state = self.lock();
        let raised = state.alarms.iter_mut().find(|raised| raised.device == device && raised.alarm == alarm);
        if let Some(raised) = raised {
            match receipt {
                Receipt::Stored => {}
                Receipt::Delivered => _ = raised.delivered_us.get_or_insert(now_us),
                Receipt::Seen => _ = raised.seen_us.get_or_insert(now_us),
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }

    pub(super) fn noted_down(&self, reason: &str) {
        let mut state = self.lock();
        if let Some((_, count)) = state.down_reasons.iter_mut().find(|(known, _)| known == reason) {
            *count += 1;
        } else if state.down_reasons.len() < REASONS_MAX {
            state.down_reasons.push((reason.to_owned(), 1));
        }
    }

    fn update(&self, device: usize, change: impl FnOnce(&mut One)) {
        change(&mut self.lock().devices[device]);
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
