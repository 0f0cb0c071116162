//! How often somebody may try.
//!
//! **A key that has failed [`Limit::burst`] times waits [`Limit::refill_ms`] for each further try**, whether or not anybody
//! has that name. A success clears it. Bounded: [`KEYS_MAX`] keys; when they are full, the one nearest to being forgotten
//! gives way, so a flood of new keys cannot free one that is held back.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

/// Keys remembered at once: 100 bytes each.
pub const KEYS_MAX: usize = 4096;

/// How often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Tries before anybody has to wait.
    pub burst: u32,
    /// Time that gives one try back, in ms.
    pub refill_ms: u64,
}

/// Tries by key. Time comes from the caller, Unix ms.
#[derive(Debug)]
pub struct Throttle<K> {
    limit: Limit,
    /// By key: when its tries are all back.
    whole_at_ms: Mutex<HashMap<K, u64>>,
}

impl<K: Eq + Hash + Clone> Throttle<K> {
    /// Nobody has tried yet.
    #[must_use]
    pub fn new(limit: Limit) -> Self {
        Self { limit, whole_at_ms: Mutex::default() }
    }

    /// Takes one try of `key`.
    ///
    /// # Errors
    /// Milliseconds until there is one again; nothing was taken.
    pub fn take(&self, key: &K, now_ms: u64) -> Result<(), u64> {
        let mut keys = self.whole_at_ms.lock().unwrap_or_else(PoisonError::into_inner);
        let depth_ms = u64::from(self.limit.burst) * self.limit.refill_ms;
        // A clock that was set back must not hold anybody for longer than a full penance.
        let whole_at_ms = keys.get(key).copied().unwrap_or(0).clamp(now_ms, now_ms + depth_ms);
        let then_ms = whole_at_ms + self.limit.refill_ms;
        if then_ms > now_ms + depth_ms {
            return Err(then_ms - now_ms - depth_ms);
        }
        if !keys.contains_key(key) && keys.len() >= KEYS_MAX {
            keys.retain(|_, whole_at_ms| *whole_at_ms > now_ms);
            if keys.len() >= KEYS_MAX {
                let soonest = keys.iter().min_by_key(|(_, at_ms)| **at_ms).map(|(key, _)| key.clone());
                soonest.map(|key| keys.remove(&key));
            }
        }
        keys.insert(key.clone(), then_ms);
        Ok(())
    }

    /// Forgets the tries of `key`.
    pub fn clear(&self, key: &K) {
        self.whole_at_ms.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_795_000_000_000;
    const LIMIT: Limit = Limit { burst: 5, refill_ms: 10_000 };

    #[test]
    fn after_the_burst_a_try_comes_back_at_a_time() {
        let throttle = Throttle::new(LIMIT);
        for _ in 0..5 {
            assert_eq!(throttle.take(&"anna", NOW_MS), Ok(()));
        }
        assert_eq!(throttle.take(&"anna", NOW_MS), Err(10_000));
        assert_eq!(throttle.take(&"ben", NOW_MS), Ok(()), "nobody waits for another");
        assert_eq!(throttle.take(&"anna", NOW_MS + 9_000), Err(1_000));
        assert_eq!(throttle.take(&"anna", NOW_MS + 10_000), Ok(()));
        assert_eq!(throttle.take(&"anna", NOW_MS + 10_000), Err(10_000));
        throttle.clear(&"anna");
        assert_eq!(throttle.take(&"anna", NOW_MS + 10_000), Ok(()));
    }

    #[test]
    fn a_clock_that_is_set_back_holds_nobody_for_ever() {
        let throttle = Throttle::new(LIMIT);
        for _ in 0..5 {
            throttle.take(&"anna", NOW_MS + 86_400_000).unwrap();
        }
        assert_eq!(throttle.take(&"anna", NOW_MS), Err(10_000));
    }

    #[test]
    fn a_flood_of_names_is_bounded_and_frees_nobody_who_is_held_back() {
        let throttle = Throttle::new(LIMIT);
        for _ in 0..5 {
            throttle.take(&usize::MAX, NOW_MS).unwrap();
        }
        for key in 0..3 * KEYS_MAX {
            throttle.take(&key, NOW_MS).unwrap();
        }
        assert_eq!(throttle.whole_at_ms.lock().unwrap().len(), KEYS_MAX);
        assert!(throttle.take(&usize::MAX, NOW_MS).is_err());
    }
}
