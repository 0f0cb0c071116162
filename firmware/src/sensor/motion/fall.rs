//! A fall: a blow between standing and lying. Slumping without a blow is left to the posture, a jump ends upright.

use super::{
    super::accelerometer::Sample,
    gravity::{Gravity, squared, vector_of},
};

const BLOW_MG_MIN: i64 = 2000;
/// Lying within this long after the blow, in ms.
const LYING_MS_MAX: u64 = 3000;
/// Upright at most this long before the blow, in ms.
const UPRIGHT_MS_MAX: u64 = 2000;
/// Squared cosines in 1/10,000: upright within 45 degrees, lying past 60.
const COS2_45: i64 = 5000;
const COS2_60: i64 = 2500;

#[derive(Debug, Clone, Default)]
pub(super) struct Fall {
    upright_ms: Option<u64>,
    /// A blow to somebody upright, not yet followed by lying.
    blow_ms: Option<u64>,
}

impl Fall {
    /// Takes the next sample; true: this completes a fall.
    pub(super) fn push(&mut self, now_ms: u64, sample: Sample, gravity: &Gravity) -> bool {
        if !gravity.is_tilted(COS2_45) {
            self.upright_ms = Some(now_ms);
        }
        let is_recent =
            |at_ms: Option<u64>, ms_max| at_ms.is_some_and(|at_ms| now_ms.saturating_sub(at_ms) <= ms_max);
        if squared(vector_of(sample)) >= BLOW_MG_MIN * BLOW_MG_MIN
            && is_recent(self.upright_ms, UPRIGHT_MS_MAX)
        {
            self.blow_ms = Some(now_ms);
        }
        let is_fall = is_recent(self.blow_ms, LYING_MS_MAX) && gravity.is_tilted(COS2_60);
        if is_fall {
            self.blow_ms = None;
        }
        is_fall
    }
}
