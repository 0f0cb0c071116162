//! The sink: hands batches to the connection's task and waits until they are written.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::client::Client;
use super::door::{Arrival, Door};
use super::guest::Guest;
use super::metrics::TakMetrics;
use super::picture::Said;
use super::settings::{self, TakError, TakSettings, Terms};
use super::teller::Teller;
use crate::config;
use crate::forward::event::{Event, EventState, PassedOver};
use crate::forward::release::Field;
use crate::forward::{RetryReason, Sink, SinkError};
use crate::live::standing::Situation;
use crate::login::Operator;
use crate::spool::Clock;

/// What is to be written, and who waits for it.
pub(super) struct Job {
    pub(super) said: Vec<Said>,
    /// Of each record why it was passed over, if it was.
    pub(super) done: oneshot::Sender<Result<Vec<Option<PassedOver>>, SinkError>>,
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
        let teller = Teller::new(settings.terms.clone(), situation, clock);
        let client = Client::new(settings, (tls, name), teller, waiting, stop.clone());
        tokio::spawn(client.run());
        Ok(Self { jobs, _running: stop.drop_guard() })
    }
}

impl TakSink {
    /// Holds a place for a TAK client that comes by itself. Needs a tokio runtime.
    pub(crate) fn await_client(
        door: &Door,
        client: &config::TakClient,
        terms: Terms,
        situation: Arc<dyn Situation>,
        clock: Clock,
    ) -> Self {
        let (arrivals, metrics) = (door.place(&client.common_name), door.metrics().clone());
        Self::of_guest(arrivals, metrics, (terms, client.acknowledges_as.clone()), situation, clock)
    }

    pub(super) fn of_guest(
        arrivals: mpsc::Receiver<Arrival>,
        metrics: TakMetrics,
        (terms, acknowledges_as): (Terms, Option<Operator>),
        situation: Arc<dyn Situation>,
        clock: Clock,
    ) -> Self {
        let (jobs, waiting) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let manner = (terms.takes_protobuf, acknowledges_as);
        let teller = Teller::new(terms, situation, clock);
        let guest = Guest::new(teller, manner, arrivals, waiting, metrics, stop.clone());
        tokio::spawn(guest.run());
        Self { jobs, _running: stop.drop_guard() }
    }
}

impl Sink for TakSink {
    fn kind(&self) -> &'static str {
        "tak"
    }

    /// What is passed over is not disclosed.
    fn discloses(&self) -> bool {
        true
    }

    async fn deliver(&mut self, events: &mut [Event]) -> Result<(), SinkError> {
        let mut owed: Vec<&mut Event> =
            events.iter_mut().filter(|event| event.state == EventState::Owed).collect();
        // A loss of the gateway's own has no record, and TAK no event for it.
        owed.retain_mut(|event| {
            let has_record = event.record.is_some();
            if !has_record {
                event.state = EventState::PassedOver(PassedOver::NoWord);
            }
            has_record
        });
        let said: Vec<_> = owed.iter().filter_map(|event| said(event)).collect();
        if said.is_empty() {
            return Ok(());
        }
        let (done, written) = oneshot::channel();
        let ended = |_| SinkError::retry(RetryReason::Failing, "the connection's task has ended");
        self.jobs.send(Job { said, done }).await.map_err(|_| ended(()))?;
        let passed = written.await.map_err(|_| ended(()))??;
        for (event, passed) in owed.into_iter().zip(passed) {
            event.state = passed.map_or(EventState::Accepted, EventState::PassedOver);
        }
        Ok(())
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
