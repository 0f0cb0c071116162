//! From a rule's demand to an alarm in the outbox, and back.
//!
//! **An alarm is never given up**: what finds no room is tried again every second, one of each cause, until it has an
//! identity.

use fieldpost_protocol::{Alarm, AlarmCancel, AlarmCause, CancelReason, Class, Position, ReportReason};

use super::{Device, Notice};
use crate::{
    outbox::Draught,
    rules::{Active, AlarmId, Demand, is_emergency},
    settings::GatePolicy,
    storage::{ENTRY_BYTES_MAX, Storage},
};

/// An alarm that found no room is tried again this often.
const RETRY_MS: u64 = 1000;
/// Every cause that a rule can raise, and one to spare.
const CAUSE_COUNT: usize = 8;

#[derive(Debug, Clone, Copy)]
struct Unissued {
    cause: AlarmCause,
    silent: bool,
    retry_at_ms: u64,
}

/// Alarms without an identity, one of each cause.
#[derive(Debug, Clone, Default)]
pub(super) struct UnissuedAlarms {
    waiting: heapless::Vec<Unissued, CAUSE_COUNT>,
}

impl UnissuedAlarms {
    /// When the next is to be tried again.
    pub(super) fn due_at(&self) -> Option<u64> {
        self.waiting.iter().map(|unissued| unissued.retry_at_ms).min()
    }

    fn due(&self, now_ms: u64) -> Option<Unissued> {
        self.waiting.iter().copied().find(|unissued| now_ms >= unissued.retry_at_ms)
    }

    /// Keeps an alarm.
    fn keep(&mut self, cause: AlarmCause, silent: bool, retry_at_ms: u64) {
        if let Some(unissued) = self.waiting.iter_mut().find(|unissued| unissued.cause == cause) {
            *unissued = Unissued { silent, retry_at_ms, ..*unissued };
        } else {
            let unissued = Unissued { cause, silent, retry_at_ms };
            self.waiting.push(unissued).expect("seven causes are raised, and there is room for eight");
        }
    }

    /// Once silent it stays silent: a wearer who is watched must not be betrayed by a second call.
    fn is_silent(&self, cause: AlarmCause) -> bool {
        self.waiting.iter().any(|unissued| unissued.cause == cause && unissued.silent)
    }

    /// A silent call waits for its room. Tampering is always silent and no call.
    fn any_silent_call(&self) -> bool {
        self.waiting.iter().any(|unissued| unissued.silent && is_emergency(unissued.cause))
    }

    fn remove(&mut self, cause: AlarmCause) {
        self.waiting.retain(|unissued| unissued.cause != cause);
    }
}

impl<S: Storage> Device<S> {
    /// What time has brought to alarms and rules.
    pub(super) fn step_alarms(&mut self, now_ms: u64) {
        while let Some(unissued) = self.unissued.due(now_ms) {
            self.raise(now_ms, unissued.cause, unissued.silent);
        }
        while let Some(demand) = self.rules.step(now_ms) {
            self.obey(now_ms, Some(demand), false);
        }
    }

    pub(super) fn obey(&mut self, now_ms: u64, demand: Option<Demand>, silent: bool) {
        match demand {
            None => {}
            Some(Demand::PreAlarm { cause, alarm_at_ms }) => {
                let silent = self.silence_lasts();
                self.notices.add(Notice::PreAlarm { cause, alarm_at_ms, silent });
            }
            Some(Demand::PreAlarmEnded) => self.notices.add(Notice::PreAlarmEnded),
            Some(Demand::Raise(cause)) => self.raise(now_ms, cause, silent),
            Some(Demand::Cancel(alarm)) => self.cancel_all(now_ms, alarm),
        }
    }

    /// The wearer has called silently, whether the call has found room yet or not.
    fn silence_lasts(&self) -> bool {
        self.rules.silence_lasts() || self.unissued.any_silent_call()
    }

    /// Issues an alarm, or keeps trying. Whoever tampers with a device is not told that it noticed.
    fn raise(&mut self, now_ms: u64, cause: AlarmCause, silent: bool) {
        let silent =
            silent || cause == AlarmCause::TAMPER || self.unissued.is_silent(cause) || self.silence_lasts();
        let Some(alarm) = self.try_raise(now_ms, cause, silent) else {
            self.unissued.keep(cause, silent, now_ms + RETRY_MS);
            return;
        };
        self.unissued.remove(cause);
        let prints = self.outbox.alarm_prints(alarm.boot, alarm.seq);
        self.heard.follow(alarm, prints);
        self.rules.note_raised(Active { id: alarm, cause, silent, prints, raised_ms: Some(now_ms) });
        self.remember_alarms();
        if is_emergency(cause) {
            self.sampler.begin_emergency(now_ms);
            self.settle_gate(now_ms);
        }
        self.uplink.hurry(now_ms);
        self.notices.add(Notice::AlarmRaised { alarm, cause, silent });
    }

    fn try_raise(&mut self, now_ms: u64, cause: AlarmCause, silent: bool) -> Option<AlarmId> {
        let emergency_opens = self.settings.gate == GatePolicy::EmergencyOpens && is_emergency(cause);
        let may_say = self.duty().permits_position() || emergency_opens;
        let last_fix = self.last_fix.filter(|_| may_say);
        let alarm = Alarm {
            cause,
            silent,
            position: last_fix.map(|fix| Position { reason: ReportReason::EMERGENCY, ..fix.position }),
            position_age_s: last_fix
                .map_or(0, |fix| u16::try_from(now_ms.saturating_sub(fix.now_ms) / 1000).unwrap_or(u16::MAX)),
        };
        let mut buffer = [0; ENTRY_BYTES_MAX];
        let body = alarm.encode(&mut buffer).ok()?;
        let draught = Draught { class: Class::ALARM, stamp: self.clock.stamp(now_ms), body };
        let seq = self.outbox.issue(now_ms, &draught).ok()?;
        Some(AlarmId { boot: self.outbox.boot(), seq })
    }

    /// Takes back every active alarm, the newest first.
    fn cancel_all(&mut self, now_ms: u64, newest: AlarmId) {
        let mut next = Some(newest);
        while let Some(alarm) = next {
            let cancel = AlarmCancel { boot: alarm.boot, seq: alarm.seq, reason: CancelReason::WEARER };
            if !self.issue_body(now_ms, Class::ALARM_CANCEL, |buffer| cancel.encode(buffer).ok()) {
                self.remember_alarms();
                return;
            }
            self.rules.note_cancelled(alarm);
            self.notices.add(Notice::AlarmCancelled { alarm });
            next = match self.rules.newest() {
                Some(Demand::Cancel(alarm)) => Some(alarm),
                _ => None,
            };
        }
        self.end_emergency(now_ms);
        self.uplink.hurry(now_ms);
    }

    /// The device was put away.
    pub(super) fn forget_alarms(&mut self, now_ms: u64) {
        self.rules.forget_active();
        self.end_emergency(now_ms);
    }

    fn end_emergency(&mut self, now_ms: u64) {
        self.remember_alarms();
        self.sampler.end_emergency();
        self.settle_gate(now_ms);
    }

    fn remember_alarms(&mut self) {
        let active = self.rules.active().clone();
        self.remember(|remembered| remembered.active = active);
    }
}
