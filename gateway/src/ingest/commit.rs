//! Wakes each connection when what it waits for is committed, and no other.
//!
//! **One task a desk watches the spool; a connection is woken once per commit that concerns it**, so a thousand connections
//! with one message each cost a thousand wake-ups per commit and not a thousand squared. They are all of the bell's own
//! thread, so none of these wake-ups is a system call.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use tokio::sync::watch;

use crate::sabotage::{self, Sabotage};
use crate::spool::{CommitState, Health, Lsn};

/// What the connections wait for.
#[derive(Debug)]
pub(super) struct CommitBell {
    /// Newest committed entry.
    committed: AtomicU64,
    /// Nothing more will be committed.
    is_final: AtomicBool,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// For an entry's commit.
    for_commit: Vec<(Lsn, Waker)>,
    /// For room in the spool: any change may have made some.
    for_room: Vec<Waker>,
    /// Counts rings, so that nobody registers for room twice between two of them.
    rings: u64,
}

impl CommitBell {
    pub(super) fn new(state: &CommitState) -> Self {
        Self {
            committed: AtomicU64::new(state.committed.0),
            is_final: AtomicBool::new(is_final(state)),
            waiting: Mutex::default(),
        }
    }

    /// Follows the spool until it closes.
    pub(super) async fn follow(&self, mut commits: watch::Receiver<CommitState>) {
        loop {
            let state = *commits.borrow_and_update();
            self.ring(&state);
            if commits.changed().await.is_err() {
                return;
            }
        }
    }

    fn ring(&self, state: &CommitState) {
        // Before the lock: who registers after us sees it, who registered before us is woken.
        self.committed.store(state.committed.0, Ordering::Release);
        let is_final = is_final(state);
        self.is_final.store(is_final, Ordering::Release);
        let mut due = Vec::new();
        {
            let mut waiting = self.lock();
            waiting.rings += 1;
            waiting.for_commit.retain_mut(|(lsn, waker)| {
                let waits = *lsn > state.committed && !is_final;
                if !waits {
                    due.push(std::mem::replace(waker, Waker::noop().clone()));
                }
                waits
            });
            due.append(&mut waiting.for_room);
        }
        for waker in due {
            waker.wake();
        }
    }

    pub(super) fn committed(&self) -> Lsn {
        if sabotage::is(Sabotage::AckBeforeCommit) {
            return Lsn(u64::MAX);
        }
        Lsn(self.committed.load(Ordering::Acquire))
    }

    /// Whether what is not committed now never will be.
    pub(super) fn is_final(&self) -> bool {
        self.is_final.load(Ordering::Acquire)
    }

    /// Wakes `waker` once `lsn` is committed or never will be. False if that is so already.
    pub(super) fn wait_for(&self, lsn: Lsn, waker: &Waker) -> bool {
        let mut waiting = self.lock();
        let waits = lsn > self.committed() && !self.is_final();
        if waits {
            waiting.for_commit.push((lsn, waker.clone()));
        }
        waits
    }

    /// Wakes `waker` at the spool's next change, unless it is registered already: `asked_at` is the last answer. If the
    /// answer is new, try once more before sleeping.
    pub(super) fn wait_for_room(&self, asked_at: Option<u64>, waker: &Waker) -> u64 {
        let mut waiting = self.lock();
        if asked_at != Some(waiting.rings) {
            waiting.for_room.push(waker.clone());
        }
        waiting.rings
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_final(state: &CommitState) -> bool {
    state.health == Health::Failed || state.closed
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn state(committed: u64, health: Health) -> CommitState {
        CommitState { committed: Lsn(committed), urgent: Lsn(0), health, stalled: false, closed: false }
    }

    fn waiter() -> (Arc<Woken>, Waker) {
        let woken = Arc::new(Woken::default());
        (Arc::clone(&woken), woken.into())
    }

    #[test]
    fn a_commit_wakes_whom_it_concerns_and_nobody_else() {
        let bell = CommitBell::new(&state(5, Health::Ok));
        let ((early, early_waker), (late, late_waker)) = (waiter(), waiter());
        assert!(!bell.wait_for(Lsn(5), &early_waker), "committed already");
        assert!(bell.wait_for(Lsn(6), &early_waker) && bell.wait_for(Lsn(9), &late_waker));
        bell.ring(&state(8, Health::Ok));
        assert_eq!((early.0.load(Ordering::Relaxed), late.0.load(Ordering::Relaxed)), (1, 0));
        bell.ring(&state(9, Health::Ok));
        bell.ring(&state(10, Health::Ok));
        assert_eq!((early.0.load(Ordering::Relaxed), late.0.load(Ordering::Relaxed)), (1, 1));
    }

    #[test]
    fn a_failed_spool_wakes_everybody_and_nobody_waits_again() {
        let bell = CommitBell::new(&state(5, Health::Ok));
        let (woken, waker) = waiter();
        assert!(bell.wait_for(Lsn(6), &waker));
        bell.ring(&state(5, Health::Failed));
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(bell.is_final() && !bell.wait_for(Lsn(6), &waker));
    }

    #[test]
    fn a_wait_for_room_is_registered_once_between_two_rings() {
        let bell = CommitBell::new(&state(0, Health::Full));
        let (woken, waker) = waiter();
        let asked_at = bell.wait_for_room(None, &waker);
        assert_eq!(bell.wait_for_room(Some(asked_at), &waker), asked_at);
        bell.ring(&state(0, Health::Ok));
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert_ne!(bell.wait_for_room(Some(asked_at), &waker), asked_at);
    }
}
