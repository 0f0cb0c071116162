//! What the wearer, or the caller, should know. Bounded: the oldest gives way and is counted. A caller with a log prints
//! every notice: each kind of bad input has one.

use fieldpost_protocol::{AlarmCause, Duty, Receipt, limits::TEXT_BYTES_MAX};

use crate::{
    clock::{Judgement, TimeSource},
    rules::AlarmId,
    sensor::{Fault, Sensor, gnss::GnssNews},
};

/// Notices that may wait for the caller.
const NOTICE_COUNT_MAX: usize = 16;

/// Something to show, sound or act on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Notice {
    /// An alarm comes at this time unless the wearer cancels: warn.
    PreAlarm {
        /// Why.
        cause: AlarmCause,
        /// Monotonic time in ms.
        alarm_at_ms: u64,
        /// The device must not sound, light or vibrate: the wearer has called silently.
        silent: bool,
    },
    /// No pre-alarm runs any more, and no alarm came of it.
    PreAlarmEnded,
    /// An alarm has an identity and is in the outbox.
    AlarmRaised {
        /// Which.
        alarm: AlarmId,
        /// Why.
        cause: AlarmCause,
        /// The device must not sound, light or vibrate.
        silent: bool,
    },
    /// The wearer's cancellation is in the outbox.
    AlarmCancelled {
        /// Which.
        alarm: AlarmId,
    },
    /// An alarm came a step further. Each step is said once, never an earlier one after a later one.
    AlarmReceipt {
        /// Which.
        alarm: AlarmId,
        /// How far it is now.
        receipt: Receipt,
    },
    /// A text from the control room for the wearer.
    Show(heapless::String<TEXT_BYTES_MAX>),
    /// The duty state was changed by command.
    DutyChanged(Duty),
    /// A command came too late and was not carried out.
    CommandExpired {
        /// Its id.
        id: u32,
    },
    /// A command was carried out before: nothing is done.
    CommandRepeated {
        /// Its id.
        id: u32,
    },
    /// A downlink frame cannot be read: nothing is done.
    DownlinkMalformed,
    /// The receiver is silent, back, or jumps.
    Gnss(GnssNews),
    /// A sensor keeps failing.
    SensorFailing {
        /// Which.
        sensor: Sensor,
        /// How.
        fault: Fault,
    },
    /// A sensor works again.
    SensorBack {
        /// Which.
        sensor: Sensor,
    },
    /// What the clock makes of a source has changed.
    Time {
        /// Whose time.
        source: TimeSource,
        /// What became of it.
        judgement: Judgement,
    },
}

/// Waiting notices, oldest first.
#[derive(Debug, Clone, Default)]
pub(super) struct Notices {
    waiting: heapless::Deque<Notice, NOTICE_COUNT_MAX>,
    dropped: u32,
}

impl Notices {
    pub(super) fn add(&mut self, notice: Notice) {
        if self.waiting.is_full() {
            self.waiting.pop_front();
            self.dropped = self.dropped.wrapping_add(1);
        }
        self.waiting.push_back(notice).expect("has room: the oldest gave way");
    }

    /// Adds what is only for the log: it gives way itself when many wait, so that no flood of bad input pushes out what
    /// the wearer must know.
    pub(super) fn add_minor(&mut self, notice: Notice) {
        if self.waiting.len() < NOTICE_COUNT_MAX / 2 {
            self.add(notice);
        } else {
            self.dropped = self.dropped.wrapping_add(1);
        }
    }

    pub(super) fn take(&mut self) -> Option<Notice> {
        self.waiting.pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn dropped(&self) -> u32 {
        self.dropped
    }
}
