//! A GNSS receiver: sentences at a steady pace, from a thread, until the board dies or the handle goes.

use std::{
    io::Write as _,
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{Failure, inputs::rmc, qemu::Board};

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

/// A walk: one fix a second of GNSS time from `start_unix_s` on, each 5 m further east.
pub fn walk(start_unix_s: u64) -> impl Iterator<Item = Vec<u8>> + Send + 'static {
    (0..WALK_FIXES_MAX).map(move |fix| {
        let at_s = start_unix_s + u64::from(fix.unsigned_abs());
        rmc(at_s, WALK_LATITUDE_UDEG, WALK_LONGITUDE_UDEG + fix * WALK_STEP_UDEG).into_bytes()
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
