//! R2: how long the wearer has been down.

/// The wearer's posture over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watch {
    Up,
    Down {
        since_ms: u64,
    },
    /// The pre-alarm began, or the wearer answered: quiet until upright again.
    Answered,
}

impl Watch {
    pub(super) fn on_down(&mut self, now_ms: u64) {
        if *self == Self::Up {
            *self = Self::Down { since_ms: now_ms };
        }
    }

    /// Somebody acted: what is known need not be inferred.
    pub(super) fn answer(&mut self) {
        if *self != Self::Up {
            *self = Self::Answered;
        }
    }

    pub(super) fn due_at(self, down_ms_min: u32) -> Option<u64> {
        match self {
            Self::Down { since_ms } => Some(since_ms + u64::from(down_ms_min)),
            Self::Up | Self::Answered => None,
        }
    }

    pub(super) fn is_due(self, now_ms: u64, down_ms_min: u32) -> bool {
        self.due_at(down_ms_min).is_some_and(|at_ms| now_ms >= at_ms)
    }
}
