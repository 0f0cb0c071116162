//! What three axes of acceleration mean: lying still, a fall, an impact, a rollover. Integers only.
//!
//! ```text
//!  sample -> gravity (slow part) -+-> posture: tilt > 60 deg and no motion
//!                                 +-> fall: impact, then tilt
//!                                 '-> crash (vehicle): peak and change of velocity in 120 ms, roll > 60 deg
//! ```
//!
//! | says | when |
//! |---|---|
//! | down | tilted by more than 60 deg and without motion for 2 s |
//! | up | upright within 50 deg, or moving |
//! | fall | 2 g or more, then tilted by more than 60 deg within 3 s of it, having been upright in the 2 s before |
//! | impact, vehicle only | 1.5 g or more; major with 2.5 g and 7 km/h in 120 ms; severe with 6 g or 25 km/h |
//! | rollover, vehicle only | rolled by more than 60 deg for 1 s |
//!
//! Thresholds of crash and tilt are those of the field's devices; severe is our own: about where airbags fire.
//! **A gap in the samples never says down.** What of this is an alarm, [`crate::rules`] decides.

mod crash;
mod fall;
mod gravity;
mod posture;

use self::{crash::Crash, fall::Fall, gravity::Gravity, posture::Still};
use super::accelerometer::Sample;
use crate::rules::Posture;

/// How the device sits, and on what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct MotionSettings {
    /// What the accelerometer reads at rest when the wearer stands upright, or the vehicle on its wheels: which axis is
    /// up. Any length but 0.
    pub up_mg: [i16; 3],
    /// Fixed in a vehicle: impacts and rollover are looked for instead of falls and postures.
    pub is_in_vehicle: bool,
}

impl MotionSettings {
    /// On a chest: y is up.
    pub const BODY_WORN: Self = Self { up_mg: [0, 1000, 0], is_in_vehicle: false };
    /// Flat in a vehicle: z is up.
    pub const VEHICLE: Self = Self { up_mg: [0, 0, 1000], is_in_vehicle: true };
}

/// How bad an impact was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Severity {
    /// An event, not an alarm: a kerb, a hard stop.
    Minor,
    /// An alarm unless somebody cancels.
    Major,
    /// An alarm at once: nobody may be able to cancel.
    Severe,
}

/// A blow to a vehicle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Impact {
    /// How bad.
    pub severity: Severity,
    /// Largest acceleration in mg, without gravity.
    pub peak_mg: u16,
    /// Largest change of velocity within 120 ms, in cm/s.
    pub delta_v_cmps: u16,
}

/// What the samples mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Motion {
    /// The wearer's posture changed.
    Posture(Posture),
    /// The wearer fell.
    Fall,
    /// The vehicle was hit.
    Impact(Impact),
    /// The vehicle lies on its side or roof.
    Rollover {
        /// From upright, 60 to 180 degrees.
        roll_deg: u8,
    },
}

/// What one sample can mean at most: a posture and a fall, or an impact and a rollover.
pub(crate) type Motions = heapless::Vec<Motion, 2>;

/// Between these the detector works: 10 to 200 samples a second.
const PERIOD_MS: core::ops::RangeInclusive<u16> = 5..=100;
/// Samples this far apart do not belong together.
const GAP_MS_MAX: u64 = 500;

/// Follows the samples. About 250 bytes.
#[derive(Debug, Clone)]
pub(crate) struct Detector {
    is_in_vehicle: bool,
    gravity: Gravity,
    still: Still,
    fall: Fall,
    crash: Crash,
    last_ms: Option<u64>,
}

impl Detector {
    pub(crate) fn new(settings: MotionSettings) -> Self {
        Self {
            is_in_vehicle: settings.is_in_vehicle,
            gravity: Gravity::new(settings.up_mg, if settings.is_in_vehicle { 2000 } else { 500 }),
            still: Still::default(),
            fall: Fall::default(),
            crash: Crash::default(),
            last_ms: None,
        }
    }

    /// Takes the next sample of a steady series.
    pub(crate) fn push(&mut self, now_ms: u64, period_ms: u16, sample: Sample) -> Motions {
        let period_ms = period_ms.clamp(*PERIOD_MS.start(), *PERIOD_MS.end());
        let has_gap =
            self.last_ms.replace(now_ms).is_some_and(|last| now_ms.saturating_sub(last) > GAP_MS_MAX);
        if has_gap {
            self.still.on_gap();
            self.crash.on_gap();
        }
        let dynamic_mg = self.gravity.push(period_ms, sample);
        let mut motions = Motions::new();
        let mut say = |motion| motions.push(motion).expect("two detectors, one motion each");
        if self.is_in_vehicle {
            let impact = self.crash.push_sample(now_ms, period_ms, dynamic_mg);
            impact.map(Motion::Impact).into_iter().for_each(&mut say);
            let roll = self.crash.push_tilt(now_ms, &self.gravity);
            roll.map(|roll_deg| Motion::Rollover { roll_deg }).into_iter().for_each(&mut say);
        } else {
            let posture = self.still.push(now_ms, period_ms, dynamic_mg, &self.gravity);
            posture.map(Motion::Posture).into_iter().for_each(&mut say);
            if self.fall.push(now_ms, sample, &self.gravity) {
                say(Motion::Fall);
            }
        }
        motions
    }
}

#[cfg(test)]
mod tests {
    use std::{vec, vec::Vec};

    use super::*;

    const UPRIGHT: Sample = Sample { x_mg: 0, y_mg: 1000, z_mg: 0 };
    const LYING: Sample = Sample { x_mg: 0, y_mg: 0, z_mg: 1000 };

    struct Rig {
        detector: Detector,
        now_ms: u64,
    }

    impl Rig {
        fn new() -> Self {
            Self { detector: Detector::new(MotionSettings::BODY_WORN), now_ms: 0 }
        }

        /// Samples 10 ms apart, and what they meant.
        fn feel(&mut self, ms: u64, sample: impl Fn(u64) -> Sample) -> Vec<Motion> {
            let mut motions = Vec::new();
            for n in 0..ms / 10 {
                self.now_ms += 10;
                motions.extend(self.detector.push(self.now_ms, 10, sample(n)));
            }
            motions
        }
    }

    const DOWN: Motion = Motion::Posture(Posture::Down);
    const UP: Motion = Motion::Posture(Posture::Up);

    #[test]
    fn each_change_of_posture_is_said_once() {
        let mut rig = Rig::new();
        assert_eq!(rig.feel(2000, |_| UPRIGHT), vec![]);
        assert_eq!(rig.feel(30_000, |_| LYING), [DOWN]);
        assert_eq!(rig.feel(30_000, |_| UPRIGHT), [UP]);
    }

    #[test]
    fn nobody_is_said_to_be_down_while_moving() {
        let mut rig = Rig::new();
        rig.feel(2000, |_| UPRIGHT);
        let crawling = |n: u64| Sample { y_mg: if n % 50 < 25 { 250 } else { -250 }, ..LYING };
        assert_eq!(rig.feel(30_000, crawling), vec![]);
        assert_eq!(rig.feel(30_000, |_| LYING), [DOWN]);
        assert_eq!(rig.feel(30_000, crawling), [UP]);
    }

    #[test]
    fn a_gap_is_no_stillness() {
        let mut rig = Rig::new();
        rig.feel(2000, |_| UPRIGHT);
        // Long enough to be still, not long enough to be said.
        let said = (0..600).find(|_| !rig.feel(10, |_| LYING).is_empty());
        let until_said_ms = said.map(|n| n * 10).unwrap();
        let mut rig = Rig::new();
        rig.feel(2000, |_| UPRIGHT);
        assert_eq!(rig.feel(until_said_ms - 500, |_| LYING), vec![]);
        rig.now_ms += 60_000;
        assert_eq!(rig.feel(1900, |_| LYING), vec![], "two seconds are counted anew");
        assert_eq!(rig.feel(200, |_| LYING), [DOWN]);
    }

    #[test]
    fn a_violent_shake_does_not_turn_the_world() {
        let mut rig = Rig::new();
        rig.feel(2000, |_| UPRIGHT);
        rig.feel(1000, |_| Sample { x_mg: 8000, y_mg: 900, z_mg: 0 });
        assert!(!rig.detector.gravity.is_tilted(2500));
        assert!(rig.detector.gravity.tilt_deg() <= 2);
    }

    #[test]
    fn the_tilt_is_right_to_a_degree_or_two() {
        for (x_mg, y_mg, deg) in
            [(0, 1000, 0), (500, 866, 30), (866, 500, 60), (1000, 0, 90), (866, -500, 120), (0, -1000, 180)]
        {
            let mut rig = Rig::new();
            rig.feel(5000, |_| Sample { x_mg, y_mg, z_mg: 0 });
            assert!(rig.detector.gravity.tilt_deg().abs_diff(deg) <= 2, "{deg}");
        }
    }
}
