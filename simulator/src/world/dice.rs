//! Chance, from a seed: **the same seed gives the same world, byte for byte.**

use std::f64::consts::TAU;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A stream of chance that belongs to one purpose, so that drawing more for one changes nothing for another.
#[derive(Debug, Clone)]
pub struct Dice(ChaCha8Rng);

impl Dice {
    /// The stream `purpose` of a seed.
    #[must_use]
    pub fn new(seed: u64, purpose: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(purpose);
        Self(rng)
    }

    /// Evenly from `low` up to `high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.0.random::<f64>()
    }

    /// Evenly from 0 to `count - 1`; 0 if there is nothing to choose from.
    pub fn index(&mut self, count: usize) -> usize {
        if count == 0 { 0 } else { self.0.random_range(0..count) }
    }

    /// True once in `1 / chance` times.
    pub fn happens(&mut self, chance: f64) -> bool {
        self.0.random::<f64>() < chance
    }

    /// Normally distributed with mean 0 and standard deviation 1 (Box and Muller), never beyond 4.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.0.random::<f64>()).ln()).sqrt();
        (radius * (TAU * self.0.random::<f64>()).cos()).clamp(-4.0, 4.0)
    }

    /// A plain random number, for seeding something else.
    pub fn number(&mut self) -> u64 {
        self.0.random()
    }
}

/// A smooth line that never repeats itself soon: three sines of unrelated lengths, within -1 to 1.
#[derive(Debug, Clone, Copy)]
pub struct Wobble {
    phases_rad: [f64; 3],
    length: f64,
}

impl Wobble {
    /// One with features about `length` long.
    pub fn new(dice: &mut Dice, length: f64) -> Self {
        Self { phases_rad: [(); 3].map(|()| dice.between(0.0, TAU)), length }
    }

    /// Its value at `at`.
    #[must_use]
    pub fn at(&self, at: f64) -> f64 {
        let turns = at / self.length * TAU;
        let [a, b, c] = self.phases_rad;
        0.55 * (turns * 0.61 + a).sin() + 0.3 * (turns * 1.37 + b).sin() + 0.15 * (turns * 2.71 + c).sin()
    }

    /// Its value around a circle: the same at an angle and a whole turn later.
    #[must_use]
    pub fn around(&self, angle_rad: f64) -> f64 {
        let [a, b, c] = self.phases_rad;
        0.55 * (2.0 * angle_rad + a).sin()
            + 0.3 * (3.0 * angle_rad + b).sin()
            + 0.15 * (5.0 * angle_rad + c).sin()
    }
}
