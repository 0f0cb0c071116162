//! What is not street: the river, the parks, the edge of the town.

use std::f64::consts::TAU;

use super::{
    dice::{Dice, Wobble},
    plane::Point,
};

/// Half of the drawn length of the river, in metres.
const RIVER_HALF_LENGTH_M: f64 = 2_600.0;
/// How far south of the market place the river passes, in metres.
const RIVER_SOUTH_M: f64 = 400.0;

/// The river: it comes from the west, bends, and leaves to the east.
#[derive(Debug, Clone)]
pub struct River {
    bends: Wobble,
    ripples: Wobble,
}

impl River {
    pub(super) fn new(dice: &mut Dice) -> Self {
        Self { bends: Wobble::new(dice, 2_300.0), ripples: Wobble::new(dice, 800.0) }
    }

    /// How far north the middle of the water is at `x` metres east.
    #[must_use]
    pub fn middle_y(&self, x: f64) -> f64 {
        // Everything is measured from the market place, so that the old bridge is where the high street expects it.
        let bend = self.bends.at(x) - self.bends.at(0.0);
        let ripple = self.ripples.at(x) - self.ripples.at(0.0);
        150.0 * bend + 45.0 * ripple + 0.05 * x - RIVER_SOUTH_M
    }

    /// Half of the width of the water at `x` metres east.
    #[must_use]
    pub fn half_width_m(&self, x: f64) -> f64 {
        15.0 + 4.0 * self.ripples.at(x * 0.7)
    }

    /// Distance from the middle of the water in metres, positive to the north of it.
    #[must_use]
    pub fn side_m(&self, place: Point) -> f64 {
        let slope = (self.middle_y(place.x + 5.0) - self.middle_y(place.x - 5.0)) / 10.0;
        (place.y - self.middle_y(place.x)) / slope.hypot(1.0)
    }

    /// The banks as one closed outline.
    #[must_use]
    pub fn outline(&self) -> Vec<Point> {
        let steps = 130;
        let x_of = |step: i32| RIVER_HALF_LENGTH_M * (2.0 * f64::from(step) / f64::from(steps) - 1.0);
        let bank = |x: f64, side: f64| Point::new(x, self.middle_y(x) + side * self.half_width_m(x));
        let north = (0..=steps).map(|step| bank(x_of(step), 1.0));
        let south = (0..=steps).rev().map(|step| bank(x_of(step), -1.0));
        close(north.chain(south).collect())
    }
}

/// A rounded, irregular area: a park, or the town itself.
#[derive(Debug, Clone)]
pub struct Blob {
    /// Its middle.
    pub middle: Point,
    radius_m: f64,
    shape: Wobble,
    unevenness: f64,
}

impl Blob {
    pub(super) fn new(dice: &mut Dice, middle: Point, radius_m: f64, unevenness: f64) -> Self {
        Self { middle, radius_m, shape: Wobble::new(dice, TAU), unevenness }
    }

    /// Distance from the middle to the edge in a direction, in metres.
    #[must_use]
    pub fn edge_m(&self, angle_rad: f64) -> f64 {
        self.radius_m * (1.0 + self.unevenness * self.shape.around(angle_rad))
    }

    /// Whether a place lies inside, or within `margin_m` of the edge.
    #[must_use]
    pub fn holds(&self, place: Point, margin_m: f64) -> bool {
        let from_middle = place.minus(self.middle);
        from_middle.length_m() < self.edge_m(from_middle.y.atan2(from_middle.x)) + margin_m
    }

    /// Its closed outline.
    #[must_use]
    pub fn outline(&self) -> Vec<Point> {
        let steps = 40;
        let corner = |step: i32| {
            let angle_rad = TAU * f64::from(step) / f64::from(steps);
            self.middle.plus(Point::polar(angle_rad, self.edge_m(angle_rad)))
        };
        close((0..steps).map(corner).collect())
    }
}

fn close(mut outline: Vec<Point>) -> Vec<Point> {
    outline.extend(outline.first().copied());
    outline
}
