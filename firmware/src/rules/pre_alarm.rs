//! Running pre-alarms: at most one of each cause, so the list has an end.

use fieldpost_protocol::AlarmCause;

/// Officer down, weapon and fall, crash, check-in.
const CAUSE_COUNT: usize = 4;

#[derive(Debug, Clone, Copy)]
struct PreAlarm {
    cause: AlarmCause,
    alarm_at_ms: u64,
}

#[derive(Debug, Clone, Default)]
pub(super) struct PreAlarms {
    running: heapless::Vec<PreAlarm, CAUSE_COUNT>,
}

impl PreAlarms {
    /// Begins one; false if one of this cause runs already, whose time stands.
    pub(super) fn begin(&mut self, cause: AlarmCause, alarm_at_ms: u64) -> bool {
        if self.running.iter().any(|running| running.cause == cause) {
            return false;
        }
        self.running.push(PreAlarm { cause, alarm_at_ms }).expect("four causes have a pre-alarm");
        true
    }

    /// Ends one; true if none runs any more because of it.
    pub(super) fn end(&mut self, cause: AlarmCause) -> bool {
        let before = self.running.len();
        self.running.retain(|running| running.cause != cause);
        self.running.is_empty() && before > 0
    }

    /// Ends all; true if any ran.
    pub(super) fn clear(&mut self) -> bool {
        let had_any = !self.running.is_empty();
        self.running.clear();
        had_any
    }

    /// Takes one whose time has come.
    pub(super) fn take_due(&mut self, now_ms: u64) -> Option<AlarmCause> {
        let place = self.running.iter().position(|running| now_ms >= running.alarm_at_ms)?;
        Some(self.running.remove(place).cause)
    }

    pub(super) fn due_at(&self) -> Option<u64> {
        self.running.iter().map(|running| running.alarm_at_ms).min()
    }
}
