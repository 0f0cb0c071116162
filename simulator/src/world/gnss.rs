//! What a worn receiver makes of the true place: an error that wanders slowly (Gauss and Markov) and a little jitter.

use fieldpost_protocol::limits::SPEED_CMPS_MAX;

use super::{dice::Dice, plane::Point};

/// How long the wandering error lasts, in seconds.
const WANDER_S: f64 = 40.0;
/// Standard deviation of the jitter, in metres.
const JITTER_M: f64 = 0.4;

/// A fix as the receiver gives it, once a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorldFix {
    /// Latitude in micro-degrees.
    pub latitude_udeg: i32,
    /// Longitude in micro-degrees.
    pub longitude_udeg: i32,
    /// Speed over ground in cm/s.
    pub speed_cmps: u16,
    /// Course over ground in 1/256 of a turn; `None` while standing, as receivers do.
    pub course_turn256: Option<u8>,
    /// Radius that holds the true place with 95 % probability, in metres.
    pub accuracy_m: u8,
    /// Satellites used.
    pub satellites: u8,
}

/// One receiver.
#[derive(Debug, Clone)]
pub struct Receiver {
    error: Point,
    sigma_m: f64,
}

impl Receiver {
    /// A receiver of ordinary quality: 1.6 to 3.2 m standard deviation on each axis.
    #[must_use]
    pub fn new(dice: &mut Dice) -> Self {
        let sigma_m = dice.between(1.6, 3.2);
        let error = Point::new(dice.normal(), dice.normal()).times(sigma_m);
        Self { error, sigma_m }
    }

    /// The largest error it can make, in metres: nothing is drawn beyond four standard deviations.
    #[must_use]
    pub fn error_m_max(&self) -> f64 {
        // Bounded by the recursion's own limit, 4 sigma / (1 - keep) * drive, on each axis.
        4.0 * (self.sigma_m * self.spread() + JITTER_M) * std::f64::consts::SQRT_2
    }

    fn spread(&self) -> f64 {
        let keep = (-1.0 / WANDER_S).exp();
        (1.0 - keep * keep).sqrt() / (1.0 - keep)
    }

    /// A second passes: where the receiver believes it is.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "every value is clamped to its field's range first"
    )]
    pub fn fix(&mut self, place: Point, speed_mps: f64, course_deg: f64, dice: &mut Dice) -> WorldFix {
        let keep = (-1.0 / WANDER_S).exp();
        let drive = (1.0 - keep * keep).sqrt() * self.sigma_m;
        self.error = self.error.times(keep).plus(Point::new(dice.normal(), dice.normal()).times(drive));
        let jitter = Point::new(dice.normal(), dice.normal()).times(JITTER_M);
        let (longitude_udeg, latitude_udeg) = place.plus(self.error).plus(jitter).micro_degrees();
        let noisy_mps = (speed_mps + 0.08 * dice.normal()).max(0.0);
        let turn256 = (course_deg + 2.0 * dice.normal()).rem_euclid(360.0) / 360.0 * 256.0;
        WorldFix {
            latitude_udeg,
            longitude_udeg,
            speed_cmps: (noisy_mps * 100.0).clamp(0.0, f64::from(SPEED_CMPS_MAX)) as u16,
            course_turn256: (speed_mps > 0.4).then_some((turn256 as u32 % 256) as u8),
            accuracy_m: (self.sigma_m * 2.45).clamp(1.0, 254.0).ceil() as u8,
            satellites: (13.0 - self.sigma_m * 2.0 + dice.normal()).clamp(5.0, 18.0) as u8,
        }
    }
}
