//! Battery: the seam to whatever gauge a board has, or to the supply voltage alone.

use fieldpost_protocol::Power;

use super::Fault;

/// What a gauge says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Charge {
    /// Charge in percent, 0 to 100.
    pub battery_pct: u8,
    /// How the device is powered, as far as the gauge knows.
    pub power: Power,
}

/// A battery gauge.
pub trait BatteryGauge {
    /// The charge now.
    ///
    /// # Errors
    /// [`Fault`]; the device then keeps what it was told last.
    fn read(&mut self) -> Result<Charge, Fault>;
}

/// Charge of one lithium-ion cell from its resting voltage, where there is no gauge: seven points, straight between them,
/// good to about 10 % of charge [typical LiCoO2 discharge curve at 0.2 C].
#[must_use]
pub fn lithium_pct(millivolts: u16) -> u8 {
    const CURVE: [(u16, u8); 7] =
        [(3300, 0), (3600, 10), (3700, 25), (3800, 50), (3900, 65), (4000, 80), (4180, 100)];
    let Some(above) = CURVE.iter().position(|(at_mv, _)| millivolts < *at_mv) else { return 100 };
    let Some(below) = above.checked_sub(1) else { return 0 };
    let ((low_mv, low_pct), (high_mv, high_pct)) = (CURVE[below], CURVE[above]);
    let share = u32::from(millivolts - low_mv) * u32::from(high_pct - low_pct) / u32::from(high_mv - low_mv);
    low_pct + u8::try_from(share).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charge_rises_with_voltage_from_empty_to_full() {
        assert_eq!(
            (lithium_pct(0), lithium_pct(3300), lithium_pct(4180), lithium_pct(u16::MAX)),
            (0, 0, 100, 100)
        );
        assert_eq!(lithium_pct(3750), 37);
        for millivolts in 0..5000 {
            assert!(lithium_pct(millivolts) <= lithium_pct(millivolts + 1));
        }
    }
}
