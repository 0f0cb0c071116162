//! A spool worked by hand: the writer and the keeper without their threads.
//!
//! **The same steps as with threads, in the order and at the instants that the owner chooses**, so a crash can fall between
//! a write and its fsync, and a run can be repeated exactly.

use std::sync::Arc;
use std::time::Instant;

use super::keeper;
use super::shared::{Shared, Work};
use super::writer::{Ending, Wait, Writer};

/// Does the work of a spool opened with [`super::Spool::open_by_hand`]. Dropped, it closes the spool without another
/// commit, like a killed process.
pub struct Crew {
    shared: Arc<Shared>,
    writer: Writer,
    _ending: Ending,
}

impl Crew {
    pub(super) fn new(shared: Arc<Shared>, work: Work) -> Self {
        let ending = Ending::new(Arc::clone(&shared), None, work.dir_lock);
        Self { writer: Writer::new(Arc::clone(&shared), work.active), shared, _ending: ending }
    }

    /// The writer's next step, if it has one: take the batch, write it, or sync and publish it. Says what to wait for
    /// before the next; `None` when the spool is closing and all is done.
    pub fn step(&mut self, now: Instant) -> Option<Wait> {
        self.writer.step(now)
    }

    /// A round of the keeper if somebody asked for one; the keeper's own rounds are a second apart, see [`Crew::tend`].
    pub fn tend_if_asked(&mut self) {
        if keeper::is_asked(&self.shared) {
            self.tend();
        }
    }

    /// A round of the keeper.
    pub fn tend(&mut self) {
        keeper::round(&self.shared);
    }
}

impl std::fmt::Debug for Crew {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Crew")
    }
}
