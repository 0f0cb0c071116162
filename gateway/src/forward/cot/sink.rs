//! The sink: hands batches to the connection's task and waits until they are written.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::client::Client;
use super::picture::Said;
use super::settings::{self, TakError, TakSettings};
use crate::forward::event::{Event, EventState};
use crate::forward::release::Field;
use crate::forward::{RetryReason, Sink, SinkError};
use crate::live::standing::Situation;
use crate::spool::Clock;

/// What is to be written, and who waits for it.
pub(super) struct Job {
    pub(super) said: Vec<Said>,
    pub(super) done: oneshot::Sender<Result<(), SinkError>>,
}

/// The sink. Its connection has a task of its own: alarms are told again, and pings answered, also when no record comes.
pub(crate) struct TakSink {
    jobs: mpsc::Sender<Job>,
    /// Ends the task with the sink.
    _running: DropGuard,
}

impl TakSink {
    /// Reads certificates and starts to connect. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`TakError`]: a file cannot be used.
    pub(crate) fn start(
        settings: TakSettings,
        situation: Arc<dyn Situation>,
        clock: Clock,
    ) -> Result<Self, TakError> {
        let tls = settings::tls(&settings)?;
        let name = settings::server_name(&settings)?;
        // One: a forwarder has one batch under way.
        let (jobs, waiting) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let client = Client::new(settings, (tls, name), situation, clock, waiting, stop.clone());
        tokio::spawn(client.run());
        Ok(Self { jobs, _running: stop.drop_guard() })
    }
}

impl Sink for TakSink {
    fn kind(&self) -> &'static str {
        "tak"
    }

    async fn deliver(&mut self, events: &mut [Event]) -> Result<(), SinkError> {
        let owed = events.iter().filter(|event| event.state == EventState::Owed);
        // A loss of the gateway's own has no record, and TAK no event for it.
        let said: Vec<_> = owed.filter_map(said).collect();
        if said.is_empty() {
            return Ok(());
        }
        let (done, written) = oneshot::channel();
        let ended = |_| SinkError::retry(RetryReason::Failing, "the connection's task has ended");
        self.jobs.send(Job { said, done }).await.map_err(|_| ended(()))?;
        written.await.map_err(|_| ended(()))?
    }
}

fn said(event: &Event) -> Option<Said> {
    Some(Said {
        record: event.record.clone()?,
        key: event.key.clone(),
        alarm: event.alarm.as_deref().cloned(),
        has_name: event.fields.has(Field::Callsign),
    })
}
