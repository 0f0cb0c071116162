//! Which way is down: the slow part of the acceleration.
//!
//! **A violent sample does not move gravity**: only what is about 1 g long can be gravity, so a blow, a fall or a cut wire
//! leave it where it was.

use super::super::accelerometer::Sample;

/// A vector in mg.
pub(super) type Vector = [i32; 3];

/// Fraction bits of the filter.
const SHIFT: u32 = 8;
const CALM_MG: core::ops::RangeInclusive<i64> = 500..=1500;

/// Squared length in mg^2.
pub(super) fn squared(vector: Vector) -> i64 {
    vector.iter().map(|axis| i64::from(*axis) * i64::from(*axis)).sum()
}

/// Length in mg.
pub(super) fn length(vector: Vector) -> u32 {
    u32::try_from(squared(vector).unsigned_abs().isqrt()).unwrap_or(u32::MAX)
}

pub(super) fn vector_of(sample: Sample) -> Vector {
    [sample.x_mg.into(), sample.y_mg.into(), sample.z_mg.into()]
}

fn is_calm(vector: Vector) -> bool {
    let squared = squared(vector);
    (CALM_MG.start().pow(2)..=CALM_MG.end().pow(2)).contains(&squared)
}

/// Low-pass of first order over the calm samples.
#[derive(Debug, Clone)]
pub(super) struct Gravity {
    up: Vector,
    settle_ms: i32,
    /// In mg, times 2^SHIFT. `None` before the first calm sample.
    filtered: Option<Vector>,
}

impl Gravity {
    pub(super) fn new(up_mg: [i16; 3], settle_ms: i32) -> Self {
        let up = up_mg.map(i32::from);
        // About 1000 long, so that no product below leaves 64 bits. A zero stays one.
        let scale = i32::try_from(length(up)).unwrap_or(i32::MAX).max(1);
        Self { up: up.map(|axis| axis * 1000 / scale), settle_ms, filtered: None }
    }

    /// Takes a sample and returns what of it is not gravity.
    pub(super) fn push(&mut self, period_ms: u16, sample: Sample) -> Vector {
        let vector = vector_of(sample);
        let Some(mut filtered) = self.filtered else {
            self.filtered = is_calm(vector).then(|| vector.map(|axis| axis << SHIFT));
            return [0; 3];
        };
        let dynamic = core::array::from_fn(|axis| vector[axis] - (filtered[axis] >> SHIFT));
        if is_calm(vector) {
            for (axis, value) in filtered.iter_mut().zip(vector) {
                *axis += ((value << SHIFT) - *axis) * i32::from(period_ms) / self.settle_ms;
            }
            self.filtered = Some(filtered);
        }
        dynamic
    }

    /// Whether up has tilted by more than the angle whose squared cosine is given in 1/10,000; below 90 degrees.
    /// Before the first calm sample, or if no axis is up, nothing is tilted.
    pub(super) fn is_tilted(&self, cosine_squared_e4: i64) -> bool {
        let Some(gravity) = self.mg() else { return false };
        let along = self.along(gravity);
        let lengths = squared(gravity) * squared(self.up);
        lengths != 0 && (along <= 0 || along * along * 10_000 < lengths * cosine_squared_e4)
    }

    /// The tilt in degrees, 0 to 180, good to a degree.
    pub(super) fn tilt_deg(&self) -> u8 {
        let Some(gravity) = self.mg() else { return 0 };
        let lengths = u64::from(length(gravity)) * u64::from(length(self.up));
        if lengths == 0 {
            return 0;
        }
        let cosine_e4 = self.along(gravity) * 10_000 / lengths.cast_signed();
        // Bhaskara's approximation of the cosine, cos(a) = (180^2 - 4 a^2) / (180^2 + a^2) for a up to 90 degrees, within
        // 0.2 %. The angle is the first whose cosine is not above ours.
        let acute = |cosine_e4: i64| {
            (0..=90i64).find(|a| 10_000 * (32_400 - 4 * a * a) <= cosine_e4 * (32_400 + a * a)).unwrap_or(90)
        };
        let deg = if cosine_e4 >= 0 { acute(cosine_e4) } else { 180 - acute(-cosine_e4) };
        u8::try_from(deg).unwrap_or(180)
    }

    fn mg(&self) -> Option<Vector> {
        self.filtered.map(|filtered| filtered.map(|axis| axis >> SHIFT))
    }

    fn along(&self, gravity: Vector) -> i64 {
        gravity.iter().zip(self.up).map(|(gravity, up)| i64::from(*gravity) * i64::from(up)).sum()
    }
}
