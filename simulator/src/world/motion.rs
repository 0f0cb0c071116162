//! Somebody moving along the streets: **the true place is always exactly on a street.**

use std::collections::VecDeque;

use super::{
    Town,
    dice::Dice,
    plane::Point,
    route::{self, Travel},
    streets::JunctionId,
};

/// How far from their middle people on foot stay, in metres: a beat.
const BEAT_M: f64 = 480.0;
/// How hard a vehicle speeds up and brakes, in m/s².
const ACCELERATION_MPS2: f64 = 1.9;
/// Faster than usual with blue lights on.
const BLUE_LIGHTS_FACTOR: f64 = 1.45;

/// One mover. Advance it second by second.
#[derive(Debug, Clone)]
pub struct Mover {
    travel: Travel,
    home: Point,
    at: JunctionId,
    ahead: VecDeque<JunctionId>,
    along_m: f64,
    speed_mps: f64,
    course_deg: f64,
    walking_mps: f64,
    pause_left_s: f64,
    hurried: bool,
    halted: bool,
}

impl Mover {
    /// Somebody who starts at a junction of the town and belongs around it.
    #[must_use]
    pub fn new(town: &Town, travel: Travel, dice: &mut Dice) -> Self {
        let candidates = town.streets().junctions().len();
        let mut at = JunctionId(0);
        for _ in 0..50 {
            let candidate = super::streets::junction(dice.index(candidates));
            at = candidate;
            // People on foot are found near the middle of the town more often than at its edge.
            let distance_m = town.streets().place(candidate).length_m();
            let usable = town.streets().ways(candidate).iter().any(|way| travel.permits(way.class));
            let wanted =
                travel == Travel::Driving || dice.happens((1.3 - distance_m / 1_700.0).clamp(0.05, 1.0));
            if usable && wanted {
                break;
            }
        }
        Self {
            travel,
            home: town.streets().place(at),
            at,
            ahead: VecDeque::new(),
            along_m: 0.0,
            speed_mps: 0.0,
            course_deg: dice.between(0.0, 360.0),
            walking_mps: dice.between(1.15, 1.6),
            pause_left_s: 0.0,
            hurried: false,
            halted: false,
        }
    }

    /// Where it is, exactly.
    #[must_use]
    pub fn place(&self, town: &Town) -> Point {
        let here = town.streets().place(self.at);
        match self.ahead.front() {
            Some(next) => {
                let there = town.streets().place(*next);
                here.plus(there.minus(here).unit().times(self.along_m.min(here.distance_m(there))))
            }
            None => here,
        }
    }

    /// Speed over ground in m/s.
    #[must_use]
    pub fn speed_mps(&self) -> f64 {
        self.speed_mps
    }

    /// Course over ground in degrees clockwise from north; the last one while it stands.
    #[must_use]
    pub fn course_deg(&self) -> f64 {
        self.course_deg
    }

    /// Stops where it is, or lets it go on.
    pub fn halt(&mut self, halted: bool) {
        self.halted = halted;
    }

    /// Makes for a place without delay.
    pub fn hurry_to(&mut self, town: &Town, goal: Point) {
        self.hurried = true;
        self.pause_left_s = 0.0;
        if let Some(goal) = town.streets().nearest_junction(goal, |class| self.travel.permits(class)) {
            self.go_to(town, goal);
        }
    }

    /// Whether it is hurrying somewhere and has not arrived.
    #[must_use]
    pub fn is_hurrying(&self) -> bool {
        self.hurried && !self.ahead.is_empty()
    }

    /// One second passes.
    pub fn step(&mut self, town: &Town, dice: &mut Dice) {
        if self.halted {
            self.speed_mps = 0.0;
            return;
        }
        if self.pause_left_s > 0.0 {
            self.pause_left_s -= 1.0;
            self.speed_mps = 0.0;
            return;
        }
        if self.ahead.is_empty() {
            self.choose_goal(town, dice);
        }
        self.speed_mps = self.next_speed_mps(town, dice);
        self.advance(town, dice, self.speed_mps);
    }

    fn next_speed_mps(&self, town: &Town, dice: &mut Dice) -> f64 {
        let Some(next) = self.ahead.front().copied() else { return 0.0 };
        match self.travel {
            Travel::OnFoot if self.hurried => self.walking_mps * 2.4,
            Travel::OnFoot => (self.walking_mps + 0.12 * dice.normal()).max(0.5),
            Travel::Driving => {
                let class = town.streets().class_between(self.at, next);
                let factor = if self.hurried { BLUE_LIGHTS_FACTOR } else { 1.0 };
                let wanted_mps = (class.driving_mps() * factor + 0.5 * dice.normal()).max(3.0);
                let corner_mps = self.corner_mps(town, next);
                let left_m =
                    town.streets().place(self.at).distance_m(town.streets().place(next)) - self.along_m;
                // The fastest from which one can still brake for the corner.
                let brake_mps = (corner_mps * corner_mps + 2.0 * ACCELERATION_MPS2 * left_m.max(0.0)).sqrt();
                wanted_mps.min(brake_mps).min(self.speed_mps + ACCELERATION_MPS2)
            }
        }
    }

    /// How fast the corner at `next` can be taken; slow at the end of the way.
    fn corner_mps(&self, town: &Town, next: JunctionId) -> f64 {
        let Some(after) = self.ahead.get(1).copied() else { return 2.5 };
        let streets = town.streets();
        let before = streets.place(next).minus(streets.place(self.at)).unit();
        let beyond = streets.place(after).minus(streets.place(next)).unit();
        match before.x * beyond.x + before.y * beyond.y {
            straight if straight > 0.93 => 20.0,
            bend if bend > 0.6 => 9.0,
            _ => 4.5,
        }
    }

    fn advance(&mut self, town: &Town, dice: &mut Dice, distance_m: f64) {
        self.along_m += distance_m;
        while let Some(next) = self.ahead.front().copied() {
            let (here, there) = (town.streets().place(self.at), town.streets().place(next));
            let length_m = here.distance_m(there);
            self.course_deg = there.minus(here).bearing_deg();
            if self.along_m < length_m {
                return;
            }
            self.along_m -= length_m;
            self.at = next;
            self.ahead.pop_front();
        }
        self.along_m = 0.0;
        self.arrive(dice);
    }

    fn arrive(&mut self, dice: &mut Dice) {
        if std::mem::take(&mut self.hurried) {
            // Stays where it was called to.
            self.pause_left_s = 1e9;
            return;
        }
        self.pause_left_s = match self.travel {
            Travel::OnFoot if dice.happens(0.5) => dice.between(4.0, 45.0),
            Travel::OnFoot => 0.0,
            Travel::Driving => dice.between(2.0, 25.0),
        };
    }

    fn choose_goal(&mut self, town: &Town, dice: &mut Dice) {
        let streets = town.streets();
        for _ in 0..60 {
            let goal = super::streets::junction(dice.index(streets.junctions().len()));
            let near = streets.place(goal).distance_m(self.home) < BEAT_M || self.travel == Travel::Driving;
            if near && goal != self.at && self.go_to(town, goal) {
                return;
            }
        }
    }

    fn go_to(&mut self, town: &Town, goal: JunctionId) -> bool {
        let between = self.along_m > 0.0;
        // In the middle of a street one first walks on to its end.
        let from = self.ahead.front().copied().filter(|_| between).unwrap_or(self.at);
        let Some(way) = route::find(town.streets(), self.travel, from, goal) else { return false };
        let way = way.into_iter().filter(|next| *next != from);
        self.ahead = if between { std::iter::once(from).chain(way).collect() } else { way.collect() };
        !self.ahead.is_empty()
    }
}
