//! Weapons: drawn or holstered, armed, tested, used in training, fired.

use fieldpost_protocol::{EventCode, SensorEvent};

/// A function test of a CED shows an arc for 5 s; its own events come within this.
const TEST_MS: u64 = 10_000;
const TRAINING_MS: u64 = 900_000;
/// Weapons whose tests are followed. A test of another covers nothing.
const WEAPON_COUNT: usize = 4;

#[derive(Debug, Clone, Default)]
pub(super) struct Weapons {
    drawn_ms: Option<u64>,
    /// Until then a trigger or an arc of this weapon is a test or training.
    harmless_until_ms: [u64; WEAPON_COUNT],
}

impl Weapons {
    /// Follows an event; true: a CED was fired in earnest.
    pub(super) fn on_event(&mut self, now_ms: u64, event: &SensorEvent) -> bool {
        let harmless_until_ms = self.harmless_until_ms.get_mut(usize::from(event.index));
        match event.code {
            EventCode::CED_TRIGGER | EventCode::CED_ARC => {
                return harmless_until_ms.is_none_or(|until_ms| now_ms >= *until_ms);
            }
            EventCode::UNHOLSTERED => {
                self.drawn_ms = Some(now_ms);
                harmless_until_ms.into_iter().for_each(|until_ms| *until_ms = 0);
            }
            EventCode::HOLSTERED | EventCode::CED_SAFE => {
                harmless_until_ms.into_iter().for_each(|until_ms| *until_ms = 0);
            }
            EventCode::CED_TEST => {
                let until = now_ms + TEST_MS;
                harmless_until_ms.into_iter().for_each(|until_ms| *until_ms = until.max(*until_ms));
            }
            EventCode::CED_TRAINING => {
                harmless_until_ms.into_iter().for_each(|until_ms| *until_ms = now_ms + TRAINING_MS);
            }
            _ => {}
        }
        false
    }

    /// Whether a weapon was drawn so recently, holstered since or not.
    pub(super) fn drawn_within(&self, now_ms: u64, window_ms: u32) -> bool {
        self.drawn_ms.is_some_and(|drawn_ms| now_ms.saturating_sub(drawn_ms) <= u64::from(window_ms))
    }
}
