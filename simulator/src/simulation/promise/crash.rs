//! Promise 1, of every entry and not only of those that a device waits for: **what was committed is read again after any
//! crash.**
//!
//! A power cut may leave a hole in the batch that was being written, of which nothing was committed yet: recovery calls it
//! damage, as it cannot know. **Its word alone excuses nothing**: an entry that was committed is no damage.

use std::{collections::BTreeSet, ops::RangeInclusive};

use super::{Audit, Checker, Fact};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Crash {
    /// What was committed before the last crash, until somebody has looked.
    owed: Option<RangeInclusive<u64>>,
    /// Never committed, and skipped by the numbers that were given out later.
    holes: BTreeSet<u64>,
}

impl Crash {
    fn recovered(&mut self, damaged: &[RangeInclusive<u64>]) -> Result<(), String> {
        for lsn in damaged.iter().cloned().flatten().filter(|lsn| !self.holes.contains(lsn)) {
            if self.owed.as_ref().is_some_and(|owed| owed.contains(&lsn)) {
                return Err(format!("entry {lsn} was committed, and recovery calls it damaged"));
            }
        }
        self.holes.extend(damaged.iter().cloned().flatten());
        Ok(())
    }

    fn look(&mut self, audit: &Audit<'_>) -> Result<(), String> {
        let Some(owed) = self.owed.take() else { return Ok(()) };
        let kept = audit.kept.iter().filter(|kept| !kept.is_archived).map(|kept| kept.lsn);
        let kept: BTreeSet<u64> = kept.collect();
        match owed.clone().find(|lsn| !kept.contains(lsn) && !self.holes.contains(lsn)) {
            None => Ok(()),
            Some(lsn) => Err(format!("entry {lsn} was committed before a crash, and is gone")),
        }
    }
}

impl Checker for Crash {
    fn name(&self) -> &'static str {
        "what is committed survives a crash"
    }

    fn see(&mut self, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Crashed { committed } => self.owed = Some(committed.clone()),
            Fact::Recovered { damaged } => return self.recovered(damaged),
            Fact::Audited(audit) => return self.look(audit),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::promise::Kept;

    /// Entries 3 to 8 were committed; recovery calls some damaged, and these are read.
    fn judged(damaged: &[RangeInclusive<u64>], read: &[u64]) -> Result<(), String> {
        let mut crash = Crash::default();
        let kept = |lsn: &u64| Kept {
            lsn: *lsn,
            id: None,
            key_hash: *lsn,
            received_at_ms: 0,
            period_ms: None,
            is_archived: false,
        };
        let kept: Vec<_> = read.iter().map(kept).collect();
        let audit = Audit { kept: &kept, latest_ms: 0 };
        crash.see(&Fact::Crashed { committed: 3..=8 })?;
        crash.see(&Fact::Recovered { damaged })?;
        crash.see(&Fact::Audited(&audit))?;
        // The next crash finds the same hole, behind entries that are committed by then.
        crash.see(&Fact::Crashed { committed: 3..=12 })?;
        crash.see(&Fact::Recovered { damaged })?;
        crash.see(&Fact::Audited(&audit))
    }

    #[test]
    fn a_hole_is_excused_only_behind_what_was_committed() {
        assert_eq!(judged(&[9..=10], &[3, 4, 5, 6, 7, 8, 11, 12]), Ok(()));
        let lies = [
            (judged(&[8..=10], &[3, 4, 5, 6, 7, 11, 12]), "recovery calls it damaged"),
            (judged(&[9..=10], &[3, 4, 5, 7, 8, 11, 12]), "entry 6 was committed before a crash"),
            (judged(&[], &[3, 4, 5, 6, 7, 8, 11, 12]), "entry 9 was committed before a crash"),
        ];
        for (judged, words) in lies {
            assert!(judged.as_ref().is_err_and(|error| error.contains(words)), "{judged:?} {words}");
        }
    }
}
