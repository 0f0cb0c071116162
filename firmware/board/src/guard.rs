//! The guard: feeds the watchdog while every task reports in time.
//!
//! | watched | reports | deadline |
//! |---|---|---|
//! | `Sense` | every round of reading the sensors, 20 ms | 5 s |
//! | `Device` | every turn, at least once a second | 5 s |
//! | `Network` | the ticker of the calm executor, 5 ms | 20 s: a handshake blocks it for seconds |
//! | `Link` | whenever it looks at an order | 120 s, counted only while orders wait |
//!
//! **Once a task is silent the watchdog is not fed again**: a task that wakes up late does not save a device whose work has
//! stood still. The deadlines are generous because a reset costs more than a late reading; a virtual machine whose host is busy
//! must not look like a dead device.

use core::sync::atomic::{AtomicU32, Ordering};

use embassy_time::{Duration, Instant, Ticker};

use crate::{
    board::{self, Gnss, Watchdog, usage},
    executor, say, wire,
};

/// What the guard watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, defmt::Format)]
pub(crate) enum Watched {
    Sense,
    Device,
    Network,
    Link,
}

impl Watched {
    const ALL: [Self; 4] = [Self::Sense, Self::Device, Self::Network, Self::Link];

    fn deadline(self) -> Duration {
        match self {
            Self::Sense | Self::Device => Duration::from_secs(5),
            Self::Network => Duration::from_secs(20),
            Self::Link => Duration::from_secs(120),
        }
    }

    /// What has not started is not missed: a device without a slot only waits to be provisioned.
    fn is_due(self) -> bool {
        match self {
            Self::Link => !wire::ORDERS.is_empty(),
            Self::Sense | Self::Device | Self::Network => {
                REPORTED_MS[self as usize].load(Ordering::Relaxed) != 0
            }
        }
    }
}

/// From the last feeding to the bite.
const PATIENCE: Duration = Duration::from_secs(10);
const ROUND: Duration = Duration::from_millis(500);
/// Rounds between two lines of usage: 2 s.
const ROUNDS_PER_USAGE: u32 = 4;

/// When each last reported, in ms since start; a u32 lasts 49 days, compared by difference.
static REPORTED_MS: [AtomicU32; 4] = [const { AtomicU32::new(0) }; 4];
static SENSE_LATE_US_MAX: AtomicU32 = AtomicU32::new(0);

fn now_ms() -> u32 {
    Instant::now().as_millis() as u32
}

/// The caller is alive.
pub(crate) fn report(watched: Watched) {
    REPORTED_MS[watched as usize].store(now_ms().max(1), Ordering::Relaxed);
}

/// A round of the sensors waited this long for the processor.
pub(crate) fn note_late(late: Duration) {
    let late_us = u32::try_from(late.as_micros()).unwrap_or(u32::MAX);
    SENSE_LATE_US_MAX.fetch_max(late_us, Ordering::Relaxed);
}

fn silent() -> Option<Watched> {
    Watched::ALL.into_iter().find(|watched| {
        if !watched.is_due() {
            if *watched == Watched::Link {
                report(*watched);
            }
            return false;
        }
        let silent_ms = now_ms().wrapping_sub(REPORTED_MS[*watched as usize].load(Ordering::Relaxed));
        // A report may come between the two readings of the clock: then the difference is just below zero.
        let is_ahead = silent_ms > u32::MAX / 2;
        !is_ahead && u64::from(silent_ms) > watched.deadline().as_millis()
    })
}

/// The costs so far.
pub(crate) fn say_usage() {
    let late = Duration::from_micros(SENSE_LATE_US_MAX.load(Ordering::Relaxed).into());
    say::usage(usage(), executor::asleep(), late, Gnss::dropped_bytes());
}

/// Guards until a task falls silent.
#[embassy_executor::task]
pub(crate) async fn guard() {
    let mut watchdog = Watchdog::start(PATIENCE);
    let mut ticker = Ticker::every(ROUND);
    for round in 1_u32.. {
        ticker.next().await;
        if let Some(watched) = silent() {
            say::silent(watched);
            return;
        }
        watchdog.feed();
        let asked = board::asked();
        #[cfg(feature = "drills")]
        asked.into_iter().for_each(crate::drill::perform);
        if asked.is_some() || round.is_multiple_of(ROUNDS_PER_USAGE) {
            say_usage();
        }
    }
}
