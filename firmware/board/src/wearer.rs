//! The wearer's light: on while an alarm is about to go out, and for a while when the control room has SEEN one.
//!
//! **A silent alarm never lights it**: whoever threatens the wearer must not see it.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use embassy_time::Instant;
use fieldpost_firmware::{AlarmId, Notice};
use fieldpost_protocol::Receipt;

/// How long SEEN lights, in ms.
const SEEN_MS: u32 = 3000;

static IS_WARNING: AtomicBool = AtomicBool::new(false);
/// Milliseconds since start; 0 before the first SEEN.
static SEEN_UNTIL_MS: AtomicU32 = AtomicU32::new(0);

/// Remembers which alarm is silent; for the task of the device.
#[derive(Debug, Default)]
pub(crate) struct Wearer {
    /// The last one. An older one that is SEEN late lights: it is no emergency any more.
    silent: Option<AlarmId>,
}

impl Wearer {
    /// Shows what the wearer may see of it.
    pub(crate) fn show(&mut self, notice: &Notice) {
        match notice {
            Notice::PreAlarm { silent: false, .. } => IS_WARNING.store(true, Ordering::Relaxed),
            Notice::PreAlarmEnded => IS_WARNING.store(false, Ordering::Relaxed),
            Notice::AlarmRaised { alarm, silent, .. } => {
                IS_WARNING.store(false, Ordering::Relaxed);
                if *silent {
                    self.silent = Some(*alarm);
                }
            }
            Notice::AlarmReceipt { alarm, receipt: Receipt::Seen } if self.silent != Some(*alarm) => {
                SEEN_UNTIL_MS.store(now_ms().saturating_add(SEEN_MS), Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

/// Whether the light should be on.
pub(crate) fn is_lit() -> bool {
    IS_WARNING.load(Ordering::Relaxed) || now_ms() < SEEN_UNTIL_MS.load(Ordering::Relaxed)
}

/// Lasts 49 days; then SEEN does not light until the next start.
fn now_ms() -> u32 {
    u32::try_from(Instant::now().as_millis()).unwrap_or(u32::MAX)
}
