//! A flat town on a round earth: metres east and north of the market place, and their WGS 84 degrees.
//!
//! The town is 5 km wide: an equirectangular projection is wrong by less than a metre there.

use std::f64::consts::PI;

/// The market place: open country in Warwickshire, where no such town stands.
pub const CENTRE_LONGITUDE_DEG: f64 = -1.435;
/// See [`CENTRE_LONGITUDE_DEG`].
pub const CENTRE_LATITUDE_DEG: f64 = 52.205;

/// Metres per degree of latitude at 52 degrees north (WGS 84).
const METRES_PER_LATITUDE_DEG: f64 = 111_267.0;

/// A place, in metres east (`x`) and north (`y`) of the market place.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Point {
    /// Metres east.
    pub x: f64,
    /// Metres north.
    pub y: f64,
}

impl Point {
    /// From metres east and north.
    #[must_use]
    pub fn new(x: f64, y: f64) -> Self {
        Self { x, y }
    }

    /// From an angle (radians, counter-clockwise from east) and a distance in metres.
    #[must_use]
    pub fn polar(angle_rad: f64, distance_m: f64) -> Self {
        Self::new(distance_m * angle_rad.cos(), distance_m * angle_rad.sin())
    }

    /// The sum of two vectors.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self::new(self.x + other.x, self.y + other.y)
    }

    /// The vector from `other` to this place.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self::new(self.x - other.x, self.y - other.y)
    }

    /// The vector, `factor` times as long.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self::new(self.x * factor, self.y * factor)
    }

    /// Length in metres.
    #[must_use]
    pub fn length_m(self) -> f64 {
        self.x.hypot(self.y)
    }

    /// Distance to `other` in metres.
    #[must_use]
    pub fn distance_m(self, other: Self) -> f64 {
        self.minus(other).length_m()
    }

    /// The same direction, one metre long; due east if the vector has no length.
    #[must_use]
    pub fn unit(self) -> Self {
        let length_m = self.length_m();
        if length_m < 1e-9 { Self::new(1.0, 0.0) } else { self.times(1.0 / length_m) }
    }

    /// The place `share` (0 to 1) of the way to `other`.
    #[must_use]
    pub fn towards(self, other: Self, share: f64) -> Self {
        self.plus(other.minus(self).times(share))
    }

    /// Direction of this vector, clockwise from north, 0 to 360 degrees.
    #[must_use]
    pub fn bearing_deg(self) -> f64 {
        (90.0 - self.y.atan2(self.x) * 180.0 / PI).rem_euclid(360.0)
    }

    /// Distance to the nearest place of the line from `a` to `b`, in metres.
    #[must_use]
    pub fn distance_to_line_m(self, a: Self, b: Self) -> f64 {
        let along = b.minus(a);
        let square = along.x * along.x + along.y * along.y;
        let own = self.minus(a);
        let share = if square > 0.0 { (own.x * along.x + own.y * along.y) / square } else { 0.0 };
        self.distance_m(a.towards(b, share.clamp(0.0, 1.0)))
    }

    /// Longitude and latitude in degrees.
    #[must_use]
    pub fn degrees(self) -> (f64, f64) {
        let metres_per_longitude_deg = METRES_PER_LATITUDE_DEG * (CENTRE_LATITUDE_DEG * PI / 180.0).cos();
        (
            CENTRE_LONGITUDE_DEG + self.x / metres_per_longitude_deg,
            CENTRE_LATITUDE_DEG + self.y / METRES_PER_LATITUDE_DEG,
        )
    }

    /// Longitude and latitude in micro-degrees, as the wire wants them.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "degrees of a town in England times a million fit an i32"
    )]
    pub fn micro_degrees(self) -> (i32, i32) {
        let (longitude_deg, latitude_deg) = self.degrees();
        ((longitude_deg * 1e6).round() as i32, (latitude_deg * 1e6).round() as i32)
    }

    /// From longitude and latitude in degrees.
    #[must_use]
    pub fn from_degrees(longitude_deg: f64, latitude_deg: f64) -> Self {
        let metres_per_longitude_deg = METRES_PER_LATITUDE_DEG * (CENTRE_LATITUDE_DEG * PI / 180.0).cos();
        Self::new(
            (longitude_deg - CENTRE_LONGITUDE_DEG) * metres_per_longitude_deg,
            (latitude_deg - CENTRE_LATITUDE_DEG) * METRES_PER_LATITUDE_DEG,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn degrees_lead_back_to_the_same_place() {
        let place = Point::new(1234.5, -987.6);
        let (longitude_deg, latitude_deg) = place.degrees();
        assert!(Point::from_degrees(longitude_deg, latitude_deg).distance_m(place) < 1e-6);
    }

    #[test]
    fn bearings_turn_clockwise_from_north() {
        assert!((Point::new(0.0, 1.0).bearing_deg() - 0.0).abs() < 1e-9);
        assert!((Point::new(1.0, 0.0).bearing_deg() - 90.0).abs() < 1e-9);
        assert!((Point::new(-1.0, 0.0).bearing_deg() - 270.0).abs() < 1e-9);
    }
}
