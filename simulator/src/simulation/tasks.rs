//! Futures polled one at a time, in the order of their numbers.
//!
//! **Who is polled next depends on nothing but who is woken.** A runtime's own order has chance in it (the wake-up order of a
//! `watch`, for one); here the lowest number always goes first, so a run can be repeated.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Wake, Waker},
};

use futures_util::task::AtomicWaker;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Names a future.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TaskId(u64);

/// Futures of one simulation.
#[derive(Default)]
pub(super) struct Tasks {
    running: BTreeMap<TaskId, (Task, Waker)>,
    woken: Arc<Woken>,
    next: u64,
}

#[derive(Default)]
struct Woken {
    ids: Mutex<BTreeSet<TaskId>>,
    driver: AtomicWaker,
}

struct Bell {
    id: TaskId,
    woken: Arc<Woken>,
}

impl Tasks {
    /// Adds a future; it is polled at the next [`Tasks::run`].
    pub(super) fn spawn(&mut self, future: impl Future<Output = ()> + Send + 'static) -> TaskId {
        let id = TaskId(self.next);
        self.next += 1;
        let bell = Bell { id, woken: Arc::clone(&self.woken) };
        self.running.insert(id, (Box::pin(future), Arc::new(bell).into()));
        self.woken.lock().insert(id);
        id
    }

    /// Drops a future where it stands, as a killed process does.
    pub(super) fn drop(&mut self, id: TaskId) {
        self.running.remove(&id);
    }

    /// Polls until nobody is woken.
    pub(super) fn run(&mut self) {
        loop {
            let Some(id) = self.woken.lock().pop_first() else { return };
            let Some((future, waker)) = self.running.get_mut(&id) else { continue };
            if future.as_mut().poll(&mut Context::from_waker(waker)).is_ready() {
                self.running.remove(&id);
            }
        }
    }

    /// Waits until somebody is woken.
    pub(super) async fn woken(&self) {
        poll_fn(|cx| {
            self.woken.driver.register(cx.waker());
            if self.woken.lock().is_empty() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }
}

impl Woken {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<TaskId>> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.lock().insert(self.id);
        self.woken.driver.wake();
    }
}
