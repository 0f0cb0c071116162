//! A GNSS receiver: sentences at a steady pace, from a thread, until the board dies or the handle goes.

use std::{
    io::Write as _,
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use crate::{
    Failure,
    inputs::{Fix, rmc},
    qemu::Board,
};

/// A running feed.
#[derive(Debug)]
pub struct Feed {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<usize>>,
}

impl Feed {
    /// Writes one chunk every `period` into the board's GNSS port. A board that takes none holds the feed up; none is dropped.
    ///
    /// # Errors
    /// [`Failure`] if it cannot begin.
    pub fn start<I>(board: &Board, chunks: I, period: Duration) -> Result<Self, Failure>
    where
        I: IntoIterator<Item = Vec<u8>>,
        I::IntoIter: Send + 'static,
    {
        let mut port = board.gnss_port()?;
        let (stop, stopped) = mpsc::channel();
        let chunks = chunks.into_iter();
        let feed = move || {
            let mut due = Instant::now();
            let mut written_count = 0;
            for chunk in chunks {
                let wait = due.saturating_duration_since(Instant::now());
                // The board's end closes the port: a power cut ends its receiver.
                if stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout)
                    || port.write_all(&chunk).is_err()
                {
                    break;
                }
                written_count += 1;
                due += period;
            }
            written_count
        };
        let thread = thread::Builder::new().name("GNSS feed".to_owned()).spawn(feed);
        let thread = thread.map_err(Failure::io("cannot start the GNSS feed"))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }

    /// Waits for the end of the chunks and says how many were written.
    #[must_use]
    pub fn finish(mut self) -> usize {
        self.join()
    }

    /// Ends it now and says how many chunks were written.
    #[must_use]
    pub fn stop(mut self) -> usize {
        self.stop = None;
        self.join()
    }

    fn join(&mut self) -> usize {
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or(0)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stop = None;
        self.join();
    }
}

/// A walk: one fix a second of GNSS time from `start_unix_s` on, each about 5 m further east, with a receiver's jitter.
pub fn walk(start_unix_s: u64) -> impl Iterator<Item = Vec<u8>> + Send + 'static {
    // The same walk every time: what it costs on the wire is held to 3 %.
    let mut dice = StdRng::seed_from_u64(1);
    (0..WALK_FIXES_MAX).map(move |number| {
        let fix = Fix {
            unix_s: start_unix_s + u64::from(number.unsigned_abs()),
            latitude_udeg: WALK_LATITUDE_UDEG + dice.random_range(-20..20),
            longitude_udeg: WALK_LONGITUDE_UDEG + number * WALK_STEP_UDEG + dice.random_range(-20..20),
            speed: dice.random_range(85..110),
            course: dice.random_range(850..950),
        };
        rmc(&fix).into_bytes()
    })
}

/// A day of walking.
const WALK_FIXES_MAX: i32 = 86_400;
/// 5 m at this latitude.
const WALK_STEP_UDEG: i32 = 75;
/// Where the walk is: invented, in the North Sea.
pub const WALK_LATITUDE_UDEG: i32 = 54_321_098;
/// Where the walk begins.
pub const WALK_LONGITUDE_UDEG: i32 = 3_456_789;
