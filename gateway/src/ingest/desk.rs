//! The desks behind the front door: threads that serve connected devices.
//!
//! **A connection is served by one thread from CONNACK to its end**, and that thread has its own event loop and its own
//! bell. So what a commit makes due is written without waking another thread: one wake-up a desk and commit, however many
//! connections wait for it. Whoever brings much waits for its turn ([`super::turns`]), so that an alarm does not.
//! Handshakes, which cost a hundred times as much as a message, stay on the shared runtime: a thousand devices that come
//! back at once do not stand in front of those that are there.
//!
//! ```text
//! accept -> handshake, CONNECT (shared runtime) -> desk 0: sessions, bell   <- one wake-up a commit
//!                                               -> desk 1: sessions, bell   <-
//! ```

use std::future::Future;
use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::commit::CommitBell;
use super::turns::Turns;
use crate::spool::CommitState;

/// More than this many were never measured to help: one serves a million messages a second.
const DESKS_MAX: usize = 8;

/// Every desk of a front door. Dropped, each ends with what it serves.
#[derive(Debug)]
pub(super) struct Desks {
    desks: Vec<Desk>,
    next: AtomicUsize,
    _open: DropGuard,
}

/// One thread.
#[derive(Debug, Clone)]
pub(super) struct Desk {
    runtime: Handle,
    bell: Arc<CommitBell>,
    turns: Arc<Turns>,
}

impl Desks {
    /// Opens one desk for every two processors: the spool's writer, the readers and the handshakes need some too.
    ///
    /// # Errors
    /// The system gives no thread or no event loop.
    pub(super) fn open(commits: &watch::Receiver<CommitState>) -> io::Result<Self> {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        let closing = CancellationToken::new();
        let desks = (0..(processors / 2).clamp(1, DESKS_MAX))
            .map(|number| Desk::open(number, commits.clone(), closing.clone()))
            .collect::<io::Result<_>>()?;
        Ok(Self { desks, next: AtomicUsize::new(0), _open: closing.drop_guard() })
    }

    /// The desk of the next connection: each in turn.
    pub(super) fn next(&self) -> Desk {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        self.desks[turn % self.desks.len()].clone()
    }
}

impl Desk {
    fn open(
        number: usize,
        commits: watch::Receiver<CommitState>,
        closing: CancellationToken,
    ) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let bell = Arc::new(CommitBell::new(&commits.borrow()));
        let turns = Arc::new(Turns::default());
        let desk =
            Self { runtime: runtime.handle().clone(), bell: Arc::clone(&bell), turns: Arc::clone(&turns) };
        std::thread::Builder::new().name(format!("front-door-{number}")).spawn(move || {
            runtime.block_on(async {
                let following = async {
                    bell.follow(commits).await;
                    // The spool is closed. What is served here hears of it from the bell and ends.
                    std::future::pending::<()>().await;
                };
                closing.run_until_cancelled(async { tokio::join!(following, turns.give()) }).await;
            });
        })?;
        Ok(desk)
    }

    /// Tells the connections of this desk what is committed.
    pub(super) fn bell(&self) -> &Arc<CommitBell> {
        &self.bell
    }

    /// Who waits for its turn here.
    pub(super) fn turns(&self) -> &Arc<Turns> {
        &self.turns
    }

    /// Serves `connection` at this desk, counted by `tracker`.
    pub(super) fn serve(&self, connection: impl Future<Output = ()> + Send + 'static, tracker: &TaskTracker) {
        drop(tracker.spawn_on(connection, &self.runtime));
    }
}
