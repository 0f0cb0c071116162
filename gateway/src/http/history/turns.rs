//! How many answers of the history are made at a time.
//!
//! **The history is read and rendered beside the runtime, never on it, [`AT_ONCE`] answers at a time**: a month of tracks for
//! everybody delays neither a device nor an alarm. [`WAITING_MAX`] more wait for a turn, within the time limit of their requests; who
//! comes then is refused at once, and told when to come again. **No session has more than [`OF_A_SESSION_MAX`] of these places**: one
//! script cannot keep every other console from the past. An answer whose asker has gone keeps its turn until it is made:
//! whoever asks and hangs up, again and again, cannot have more than these.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

use super::refused;
use crate::audit::Unseen;
use crate::history::HistoryError;
use crate::http::question::Checked;
use crate::http::refusal;

/// Answers under way: as many as the smallest machine has processors.
const AT_ONCE: usize = 2;
/// Answers that wait: a control room's screens after a restart.
const WAITING_MAX: usize = 32;
/// Of one session: above what a page asks for at once, a track, a replay and a list.
const OF_A_SESSION_MAX: usize = 8;
/// When who was refused should come again, in seconds.
const RETRY_AFTER_S: u16 = 2;

/// Hands out turns.
#[derive(Debug)]
pub(in crate::http) struct Turns {
    places: Arc<Semaphore>,
    working: Arc<Semaphore>,
    shares: Shares,
}

/// How many places each session has; those that have none are not in it.
#[derive(Debug, Clone, Default)]
struct Shares(Arc<Mutex<HashMap<Arc<str>, usize>>>);

/// One place of a session, until it is dropped.
#[derive(Debug)]
struct Share {
    shares: Shares,
    session: Arc<str>,
}

/// The right to make one answer, until it is dropped.
#[derive(Debug)]
struct Turn {
    _place: OwnedSemaphorePermit,
    _working: OwnedSemaphorePermit,
    _share: Share,
}

impl Shares {
    fn table(&self) -> MutexGuard<'_, HashMap<Arc<str>, usize>> {
        // A poisoned lock only means that another request panicked; the counts are whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, session: &Arc<str>) -> Option<Share> {
        let mut table = self.table();
        let taken = table.entry(Arc::clone(session)).or_default();
        if *taken == OF_A_SESSION_MAX {
            return None;
        }
        *taken += 1;
        Some(Share { shares: self.clone(), session: Arc::clone(session) })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut table = self.shares.table();
        if let Some(taken) = table.get_mut(&self.session) {
            *taken -= 1;
            if *taken == 0 {
                table.remove(&self.session);
            }
        }
    }
}

impl Default for Turns {
    fn default() -> Self {
        Self::new(AT_ONCE, WAITING_MAX)
    }
}

impl Turns {
    fn new(at_once: usize, waiting_max: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(at_once + waiting_max)),
            working: Arc::new(Semaphore::new(at_once)),
            shares: Shares::default(),
        }
    }

    async fn take(&self, session: &Arc<str>) -> Checked<Turn> {
        let Some(share) = self.shares.take(session) else {
            let said = "you have too many questions to the history under way: ask again in 2 seconds";
            return Err(later(StatusCode::TOO_MANY_REQUESTS, said));
        };
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let busy = "too many questions to the history at once: ask again in 2 seconds";
            return Err(later(StatusCode::SERVICE_UNAVAILABLE, busy));
        };
        let working = Arc::clone(&self.working).acquire_owned().await;
        Ok(Turn { _place: place, _working: working.expect("nobody closes it"), _share: share })
    }

    /// Reads for `session`, and renders what was found as JSON. Cancelled, it still runs to its end, and keeps its turn.
    pub(super) async fn answer<T: Send + 'static, V: Serialize>(
        &self,
        session: &Arc<str>,
        read: impl Future<Output = Result<Unseen<T>, HistoryError>> + Send + 'static,
        form: impl FnOnce(T) -> V + Send + 'static,
    ) -> Checked<Unseen<Bytes>> {
        let turn = self.take(session).await?;
        let making = tokio::spawn(async move {
            let found = read.await?;
            let rendered = spawn_blocking(move || {
                let json = found.map(form).json();
                drop(turn);
                json
            });
            Ok(rendered.await)
        });
        match making.await {
            Ok(Ok(Ok(json))) => Ok(json),
            Ok(Err(error)) => Err(Box::new(refused(&error))),
            // A panic while reading or rendering: it is in the log.
            Ok(Ok(Err(_))) | Err(_) => {
                let said = "the history did not answer: see the gateway's log";
                Err(Box::new(refusal(StatusCode::INTERNAL_SERVER_ERROR, said)))
            }
        }
    }
}

fn later(status: StatusCode, said: &str) -> Box<Response> {
    let mut response = refusal(status, said);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
    Box::new(response)
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::audit::Holds;

    fn me() -> Arc<str> {
        "me".into()
    }

    fn found() -> Result<Unseen<u32>, HistoryError> {
        Ok(Unseen::new(7, Holds::nothing()))
    }

    #[tokio::test]
    async fn who_comes_when_all_turns_and_places_are_taken_is_refused_and_told_when_to_come_again() {
        let turns = Arc::new(Turns::new(1, 1));
        let (go, wait) = oneshot::channel::<()>();
        let [first, second] = [Some(wait), None].map(|wait| {
            let turns = Arc::clone(&turns);
            tokio::spawn(async move {
                let read = async {
                    if let Some(wait) = wait {
                        wait.await.ok();
                    }
                    found()
                };
                turns.answer(&me(), read, |found| found).await.is_ok()
            })
        });
        while turns.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let refused = turns.answer(&me(), async { found() }, |found| found).await.unwrap_err();
        assert_eq!(
            (refused.status().as_u16(), &refused.headers()["retry-after"]),
            (503, &"2".parse().unwrap())
        );
        go.send(()).unwrap();
        assert!(first.await.unwrap() && second.await.unwrap(), "who waited is answered");
        assert!(turns.answer(&me(), async { found() }, |found| found).await.is_ok());
    }

    #[tokio::test]
    async fn a_session_that_asks_without_end_leaves_room_for_others_and_has_its_places_back() {
        let turns = Arc::new(Turns::new(1, 2 * OF_A_SESSION_MAX));
        let (go, wait) = tokio::sync::watch::channel(false);
        let ask = |session: &str| {
            let (turns, session, mut wait) = (Arc::clone(&turns), Arc::from(session), wait.clone());
            tokio::spawn(async move {
                let read = async move {
                    wait.wait_for(|go| *go).await.unwrap();
                    found()
                };
                turns.answer(&session, read, |found| found).await.map_err(|refused| refused.status().as_u16())
            })
        };
        let greedy: Vec<_> = (0..OF_A_SESSION_MAX).map(|_| ask("greedy")).collect();
        while turns.shares.table().get("greedy") != Some(&OF_A_SESSION_MAX) {
            tokio::task::yield_now().await;
        }
        assert_eq!(ask("greedy").await.unwrap().unwrap_err(), 429);
        let other = ask("other");
        go.send_replace(true);
        assert!(other.await.unwrap().is_ok());
        for one in greedy {
            assert!(one.await.unwrap().is_ok(), "whoever had a place is answered");
        }
        while !turns.shares.table().is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(ask("greedy").await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn an_asker_who_hangs_up_does_not_make_room_for_another() {
        let turns = Arc::new(Turns::new(1, 0));
        let (go, wait) = oneshot::channel::<()>();
        let asker = {
            let turns = Arc::clone(&turns);
            tokio::spawn(async move {
                let read = async {
                    wait.await.ok();
                    found()
                };
                turns.answer(&me(), read, |found| found).await.is_ok()
            })
        };
        while turns.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        asker.abort();
        assert!(asker.await.is_err());
        assert!(
            turns.answer(&me(), async { found() }, |found| found).await.is_err(),
            "its answer is still made"
        );
        go.send(()).unwrap();
        while turns.places.available_permits() == 0 {
            tokio::task::yield_now().await;
        }
        assert!(turns.answer(&me(), async { found() }, |found| found).await.is_ok());
    }
}
