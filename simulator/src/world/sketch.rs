//! Draws a town the way towns grow: a market place by a river, roads into it, quarters between the roads, a ring road
//! later and never quite finished, parks where nobody built.
//!
//! What comes out are loose lines; [`super::join`] makes a network of them.

use std::f64::consts::{PI, TAU};

use super::{
    areas::{Blob, River},
    dice::{Dice, Wobble},
    names,
    plane::Point,
    streets::StreetClass,
};

/// Distance between two points of a drawn line, in metres.
const STEP_M: f64 = 22.0;
/// Directions of the main roads, in degrees counter-clockwise from east; the last leaves over the old bridge.
const MAIN_ROADS_DEG: [f64; 6] = [9.0, 47.0, 92.0, 133.0, 171.0, 268.0];
/// Quarters lie at least this far apart, in metres.
const QUARTER_DISTANCE_M: f64 = 430.0;

/// One drawn line, later cut at every crossing.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) class: StreetClass,
    pub(super) points: Vec<Point>,
    /// May cross the water.
    pub(super) bridge: bool,
    pub(super) name: String,
}

/// Everything that is drawn.
#[derive(Debug, Clone)]
pub(super) struct Sketch {
    pub(super) lines: Vec<Line>,
    pub(super) river: River,
    pub(super) parks: Vec<Blob>,
    pub(super) edge: Blob,
}

struct Quarter {
    middle: Point,
    along_rad: f64,
    /// Spacing of the long streets and of the cross streets, in metres.
    spacing_m: (f64, f64),
    /// How far streets swing, in metres.
    swing_m: f64,
    /// Share of the street blocks that were never built or are closed off.
    missing: f64,
}

impl Sketch {
    pub(super) fn draw(seed: u64) -> Self {
        let mut dice = Dice::new(seed, 1);
        let river = River::new(&mut dice);
        let edge = Blob::new(&mut dice, Point::default(), 1_950.0, 0.17);
        let mut sketch = Self { lines: Vec::new(), river, parks: Vec::new(), edge };
        sketch.draw_main_roads(&mut dice);
        sketch.draw_ring_roads(&mut dice);
        let quarters = sketch.choose_quarters(&mut dice);
        sketch.draw_quarter_roads(&mut dice, &quarters);
        sketch.choose_parks(&mut dice);
        sketch.draw_paths(&mut dice);
        let big = sketch.lines.clone();
        for number in 0..quarters.len() {
            sketch.fill_quarter(&mut dice, &quarters, number, &big);
        }
        sketch
    }

    fn add(&mut self, dice: &mut Dice, class: StreetClass, bridge: bool, points: Vec<Point>) {
        let name = names::street(dice, class);
        self.lines.push(Line { class, points, bridge, name });
    }

    fn draw_main_roads(&mut self, dice: &mut Dice) {
        for (number, angle_deg) in MAIN_ROADS_DEG.into_iter().enumerate() {
            let bridge = number + 1 == MAIN_ROADS_DEG.len();
            let angle_rad = angle_deg * PI / 180.0 + dice.between(-0.06, 0.06);
            let bends = Wobble::new(dice, 1_500.0);
            let end_m = self.edge.edge_m(angle_rad) + 420.0;
            let points = steps(60.0, end_m, STEP_M).map(|distance_m| {
                let turn_rad = 0.16 * bends.at(distance_m) * (distance_m / 700.0).min(1.0);
                Point::polar(angle_rad + turn_rad, distance_m)
            });
            self.add(dice, StreetClass::Primary, bridge, points.collect());
        }
        // South of the old bridge the road forks: it was two villages once.
        let south = self.main_road(MAIN_ROADS_DEG.len() - 1).to_vec();
        for to_deg in [-134.0, -48.0] {
            let points = south.iter().filter(|place| place.length_m() > 700.0).map(|place| {
                let share = ((place.length_m() - 700.0) / 900.0).clamp(0.0, 1.0);
                let smooth = share * share * (3.0 - 2.0 * share);
                let from_rad = place.y.atan2(place.x);
                Point::polar(from_rad + (to_deg * PI / 180.0 - from_rad) * smooth, place.length_m())
            });
            let points = points.take_while(|place| place.length_m() < 2_150.0).collect();
            self.add(dice, StreetClass::Secondary, false, points);
        }
    }

    fn main_road(&self, number: usize) -> &[Point] {
        &self.lines[number].points
    }

    fn draw_ring_roads(&mut self, dice: &mut Dice) {
        let old_wall = Wobble::new(dice, TAU);
        let wall = steps(0.0, TAU + 0.01, 0.09)
            .map(|angle_rad| Point::polar(angle_rad, 250.0 * (1.0 + 0.16 * old_wall.around(angle_rad))));
        self.add(dice, StreetClass::Secondary, false, wall.collect());
        // The market place itself.
        let market = steps(0.0, TAU + 0.01, TAU / 14.0)
            .map(|angle_rad| Point::new(72.0 * angle_rad.cos(), 44.0 * angle_rad.sin()));
        self.add(dice, StreetClass::Residential, false, market.collect());
        // From the eastern road round the north and over the new bridge to the southern road. The east was never built.
        let shape = Wobble::new(dice, TAU);
        let at = |angle_rad: f64| {
            let narrow = if angle_rad > PI { 0.06 * (angle_rad - PI) } else { 0.0 };
            Point::polar(angle_rad, 1_260.0 * (1.0 + 0.13 * shape.around(angle_rad) - narrow))
        };
        let meets = |road: &[Point]| {
            let off_m = |place: &Point| place.distance_m(at(place.y.atan2(place.x).rem_euclid(TAU)));
            let nearest = road.iter().min_by(|a, b| off_m(a).total_cmp(&off_m(b)));
            nearest.map_or(0.0, |place| place.y.atan2(place.x))
        };
        let from_rad = meets(self.main_road(0)) - 0.02;
        let to_rad = meets(self.main_road(MAIN_ROADS_DEG.len() - 1)).rem_euclid(TAU) + 0.02;
        let ring = steps(from_rad, to_rad, 0.017).map(at).collect();
        self.add(dice, StreetClass::Trunk, true, ring);
    }

    fn choose_quarters(&self, dice: &mut Dice) -> Vec<Quarter> {
        let mut quarters: Vec<Quarter> = vec![self.quarter(dice, Point::new(20.0, 30.0))];
        for _ in 0..600 {
            let middle = Point::polar(dice.between(0.0, TAU), 2_150.0 * dice.between(0.0, 1.0).sqrt());
            let apart = quarters.iter().all(|other| other.middle.distance_m(middle) > QUARTER_DISTANCE_M);
            let dry = self.river.side_m(middle).abs() > 120.0;
            if apart && dry && self.edge.holds(middle, -90.0) {
                quarters.push(self.quarter(dice, middle));
            }
        }
        quarters
    }

    fn quarter(&self, dice: &mut Dice, middle: Point) -> Quarter {
        let distance_m = middle.length_m();
        let towards_market_rad = if distance_m < 100.0 { 0.2 } else { middle.y.atan2(middle.x) };
        let (spacing_m, swing_m, missing) = if distance_m < 500.0 {
            ((62.0, 78.0), 12.0, 0.1)
        } else {
            match dice.index(5) {
                0 | 1 => ((72.0, 150.0), 8.0, 0.12),
                2 | 3 => ((98.0, 165.0), 38.0, 0.26),
                _ => ((135.0, 210.0), 14.0, 0.2),
            }
        };
        let along_rad =
            towards_market_rad + dice.between(-0.35, 0.35) + if dice.happens(0.5) { PI / 2.0 } else { 0.0 };
        Quarter { middle, along_rad, spacing_m, swing_m, missing }
    }

    /// Roads between neighbouring quarters: two are neighbours if no third lies in the circle between them (Gabriel).
    fn draw_quarter_roads(&mut self, dice: &mut Dice, quarters: &[Quarter]) {
        for (number, a) in quarters.iter().enumerate() {
            for b in &quarters[number + 1..] {
                let between = a.middle.towards(b.middle, 0.5);
                let radius_m = a.middle.distance_m(b.middle) / 2.0;
                let free = quarters.iter().all(|c| c.middle.distance_m(between) > radius_m - 1e-6);
                let over_water = self.river.side_m(a.middle) * self.river.side_m(b.middle) < 0.0;
                if !free || over_water || radius_m > 450.0 || dice.happens(0.3) {
                    continue;
                }
                let bends = Wobble::new(dice, 700.0);
                let aside = Point::new(a.middle.y - b.middle.y, b.middle.x - a.middle.x).unit();
                let length_m = radius_m * 2.0;
                let points = steps(0.0, length_m + 1.0, STEP_M).map(|at_m| {
                    let share = (at_m / length_m).min(1.0);
                    let swing_m = 55.0 * bends.at(at_m) * (share * PI).sin();
                    a.middle.towards(b.middle, share).plus(aside.times(swing_m))
                });
                let points: Vec<Point> = points.collect();
                self.add(dice, StreetClass::Secondary, false, points);
            }
        }
    }

    fn choose_parks(&mut self, dice: &mut Dice) {
        let meadow_x = dice.between(330.0, 560.0);
        let meadow = Point::new(meadow_x, self.river.middle_y(meadow_x) + 150.0);
        self.parks.push(Blob::new(dice, meadow, 115.0, 0.2));
        for radius_m in [210.0, 165.0, 150.0, 120.0] {
            let mut best: Option<(f64, Point)> = None;
            for _ in 0..160 {
                let middle = Point::polar(dice.between(0.0, TAU), dice.between(420.0, 1_650.0));
                let room_m = self.room_m(middle, radius_m);
                if best.is_none_or(|(best_m, _)| room_m > best_m) {
                    best = Some((room_m, middle));
                }
            }
            if let Some((_, middle)) = best {
                self.parks.push(Blob::new(dice, middle, radius_m, 0.22));
            }
        }
    }

    /// How much a park there would keep clear of what already is.
    fn room_m(&self, middle: Point, radius_m: f64) -> f64 {
        let to_roads_m = self
            .lines
            .iter()
            .flat_map(|line| &line.points)
            .map(|point| point.distance_m(middle))
            .fold(1e9, f64::min);
        let to_parks_m =
            self.parks.iter().map(|park| park.middle.distance_m(middle) - 500.0).fold(1e9, f64::min);
        let to_water_m = self.river.side_m(middle).abs() - 60.0;
        let inside_m = if self.edge.holds(middle, -radius_m) { 1e9 } else { 0.0 };
        (to_roads_m * 1.2).min(to_parks_m).min(to_water_m).min(inside_m)
    }

    fn draw_paths(&mut self, dice: &mut Dice) {
        for park in self.parks.clone() {
            let first_rad = dice.between(0.0, PI);
            for angle_rad in [first_rad, first_rad + dice.between(0.9, 2.0)] {
                let bends = Wobble::new(dice, 300.0);
                let reach_m = park.edge_m(angle_rad) + 110.0;
                let points = steps(-reach_m, reach_m, 15.0)
                    .map(|at_m| park.middle.plus(Point::polar(angle_rad + 0.22 * bends.at(at_m), at_m)));
                self.add(dice, StreetClass::Path, false, points.collect());
            }
        }
        let towpath = steps(-1_500.0, 1_500.0, STEP_M)
            .map(|x| Point::new(x, self.river.middle_y(x) + self.river.half_width_m(x) + 16.0));
        let towpath: Vec<Point> = towpath.collect();
        self.add(dice, StreetClass::Path, false, towpath);
    }

    fn fill_quarter(&mut self, dice: &mut Dice, quarters: &[Quarter], number: usize, big: &[Line]) {
        let quarter = &quarters[number];
        let ahead = Point::polar(quarter.along_rad, 1.0);
        let aside = Point::new(-ahead.y, ahead.x);
        for (along, across, spacing_m, missing) in [
            (ahead, aside, quarter.spacing_m.0, quarter.missing),
            (aside, ahead, quarter.spacing_m.1, quarter.missing + 0.12),
        ] {
            let swing = Wobble::new(dice, 420.0);
            let mut offset_m = -560.0 + dice.between(0.0, spacing_m);
            while offset_m < 560.0 {
                let lean = dice.between(-0.05, 0.05);
                let at = |s: f64| {
                    let off_m = offset_m + lean * s + quarter.swing_m * swing.at(s + offset_m * 0.35);
                    quarter.middle.plus(along.times(s)).plus(across.times(off_m))
                };
                self.fill_line(dice, &at, missing, |place| nearest(quarters, place) == number, big);
                offset_m += spacing_m * dice.between(0.82, 1.22);
            }
        }
    }

    /// Draws the parts of one street that lie in their quarter, on dry land, clear of parks and of bigger roads.
    fn fill_line(
        &mut self,
        dice: &mut Dice,
        at: &dyn Fn(f64) -> Point,
        missing: f64,
        is_own: impl Fn(Point) -> bool,
        big: &[Line],
    ) {
        let mut run: Vec<Point> = Vec::new();
        let mut gap_left_m: f64 = 0.0;
        for s in steps(-560.0, 560.0, STEP_M) {
            let place = at(s);
            let ahead = at(s + 1.0).minus(place).unit();
            gap_left_m -= STEP_M;
            if gap_left_m < 0.0 && dice.happens(missing * STEP_M / 150.0) {
                gap_left_m = dice.between(60.0, 150.0);
            }
            if gap_left_m < 0.0 && is_own(place) && self.is_free(place, ahead, big) {
                run.push(place);
            } else {
                self.finish_run(dice, &mut run);
            }
        }
        self.finish_run(dice, &mut run);
    }

    fn finish_run(&mut self, dice: &mut Dice, run: &mut Vec<Point>) {
        let mut points = std::mem::take(run);
        if let [first, second, .., before, last] = points[..] {
            // A little further at both ends, to meet the next street; what meets nothing is trimmed when joined.
            points.insert(0, first.plus(first.minus(second).unit().times(58.0)));
            points.push(last.plus(last.minus(before).unit().times(58.0)));
            self.add(dice, StreetClass::Residential, false, points);
        }
    }

    fn is_free(&self, place: Point, ahead: Point, big: &[Line]) -> bool {
        let dry = self.river.side_m(place).abs() > 55.0;
        let built = self.edge.holds(place, 0.0) && place.length_m() > 60.0;
        dry && built
            && !self.parks.iter().any(|park| park.holds(place, 14.0))
            && !runs_beside(place, ahead, big)
    }
}

/// Whether a street there would run close beside a bigger one instead of meeting it.
fn runs_beside(place: Point, ahead: Point, big: &[Line]) -> bool {
    big.iter().flat_map(|line| line.points.windows(2)).any(|pair| {
        let &[a, b] = pair else { return false };
        if a.distance_m(place) > 90.0 || place.distance_to_line_m(a, b) > 36.0 {
            return false;
        }
        let road = b.minus(a).unit();
        (road.x * ahead.x + road.y * ahead.y).abs() > 0.74
    })
}

fn nearest(quarters: &[Quarter], place: Point) -> usize {
    let by_distance = |a: &usize, b: &usize| {
        quarters[*a].middle.distance_m(place).total_cmp(&quarters[*b].middle.distance_m(place))
    };
    (0..quarters.len()).min_by(by_distance).unwrap_or(0)
}

/// From `from` to `to` in steps of `step`; both ends close.
fn steps(from: f64, to: f64, step: f64) -> impl Iterator<Item = f64> {
    std::iter::successors(Some(from), move |at| Some(at + step)).take_while(move |at| *at <= to)
}
