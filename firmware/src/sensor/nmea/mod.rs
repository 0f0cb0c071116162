//! A GNSS receiver's NMEA 0183 output, byte by byte, becomes fixes.
//!
//! ```text
//!  bytes -> line (bounded, checksummed) -> sentence (RMC, GGA in integers) -> epoch (merge) -> Fix
//! ```
//!
//! **Which sentence yields a fix.** An epoch is one UTC time. Its first RMC with status `A` yields its one fix, at once:
//! waiting for the rest of the epoch would cost the live map up to a second. RMC carries validity, date, position, speed
//! and course. GGA enriches: fix source, satellites and accuracy come from the GGA of the same time, or, where the
//! receiver sends RMC first, from the one before it if that is at most two seconds older.
//! A second RMC of the same time (another talker, a repeat) is counted, not reported. Time may step backwards: a receiver
//! that corrects itself is reported as it speaks, and [`crate::clock`] decides what to believe.
//!
//! **Coordinates are exact**: `ddmm.mmmmmmmm` is rounded to micro-degrees in integers; no floating point is involved.
//!
//! Source: NMEA 0183 version 4.11, sentences RMC and GGA.

mod epoch;
mod field;
mod line;
mod sentence;

use fieldpost_protocol::Position;

pub use self::line::LINE_BYTES_MAX;
use self::{
    epoch::Epoch,
    line::{Assembler, Step},
    sentence::Sentence,
};

/// Satellites of a fix are not known.
pub const SATELLITES_UNKNOWN: u8 = 255;

/// Where the device was, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Fix {
    /// UTC of the fix in ms of Unix time, as the receiver said it.
    pub unix_ms: u64,
    /// The position. Its reason is a placeholder until [`crate::sampler`] decides to report it.
    pub position: Position,
    /// Satellites used; [`SATELLITES_UNKNOWN`] if no GGA said.
    pub satellites: u8,
}

/// Why a sentence gave no fix. Closed: every dropped sentence has one of these reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Reject {
    /// A control or non-ASCII byte, or a new `$`, inside a sentence.
    Broken,
    /// Longer than [`LINE_BYTES_MAX`].
    Overlong,
    /// No `*hh` at its end.
    ChecksumMissing,
    /// The checksum is not that of the sentence.
    ChecksumBad,
    /// RMC or GGA of a talker that is not a satellite receiver.
    ForeignTalker,
    /// A good sentence of a type that is not used.
    Unused,
    /// A field is not what the standard says.
    Malformed,
    /// The receiver says it has no fix.
    NoFix,
    /// The epoch already gave its fix.
    EpochRepeated,
}

impl Reject {
    const COUNT: usize = 9;
}

/// What became of the sentences so far. Counters wrap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct NmeaCounters {
    fixes: u32,
    enrichments: u32,
    rejected: [u32; Reject::COUNT],
}

impl NmeaCounters {
    /// Fixes given.
    #[must_use]
    pub fn fixes(&self) -> u32 {
        self.fixes
    }

    /// GGA sentences taken to enrich a fix.
    #[must_use]
    pub fn enrichments(&self) -> u32 {
        self.enrichments
    }

    /// Sentences that arrived whole, whether they gave a fix or not: the line works.
    #[must_use]
    pub fn whole(&self) -> u32 {
        [Reject::ForeignTalker, Reject::Unused, Reject::NoFix, Reject::EpochRepeated]
            .iter()
            .fold(self.fixes.wrapping_add(self.enrichments), |sum, reason| {
                sum.wrapping_add(self.rejected(*reason))
            })
    }

    /// Sentences rejected for one reason.
    #[must_use]
    pub fn rejected(&self, reason: Reject) -> u32 {
        self.rejected[reason as usize]
    }
}

/// Turns a receiver's bytes into fixes. Holds one line and what the epoch needs: about 200 bytes.
#[derive(Debug, Clone, Default)]
pub struct Receiver {
    assembler: Assembler,
    epoch: Epoch,
    counters: NmeaCounters,
}

impl Receiver {
    /// A receiver that has heard nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next byte. How the bytes were cut into chunks makes no difference.
    pub fn push(&mut self, byte: u8) -> Option<Fix> {
        let outcome = match self.assembler.push(byte) {
            Step::More => return None,
            Step::Reject(reason) => Err(reason),
            Step::Line => self.take_line(),
        };
        match outcome {
            Ok(Some(fix)) => {
                self.counters.fixes = self.counters.fixes.wrapping_add(1);
                Some(fix)
            }
            Ok(None) => {
                self.counters.enrichments = self.counters.enrichments.wrapping_add(1);
                None
            }
            Err(reason) => {
                let count = &mut self.counters.rejected[reason as usize];
                *count = count.wrapping_add(1);
                None
            }
        }
    }

    /// What became of the sentences so far.
    #[must_use]
    pub fn counters(&self) -> &NmeaCounters {
        &self.counters
    }

    fn take_line(&mut self) -> Result<Option<Fix>, Reject> {
        match sentence::parse(self.assembler.line())? {
            Sentence::Rmc(rmc) => self.epoch.take_rmc(&rmc).map(Some),
            Sentence::Gga(gga) => {
                self.epoch.take_gga(gga);
                Ok(None)
            }
        }
    }
}
