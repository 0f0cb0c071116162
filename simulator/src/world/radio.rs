//! Where and when a device cannot be heard: places without signal, and lost connections.

use super::dice::Dice;

/// Mean time between lost connections, in seconds.
const LOST_EVERY_S: f64 = 300.0;

/// One device's luck with the mobile network.
#[derive(Debug, Clone)]
pub struct Radio {
    lost_left_s: f64,
    /// Whether it works, where that is no luck any more.
    held: Option<bool>,
}

impl Radio {
    pub(super) fn new(_: &mut Dice) -> Self {
        Self { lost_left_s: 0.0, held: None }
    }

    /// From now on it always works, or never.
    pub(super) fn hold(&mut self, works: bool) {
        self.held = Some(works);
    }

    /// A second passes where there is `signal` or not: whether the gateway can be reached.
    pub(super) fn step(&mut self, signal: bool, dice: &mut Dice) -> bool {
        self.lost_left_s -= 1.0;
        if dice.happens(1.0 / LOST_EVERY_S) {
            self.lost_left_s = dice.between(4.0, 18.0);
        }
        self.held.unwrap_or(signal && self.lost_left_s <= 0.0)
    }
}
