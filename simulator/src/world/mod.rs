//! # The world: a made-up town and the people who police it
//!
//! Everything here is computed from a seed and from virtual seconds; no clock, no thread, no network. **The same seed and
//! the same orders give the same world, byte for byte.**
//!
//! ```text
//! seed -> sketch -> join -> streets -+-> route -> motion -+
//!                                    +-> geojson (map)    +-> unit: fix, duty, battery, radio, sensors, falls
//! ```

pub mod areas;
pub mod dice;
pub mod force;
pub mod geojson;
pub mod gnss;
mod join;
pub mod motion;
mod names;
pub mod plane;
pub mod radio;
pub mod route;
mod sketch;
pub mod streets;
pub mod unit;

use areas::{Blob, River};
use dice::Dice;
use plane::Point;
use streets::StreetMap;

/// Fieldpost Town: invented, and placed where nothing stands.
#[derive(Debug, Clone)]
pub struct Town {
    streets: StreetMap,
    river: River,
    parks: Vec<Blob>,
    deaf_spots: Vec<(Point, f64)>,
}

/// Places without signal, each about as large as a block.
const DEAF_SPOT_COUNT: usize = 7;
/// Where a bridge of the ring road hides the sky, in metres from its middle.
const UNDER_BRIDGE_M: f64 = 14.0;

impl Town {
    /// Builds the town of a seed.
    #[must_use]
    pub fn build(seed: u64) -> Self {
        let sketch = sketch::Sketch::draw(seed);
        let mut dice = Dice::new(seed, 2);
        let streets = join::join(&sketch);
        let deaf_spots = (0..DEAF_SPOT_COUNT)
            .map(|_| {
                (
                    streets.place(streets::junction(dice.index(streets.junctions().len()))),
                    dice.between(60.0, 130.0),
                )
            })
            .collect();
        Self { streets, river: sketch.river, parks: sketch.parks, deaf_spots }
    }

    /// The street network.
    #[must_use]
    pub fn streets(&self) -> &StreetMap {
        &self.streets
    }

    /// The river.
    #[must_use]
    pub fn river(&self) -> &River {
        &self.river
    }

    /// The parks.
    #[must_use]
    pub fn parks(&self) -> &[Blob] {
        &self.parks
    }

    /// Whether the mobile network reaches a place.
    #[must_use]
    pub fn has_signal(&self, place: Point) -> bool {
        self.deaf_spots.iter().all(|(middle, radius_m)| middle.distance_m(place) > *radius_m)
    }

    /// How well the mobile network is heard, in dBm: best at the market place, worst around the places without.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "clamped to -118..=-62")]
    pub fn signal_dbm(&self, place: Point) -> i8 {
        let from_spots = self.deaf_spots.iter().map(|(middle, radius_m)| middle.distance_m(place) - radius_m);
        let nearest_m = from_spots.fold(f64::INFINITY, f64::min);
        let shadow_db = (30.0 - nearest_m / 12.0).max(0.0);
        (-62.0 - place.length_m() / 100.0 - shadow_db).clamp(-118.0, -62.0) as i8
    }

    /// Whether satellites are seen: not under the bridges.
    #[must_use]
    pub fn sees_sky(&self, place: Point) -> bool {
        self.river.side_m(place).abs() > UNDER_BRIDGE_M
    }
}

#[cfg(test)]
mod tests {
    use super::{streets::StreetClass, *};

    #[test]
    fn same_seed_gives_the_same_bytes() {
        for seed in [1, 7, 42] {
            assert_eq!(geojson::render(&Town::build(seed)), geojson::render(&Town::build(seed)));
        }
        assert_ne!(geojson::render(&Town::build(1)), geojson::render(&Town::build(2)));
    }

    #[test]
    fn every_street_can_be_reached_by_those_who_may_use_it() {
        let town = Town::build(1);
        let streets = town.streets();
        assert!(streets.junctions().len() > 1_500, "a town, not a hamlet");
        let start = streets.nearest_junction(Point::default(), |class| class != StreetClass::Path).unwrap();
        for id in streets.junction_ids().step_by(97) {
            if streets.ways(id).iter().any(|way| route::Travel::Driving.permits(way.class)) && id != start {
                assert!(
                    route::find(streets, route::Travel::Driving, start, id).is_some(),
                    "{id:?} is cut off"
                );
            }
        }
    }

    #[test]
    fn two_bridges_and_no_third_cross_the_river() {
        for seed in [1, 7, 42] {
            let town = Town::build(seed);
            let crossing = town.streets().pieces().iter().filter(|piece| {
                let side = |junction| town.river().side_m(town.streets().place(junction));
                side(piece.a) * side(piece.b) < 0.0
            });
            let classes: Vec<StreetClass> = crossing.map(|piece| piece.class).collect();
            assert_eq!(classes.len(), 2, "seed {seed}: {classes:?}");
        }
    }

    #[test]
    fn a_shift_replays_exactly() {
        let town = Town::build(3);
        let shift = || {
            let mut units = force::units(&town, 3, 12);
            (0..200)
                .flat_map(|_| units.iter_mut().map(|unit| unit.step(&town)).collect::<Vec<_>>())
                .collect::<Vec<_>>()
        };
        assert_eq!(shift(), shift());
    }

    #[test]
    fn everybody_stays_on_the_streets_and_every_fix_within_its_noise() {
        let town = Town::build(5);
        for mut unit in force::units(&town, 5, 16) {
            for _ in 0..240 {
                let moment = unit.step(&town);
                let off_m = town.streets().distance_to_street_m(moment.place);
                assert!(off_m < 0.01, "{} is {off_m} m off every street", unit.identity().device);
                if let Some(fix) = moment.fix {
                    let (longitude_deg, latitude_deg) =
                        (f64::from(fix.longitude_udeg) / 1e6, f64::from(fix.latitude_udeg) / 1e6);
                    let error_m = Point::from_degrees(longitude_deg, latitude_deg).distance_m(moment.place);
                    assert!(error_m < 40.0 && error_m <= unit.receiver().error_m_max() + 0.2);
                }
            }
        }
    }

    #[test]
    fn nobody_is_faster_than_their_means() {
        let town = Town::build(5);
        for mut unit in force::units(&town, 5, 24) {
            let limit_m = if unit.identity().kind == unit::UnitKind::Vehicle { 20.0 } else { 2.5 };
            let mut before = unit.place(&town);
            let mut moved_m = 0.0;
            for _ in 0..300 {
                let place = unit.step(&town).place;
                assert!(place.distance_m(before) <= limit_m, "{:?}", unit.identity());
                moved_m += place.distance_m(before);
                before = place;
            }
            assert!(moved_m > 60.0, "{:?} hardly moved: {moved_m} m", unit.identity());
        }
    }
}
