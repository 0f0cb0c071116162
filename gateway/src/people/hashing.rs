//! Where passwords are hashed: off the runtime's threads, one at a time.
//!
//! **However many logins come, they take one core and 19 MiB**, and [`WAITING_MAX`] wait: a storm of logins cannot starve
//! ingest. Whoever finds the queue full is told to come back.
//!
//! **A check costs one hash, whoever asks**: for a name that nobody has, the password is held against a hash of nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Semaphore;

use super::password::{Hashed, Password, PasswordError};

/// Checks that wait at once: half a second of hashing.
pub const WAITING_MAX: usize = 16;

/// Hashes passwords. Clones share the one place.
#[derive(Debug, Clone)]
pub struct Hashing {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    turn: Arc<Semaphore>,
    waiting: AtomicUsize,
    done: AtomicU64,
    nobodys: Hashed,
}

/// Too many logins at once, or the process is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many people log in at this moment: try again in a second")]
pub struct Busy;

/// A place in the queue, held until its hash is computed, whatever became of who asked.
struct Place(Arc<Shared>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Hashing {
    /// Ready to hash. Blocking: hashes once.
    ///
    /// # Errors
    /// [`PasswordError::Failed`].
    pub fn new() -> Result<Self, PasswordError> {
        let nobodys = Password::random()?.hash()?;
        let (waiting, done) = (AtomicUsize::new(0), AtomicU64::new(0));
        let turn = Arc::new(Semaphore::new(1));
        Ok(Self { shared: Arc::new(Shared { turn, waiting, done, nobodys }) })
    }

    /// Whether `password` is the one behind `hashed`; with `None` it never is, at the same cost. Cancelled, a hash under
    /// way is finished for nobody, in its turn and its place.
    ///
    /// # Errors
    /// [`Busy`].
    pub async fn check(&self, hashed: Option<Hashed>, password: Password) -> Result<bool, Busy> {
        let is_somebody = hashed.is_some();
        let against = hashed.unwrap_or_else(|| self.shared.nobodys.clone());
        let is_right = self.run(move || against.is_of(&password)).await?;
        Ok(is_right && is_somebody)
    }

    /// Hashes a new password.
    ///
    /// # Errors
    /// [`Busy`]; inside, what [`Password::hash`] said.
    pub async fn hash(&self, password: Password) -> Result<Result<Hashed, PasswordError>, Busy> {
        self.run(move || password.hash()).await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        let place = Place(Arc::clone(&self.shared));
        if self.shared.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING_MAX {
            return Err(Busy);
        }
        let turn = Arc::clone(&self.shared.turn).acquire_owned().await.map_err(|_| Busy)?;
        // Turn and place go with the hash: a request that is given up does not make room for another beside it.
        let hashing = tokio::task::spawn_blocking(move || {
            let outcome = work();
            place.0.done.fetch_add(1, Ordering::Relaxed);
            drop((turn, place));
            outcome
        });
        hashing.await.map_err(|_| Busy)
    }

    /// How many hashes were computed.
    #[must_use]
    pub fn done_count(&self) -> u64 {
        self.shared.done.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Password {
        Password::typed(text.to_owned()).unwrap()
    }

    #[tokio::test]
    async fn nobody_costs_as_much_as_somebody() {
        let hashing = Hashing::new().unwrap();
        let annas = hashing.hash(typed("otter violin cloud")).await.unwrap().unwrap();
        let before = hashing.done_count();
        assert_eq!(hashing.check(Some(annas.clone()), typed("otter violin cloud")).await, Ok(true));
        assert_eq!(hashing.done_count(), before + 1);
        assert_eq!(hashing.check(Some(annas), typed("wrong")).await, Ok(false));
        assert_eq!(hashing.done_count(), before + 2);
        assert_eq!(hashing.check(None, typed("wrong")).await, Ok(false));
        assert_eq!(hashing.done_count(), before + 3);
        let cost = |hashed: &Hashed| hashed.as_str().split('$').nth(3).map(ToOwned::to_owned);
        let another = typed("x").hash().unwrap();
        assert_eq!(cost(&hashing.shared.nobodys), cost(&another), "and one hash costs what the other does");
    }

    #[tokio::test]
    async fn who_gives_up_makes_no_room_for_another_hash_beside_theirs() {
        let hashing = Hashing::new().unwrap();
        let (finish, finished) = std::sync::mpsc::channel::<()>();
        let asking = {
            let hashing = hashing.clone();
            tokio::spawn(async move { hashing.run(move || finished.recv()).await })
        };
        while hashing.shared.turn.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        asking.abort();
        assert!(asking.await.unwrap_err().is_cancelled());
        assert_eq!(hashing.shared.turn.available_permits(), 0, "the hash goes on");
        assert_eq!(hashing.shared.waiting.load(Ordering::Relaxed), 1);
        finish.send(()).unwrap();
        assert_eq!(hashing.check(None, typed("x")).await, Ok(false), "then it is the next one's turn");
        assert_eq!(hashing.done_count(), 2);
    }

    #[tokio::test]
    async fn a_storm_of_logins_waits_in_a_bounded_queue() {
        let hashing = Hashing::new().unwrap();
        let hold = Arc::clone(&hashing.shared.turn).acquire_owned().await.unwrap();
        let waiting: Vec<_> = (0..WAITING_MAX)
            .map(|_| {
                let hashing = hashing.clone();
                tokio::spawn(async move { hashing.check(None, typed("x")).await })
            })
            .collect();
        while hashing.shared.waiting.load(Ordering::Relaxed) < WAITING_MAX {
            tokio::task::yield_now().await;
        }
        assert_eq!(hashing.check(None, typed("x")).await, Err(Busy));
        drop(hold);
        for one in waiting {
            assert_eq!(one.await.unwrap(), Ok(false));
        }
        assert_eq!(hashing.check(None, typed("x")).await, Ok(false), "and there is room again");
    }
}
