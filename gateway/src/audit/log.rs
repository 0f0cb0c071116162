//! The way to the access record: looks that wait together are written together.
//!
//! Bounds: [`WAITING_MAX`] looks wait; the next one waits for a place, within the time limit of its request.

use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::{mpsc, oneshot};

use super::files::Journal;
use super::line::Note;
use super::look::{Asked, Look};
use super::unseen::{Logged, NotCovered, Unseen};
use crate::metrics::Metrics;

/// Looks waiting to be written.
pub const WAITING_MAX: usize = 256;

/// The look was not written, so it must not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotShown {
    /// The record is not durable.
    #[error(
        "the access record cannot be written: no position is shown until it can; check the data directory's disk"
    )]
    NotWritten,
    /// The record would not have accounted for the answer.
    #[error(transparent)]
    NotCovered(#[from] NotCovered),
}

/// The way to the journal's writer. Clones share it.
#[derive(Debug, Clone)]
pub struct AccessLog {
    waiting: mpsc::Sender<Waiting>,
    failures: Counter,
}

type Waiting = (Note, Option<oneshot::Sender<u64>>);

impl AccessLog {
    /// Starts the writer on the current runtime; it ends when every clone is gone.
    #[must_use]
    pub fn start(journal: impl Journal, metrics: &Metrics) -> Self {
        Self::counting(journal, metrics.live.access_record_failures.clone())
    }

    /// The same for any chain; notes that are not written are counted in `failures`.
    #[must_use]
    pub fn counting(journal: impl Journal, failures: Counter) -> Self {
        let (waiting, queue) = mpsc::channel(WAITING_MAX);
        tokio::spawn(write(queue, Box::new(journal), failures.clone()));
        Self { waiting, failures }
    }

    /// Returns once the look is durable. Cancelled, the line may be written all the same.
    ///
    /// # Errors
    /// [`NotShown::NotWritten`]: nothing may be served.
    pub async fn record(&self, look: Look) -> Result<Logged, NotShown> {
        let holds = look.holds.clone();
        let n = self.write(look.into()).await?;
        Ok(Logged::new(holds, n))
    }

    /// Shows one answer: the record says which bytes it is, too. Cancelled, the line may be written all the same.
    ///
    /// # Errors
    /// [`NotShown`]: nothing may be served.
    pub async fn show_answer(&self, asked: Asked, unseen: Unseen<Bytes>) -> Result<Bytes, NotShown> {
        let holds = unseen.holds().clone();
        let mut note = Note::from(asked.of(holds.clone()));
        note.answer = Some(unseen.digest());
        note.picture = unseen.picture();
        let n = self.write(note).await?;
        Ok(unseen.open(&Logged::new(holds, n))?)
    }

    /// Shows something of which `note` says more: a live page. Returns the record's number, too. Cancelled, the line may
    /// be written all the same.
    ///
    /// # Errors
    /// [`NotShown`]: nothing may be served.
    pub async fn show_as<T>(&self, mut note: Note, unseen: Unseen<T>) -> Result<(u64, T), NotShown> {
        let holds = unseen.holds().clone();
        (note.subjects, note.fields) = (holds.subjects.clone(), holds.fields);
        note.precision = (!holds.fields.is_empty()).then_some(holds.precision);
        let n = self.write(note).await?;
        Ok((n, unseen.open(&Logged::new(holds, n))?))
    }

    /// Returns the note's number once it is durable. Cancelled, it may be written all the same.
    ///
    /// # Errors
    /// [`NotShown::NotWritten`].
    pub async fn write(&self, note: Note) -> Result<u64, NotShown> {
        let (written, outcome) = oneshot::channel();
        let sent = self.waiting.send((note, Some(written))).await;
        let outcome = if sent.is_ok() {
            outcome.await.map_err(|_| NotShown::NotWritten)
        } else {
            Err(NotShown::NotWritten)
        };
        if outcome.is_err() {
            self.failures.inc();
        }
        outcome
    }

    /// Returns the notes' numbers once all of them are durable. Cancelled, some may be written all the same.
    ///
    /// # Errors
    /// [`NotShown::NotWritten`]; some may be written all the same.
    pub async fn write_all(&self, notes: Vec<Note>) -> Result<Vec<u64>, NotShown> {
        let written = notes.into_iter().map(|note| self.write(note));
        futures_util::future::try_join_all(written).await
    }

    /// Hands over a note that nothing waits for: the end of a look, an event. One that is lost is counted.
    pub fn note(&self, note: impl Into<Note>) {
        if self.waiting.try_send((note.into(), None)).is_err() {
            self.failures.inc();
        }
    }
}

/// Records a look in a journal of the caller's and opens what was asked for: the simulation, tools, tests. Blocking.
///
/// # Errors
/// What the journal said; nothing may be shown.
pub fn show_now<T>(journal: &mut dyn Journal, asked: Asked, unseen: Unseen<T>) -> std::io::Result<T> {
    let holds = unseen.holds().clone();
    let n = journal.append(&[asked.of(holds.clone()).into()])?;
    unseen.open(&Logged::new(holds, n)).map_err(std::io::Error::other)
}

async fn write(mut queue: mpsc::Receiver<Waiting>, mut journal: Box<dyn Journal>, failures: Counter) {
    let mut waiting = Vec::new();
    while queue.recv_many(&mut waiting, WAITING_MAX).await > 0 {
        let (notes, waiters): (Vec<Note>, Vec<_>) = waiting.drain(..).unzip();
        let written = tokio::task::spawn_blocking(move || {
            let outcome = journal.append(&notes);
            (journal, outcome)
        });
        // Whoever waits counts for themselves.
        let unwaited = waiters.iter().filter(|waiter| waiter.is_none()).count() as u64;
        // Only a panic in the journal ends the writer; then every look is refused.
        let Ok((back, outcome)) = written.await else {
            failures.inc_by(unwaited);
            return;
        };
        journal = back;
        match outcome {
            Ok(first) => {
                for (n, waiter) in (first..).zip(waiters) {
                    // One that no longer waits has gone without its answer.
                    waiter.map(|waiter| waiter.send(n));
                }
            }
            // Dropping the waiters is the refusal.
            Err(error) => {
                failures.inc_by(unwaited);
                tracing::error!(%error, "a record of the chain was not written; what it stands for is refused");
            }
        }
    }
}
