//! Positions rounded to a grid.
//!
//! **Two positions in one square become the same position**, so no series of them can be averaged back to the true one.
//! The squares are as wide as high to within a percent, up to 84 degrees of latitude; nearer to a pole they get narrower.

use fieldpost_protocol::Position;

/// Metres of one degree of latitude: 40,075,017 m / 360.
const METRES_PER_DEGREE: f64 = 111_319.49;
const LATITUDE_UDEG_MAX: i64 = 90_000_000;
const LONGITUDE_UDEG_MAX: i64 = 180_000_000;

/// Moves `position` to the middle of its square of `metres`, and says so in its accuracy.
pub(super) fn round(position: &mut Position, metres: u32) {
    let step = (f64::from(metres) * 1e6 / METRES_PER_DEGREE).max(1.0);
    let latitude = middle(position.latitude_udeg.into(), step).min(LATITUDE_UDEG_MAX);
    // Of the row, not of the place: a square must not depend on where in it somebody is.
    #[expect(clippy::cast_precision_loss, reason = "nine digits fit")]
    let narrow = (latitude as f64 / 1e6).to_radians().cos().max(0.1);
    let longitude = middle(position.longitude_udeg.into(), step / narrow);
    position.latitude_udeg = clamped(latitude, LATITUDE_UDEG_MAX);
    position.longitude_udeg = clamped(longitude, LONGITUDE_UDEG_MAX);
    position.accuracy_m = position.accuracy_m.max(u8::try_from(metres).unwrap_or(u8::MAX));
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "nine digits fit")]
fn middle(udeg: i64, step: f64) -> i64 {
    (((udeg as f64 / step).floor() + 0.5) * step).round() as i64
}

fn clamped(udeg: i64, max: i64) -> i32 {
    i32::try_from(udeg.clamp(-max, max)).expect("180,000,000 fits into 32 bits")
}
