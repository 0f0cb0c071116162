//! The wearer's light: on while an alarm is about to go out, and for a while when the control room has SEEN one.
//!
//! **A silent alarm never lights it**, however late it is SEEN: whoever threatens the wearer must not see it. So an alarm lights
//! only if it is known to be none: raised in this life, after the last silent one.

use core::cell::Cell;

use critical_section::Mutex;
use embassy_time::{Duration, Instant};
use fieldpost_firmware::{AlarmId, Notice};
use fieldpost_protocol::Receipt;

/// How long SEEN lights.
const SEEN: Duration = Duration::from_secs(3);

#[derive(Clone, Copy)]
struct Light {
    is_warning: bool,
    until: Instant,
}

/// Set by the device's task, read by the one of the sensors' bus.
static LIGHT: Mutex<Cell<Light>> = Mutex::new(Cell::new(Light { is_warning: false, until: Instant::MIN }));

/// Decides what lights; for the task of the device.
#[derive(Debug, Default)]
pub(crate) struct Wearer {
    /// The last alarm of this life.
    raised: Option<AlarmId>,
    /// The last silent one.
    silent: Option<AlarmId>,
}

impl Wearer {
    /// Shows what the wearer may see of it.
    pub(crate) fn show(&mut self, notice: &Notice) {
        match notice {
            Notice::PreAlarm { silent: false, .. } => light(|light| light.is_warning = true),
            Notice::PreAlarmEnded => light(|light| light.is_warning = false),
            Notice::AlarmRaised { alarm, silent, .. } => {
                light(|light| light.is_warning = false);
                self.raised = Some(*alarm);
                if *silent {
                    self.silent = Some(*alarm);
                }
            }
            Notice::AlarmReceipt { alarm, receipt: Receipt::Seen } if self.may_light(*alarm) => {
                light(|light| light.until = Instant::now() + SEEN);
            }
            _ => {}
        }
    }

    fn may_light(&self, alarm: AlarmId) -> bool {
        let is_of_this_life = self.raised.is_some_and(|raised| raised.boot == alarm.boot);
        is_of_this_life && self.silent.is_none_or(|silent| alarm.seq.0 > silent.seq.0)
    }
}

fn light(change: impl FnOnce(&mut Light)) {
    critical_section::with(|cs| {
        let cell = LIGHT.borrow(cs);
        let mut light = cell.get();
        change(&mut light);
        cell.set(light);
    });
}

/// Whether the light should be on.
pub(crate) fn is_lit() -> bool {
    let light = critical_section::with(|cs| LIGHT.borrow(cs).get());
    light.is_warning || Instant::now() < light.until
}
