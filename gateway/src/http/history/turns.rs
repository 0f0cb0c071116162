//! How many answers of the history are made at a time.
//!
//! **The history is read and rendered beside the runtime, never on it, [`AT_ONCE`] answers at a time**: a month of tracks for
//! everybody delays neither a device nor an alarm. [`WAITING_MAX`] more wait for a turn, within the time limit of their requests; who
//! comes then is refused at once, and told when to come again. An answer whose asker has gone keeps its turn until it is made:
//! whoever asks and hangs up, again and again, cannot have more than these.

use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use bytes::Bytes;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

use super::question::Checked;
use super::refused;
use crate::audit::Unseen;
use crate::history::HistoryError;
use crate::http::refusal;

/// Answers under way: as many as the smallest machine has processors.
const AT_ONCE: usize = 2;
/// Answers that wait: a control room's screens after a restart.
const WAITING_MAX: usize = 32;
/// When who was refused should come again, in seconds.
const RETRY_AFTER_S: u16 = 2;

/// Hands out turns.
#[derive(Debug)]
pub(in crate::http) struct Turns {
    places: Arc<Semaphore>,
    working: Arc<Semaphore>,
}

/// The right to make one answer, until it is dropped.
#[derive(Debug)]
struct Turn {
    _place: OwnedSemaphorePermit,
    _working: OwnedSemaphorePermit,
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
        }
    }

    async fn take(&self) -> Checked<Turn> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let busy = "too many questions to the history at once: ask again in 2 seconds";
            let mut response = refusal(StatusCode::SERVICE_UNAVAILABLE, busy);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
            return Err(Box::new(response));
        };
        let working = Arc::clone(&self.working).acquire_owned().await;
        Ok(Turn { _place: place, _working: working.expect("nobody closes it") })
    }

    /// Reads, and renders what was found as JSON. Cancelled, it still runs to its end, and keeps its turn.
    pub(super) async fn answer<T: Send + 'static, V: Serialize>(
        &self,
        read: impl Future<Output = Result<Unseen<T>, HistoryError>> + Send + 'static,
        form: impl FnOnce(T) -> V + Send + 'static,
    ) -> Checked<Unseen<Bytes>> {
        let turn = self.take().await?;
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

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::audit::Holds;

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
                turns.answer(read, |found| found).await.is_ok()
            })
        });
        while turns.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let refused = turns.answer(async { found() }, |found| found).await.unwrap_err();
        assert_eq!(
            (refused.status().as_u16(), &refused.headers()["retry-after"]),
            (503, &"2".parse().unwrap())
        );
        go.send(()).unwrap();
        assert!(first.await.unwrap() && second.await.unwrap(), "who waited is answered");
        assert!(turns.answer(async { found() }, |found| found).await.is_ok());
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
                turns.answer(read, |found| found).await.is_ok()
            })
        };
        while turns.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        asker.abort();
        assert!(asker.await.is_err());
        assert!(turns.answer(async { found() }, |found| found).await.is_err(), "its answer is still made");
        go.send(()).unwrap();
        while turns.places.available_permits() == 0 {
            tokio::task::yield_now().await;
        }
        assert!(turns.answer(async { found() }, |found| found).await.is_ok());
    }
}
