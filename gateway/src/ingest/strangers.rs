//! How much strangers may say in our log.
//!
//! **Who has no good certificate cannot fill the disk or the pipe that takes the log**: at most [`LINES_PER_SECOND_MAX`]
//! of their refusals are logged a second, and the next line says how many were not. The counters miss none.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Enough to see who knocks; 200 bytes a line are then at most 170 MB a day.
const LINES_PER_SECOND_MAX: u32 = 10;

/// Shared by every connection on its way in.
#[derive(Debug)]
pub(crate) struct StrangersLog(Mutex<Second>);

/// The second that is counted.
#[derive(Debug)]
struct Second {
    began_at: Instant,
    lines_count: u32,
    unsaid_count: u64,
}

impl StrangersLog {
    pub(crate) fn new(now: Instant) -> Self {
        Self(Mutex::new(Second { began_at: now, lines_count: 0, unsaid_count: 0 }))
    }

    /// Whether a line may be logged: then it says how many before it were not.
    pub(crate) fn may_say(&self, now: Instant) -> Option<u64> {
        let mut second = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now.duration_since(second.began_at) >= Duration::from_secs(1) {
            second.began_at = now;
            second.lines_count = 0;
        }
        if second.lines_count == LINES_PER_SECOND_MAX {
            second.unsaid_count += 1;
            return None;
        }
        second.lines_count += 1;
        Some(std::mem::take(&mut second.unsaid_count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_off_and_counted_in_the_next_line() {
        let start = Instant::now();
        let log = StrangersLog::new(start);
        let said: Vec<_> = (0..1000).filter_map(|_| log.may_say(start)).collect();
        assert_eq!(said, [0; LINES_PER_SECOND_MAX as usize]);
        let later = start + Duration::from_secs(1);
        assert_eq!(log.may_say(later), Some(990));
        assert_eq!(log.may_say(later), Some(0));
    }
}
