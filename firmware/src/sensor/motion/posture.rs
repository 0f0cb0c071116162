//! Lying without motion. Motion is the average of what is not gravity: a single knock is none, walking is plenty.

use super::gravity::{Gravity, Vector, length};
use crate::rules::Posture;

/// Squared cosines in 1/10,000: past 60 degrees is tilted, within 50 is upright; between them nothing changes.
const COS2_60: i64 = 2500;
const COS2_50: i64 = 4132;
/// Averages in mg. Breathing moves a chest by less than 20, the slowest walk by more than 150.
const STILL_MG_MAX: u32 = 60;
const MOVING_MG_MIN: u32 = 100;
/// Tilted and still for this long before it is said.
const SETTLE_MS: u64 = 2000;
/// Time constant of the average in ms.
const AVERAGE_MS: u32 = 1000;
/// A blow counts as this much at most, or one would look like a minute of motion.
const DYNAMIC_MG_MAX: u32 = 2000;
const SHIFT: u32 = 8;

#[derive(Debug, Clone, Default)]
pub(super) struct Still {
    /// Average in mg, times 2^SHIFT.
    average: u32,
    lying_since_ms: Option<u64>,
    is_down: bool,
}

impl Still {
    /// Stillness is counted anew: nobody saw what happened.
    pub(super) fn on_gap(&mut self) {
        self.lying_since_ms = None;
    }

    pub(super) fn push(
        &mut self,
        now_ms: u64,
        period_ms: u16,
        dynamic_mg: Vector,
        gravity: &Gravity,
    ) -> Option<Posture> {
        let dynamic = length(dynamic_mg).min(DYNAMIC_MG_MAX) << SHIFT;
        let keep_ms = AVERAGE_MS - u32::from(period_ms);
        self.average = (self.average * keep_ms / AVERAGE_MS) + dynamic * u32::from(period_ms) / AVERAGE_MS;
        let average_mg = self.average >> SHIFT;
        if self.is_down {
            let is_up = !gravity.is_tilted(COS2_50) || average_mg >= MOVING_MG_MIN;
            self.is_down = !is_up;
            self.lying_since_ms = None;
            return is_up.then_some(Posture::Up);
        }
        if !gravity.is_tilted(COS2_60) || average_mg > STILL_MG_MAX {
            self.lying_since_ms = None;
            return None;
        }
        let since_ms = *self.lying_since_ms.get_or_insert(now_ms);
        self.is_down = now_ms.saturating_sub(since_ms) >= SETTLE_MS;
        self.is_down.then_some(Posture::Down)
    }
}
