//! A vehicle is hit, or turns over.
//!
//! An impact begins with 1.5 g and ends 250 ms after the last such sample, or after 2 s; its worst 120 ms count. What
//! rattles on (a gravel track) is said once a minute.

use super::{
    Impact, Severity,
    gravity::{Gravity, Vector, length},
};

const BEGIN_MG: u32 = 1500;
const MAJOR_MG: u32 = 2500;
const SEVERE_MG: u32 = 6000;
/// 7 and 25 km/h.
const MAJOR_CMPS: u32 = 194;
const SEVERE_CMPS: u32 = 694;
const WINDOW_MS: u16 = 120;
/// The window at the shortest period of 5 ms.
const WINDOW_COUNT_MAX: usize = 24;
const QUIET_MS: u64 = 250;
const EPISODE_MS_MAX: u64 = 2000;
/// Minor impacts are said at most this often.
const MINOR_MS_MIN: u64 = 60_000;
/// Rolled past 60 degrees for this long.
const ROLL_MS_MIN: u64 = 1000;
const COS2_60: i64 = 2500;
const COS2_50: i64 = 4132;

#[derive(Debug, Clone, Copy)]
struct Episode {
    begun_ms: u64,
    last_ms: u64,
    peak_mg: u32,
    delta_v_cmps: u32,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Crash {
    /// The last 120 ms, oldest first, in mg.
    window: heapless::Deque<[i16; 3], WINDOW_COUNT_MAX>,
    sum_mg: Vector,
    episode: Option<Episode>,
    minor_said_ms: Option<u64>,
    rolled_since_ms: Option<u64>,
    roll_is_said: bool,
}

impl Crash {
    /// What came before a gap is no part of what comes after.
    pub(super) fn on_gap(&mut self) {
        self.window.clear();
        self.sum_mg = [0; 3];
        self.rolled_since_ms = None;
    }

    /// Takes the next sample without its gravity; returns an impact that is over.
    pub(super) fn push_sample(&mut self, now_ms: u64, period_ms: u16, dynamic_mg: Vector) -> Option<Impact> {
        self.slide(period_ms, dynamic_mg);
        let peak_mg = length(dynamic_mg);
        if peak_mg >= BEGIN_MG {
            self.episode
                .get_or_insert(Episode { begun_ms: now_ms, last_ms: now_ms, peak_mg: 0, delta_v_cmps: 0 })
                .last_ms = now_ms;
        }
        let delta_v_cmps = delta_v_cmps(self.sum_mg, period_ms);
        let episode = self.episode.as_mut()?;
        episode.peak_mg = episode.peak_mg.max(peak_mg);
        episode.delta_v_cmps = episode.delta_v_cmps.max(delta_v_cmps);
        let is_over = now_ms.saturating_sub(episode.last_ms) >= QUIET_MS
            || now_ms.saturating_sub(episode.begun_ms) >= EPISODE_MS_MAX;
        if !is_over {
            return None;
        }
        let impact = judge(episode);
        self.episode = None;
        let is_repeat = impact.severity == Severity::Minor
            && self.minor_said_ms.is_some_and(|said_ms| now_ms.saturating_sub(said_ms) < MINOR_MS_MIN);
        if is_repeat {
            return None;
        }
        self.minor_said_ms = Some(now_ms);
        Some(impact)
    }

    /// Looks at the tilt; returns the roll in degrees, once until upright again.
    pub(super) fn push_tilt(&mut self, now_ms: u64, gravity: &Gravity) -> Option<u8> {
        if !gravity.is_tilted(COS2_60) {
            self.rolled_since_ms = None;
            self.roll_is_said &= gravity.is_tilted(COS2_50);
            return None;
        }
        let since_ms = *self.rolled_since_ms.get_or_insert(now_ms);
        if self.roll_is_said || now_ms.saturating_sub(since_ms) < ROLL_MS_MIN {
            return None;
        }
        self.roll_is_said = true;
        Some(gravity.tilt_deg())
    }

    fn slide(&mut self, period_ms: u16, dynamic_mg: Vector) {
        let count_max = usize::from((WINDOW_MS / period_ms).max(1)).min(WINDOW_COUNT_MAX);
        while self.window.len() >= count_max {
            let Some(oldest) = self.window.pop_front() else { break };
            for (sum, axis) in self.sum_mg.iter_mut().zip(oldest) {
                *sum -= i32::from(axis);
            }
        }
        // Wider than any part measures: 32 g.
        let newest = dynamic_mg.map(|axis| axis.clamp(i16::MIN.into(), i16::MAX.into()) as i16);
        for (sum, axis) in self.sum_mg.iter_mut().zip(newest) {
            *sum += i32::from(axis);
        }
        self.window.push_back(newest).expect("has room: the oldest gave way");
    }
}

/// 1 mg over 1 ms is 9.80665e-4 cm/s.
fn delta_v_cmps(sum_mg: Vector, period_ms: u16) -> u32 {
    let sum = u64::from(length(sum_mg)) * u64::from(period_ms) * 980_665 / 1_000_000_000;
    u32::try_from(sum).unwrap_or(u32::MAX)
}

fn judge(episode: &Episode) -> Impact {
    let Episode { peak_mg, delta_v_cmps, .. } = *episode;
    let severity = if peak_mg >= MAJOR_MG && delta_v_cmps >= MAJOR_CMPS {
        if peak_mg >= SEVERE_MG || delta_v_cmps >= SEVERE_CMPS { Severity::Severe } else { Severity::Major }
    } else {
        Severity::Minor
    };
    let u16_of = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
    Impact { severity, peak_mg: u16_of(peak_mg), delta_v_cmps: u16_of(delta_v_cmps) }
}
