//! What a person asked for with refused events, done by the forwarder: behind everything else, a few events a turn.
//!
//! **So nothing goes to a sink but through its forwarder**: released as it is now, on the disclosure log, under the same key.

use std::time::Duration;

use tokio::time::Instant;

use super::again::{Asked, RefusedFiles, Wish};
use super::deliver::Delivery;
use super::event::Event;
use super::forwarder::{Forwarder, Stopped};
use super::refusals::Subject;
use super::source::Source;
use super::{RetryReason, Sink};

/// How often to look whether a person asked for something: two names.
const LOOK: Duration = Duration::from_secs(1);

/// Events that are sent again now.
pub(super) struct Resend {
    files: RefusedFiles,
    /// When to look again.
    pub(super) look_at: Instant,
    events: Vec<Event>,
    /// Where in their file the next ones begin; `None` if there is nothing to do.
    next: Option<u64>,
}

impl Resend {
    pub(super) fn new(files: RefusedFiles) -> Self {
        Self { files, look_at: Instant::now(), events: Vec::new(), next: None }
    }

    /// Whether something is under way, or it is time to look and somebody asked.
    pub(super) fn has_work(&mut self) -> bool {
        if self.next.is_none() && Instant::now() >= self.look_at {
            self.look_at = Instant::now() + LOOK;
            self.next = self.files.has_work().then_some(0);
        }
        self.next.is_some()
    }
}

impl<S: Sink, R: Source> Forwarder<S, R> {
    /// One step of what was asked: a few events are sent, or the next request is carried out.
    pub(super) async fn resend(&mut self) -> Result<(), Stopped> {
        if !self.resend.has_work() {
            return Ok(());
        }
        if self.resend.events.is_empty() {
            return match self.next_step().await {
                Ok(()) => Ok(()),
                Err(detail) => self.pause_after_failure(RetryReason::Storage, &detail, None).await,
            };
        }
        let mut events = std::mem::take(&mut self.resend.events);
        let delivered = self.deliver(&mut events, None).await;
        self.confirm(&mut events).await;
        if delivered? == Delivery::Failed {
            self.resend.events = events;
        }
        Ok(())
    }

    async fn next_step(&mut self) -> Result<(), String> {
        let Some(from) = self.resend.next else { return Ok(()) };
        let chunk = blocking(&self.resend.files, move |files| files.chunk(from)).await?;
        if let Some(chunk) = chunk {
            self.resend.next = Some(chunk.next);
            self.resend.events =
                chunk.subjects.iter().filter_map(|subject| self.render_again(subject)).collect();
            return Ok(());
        }
        blocking(&self.resend.files, RefusedFiles::sent).await?;
        self.resend.next = None;
        let Some((request, asked, count)) = blocking(&self.resend.files, RefusedFiles::next_asked).await?
        else {
            return Ok(());
        };
        let logged = self.settings.recipient.decided(self.now_ms(), &asked, count).await;
        logged.map_err(|error| error.to_string())?;
        self.say(&asked, count);
        blocking(&self.resend.files, move |files| files.carry_out(&request, &asked)).await?;
        self.resend.next = Some(0);
        Ok(())
    }

    fn say(&self, asked: &Asked, count: u64) {
        let (forwarder, by, why) = (&self.settings.name, &asked.by, &asked.why);
        match asked.wish {
            Wish::Retry => tracing::info!(forwarder, by, why, count, "refused events are sent again"),
            Wish::Drop => tracing::warn!(forwarder, by, why, count, "refused events are dropped"),
        }
    }

    /// As it is released now, and no more than it was then.
    fn render_again(&mut self, subject: &Subject) -> Option<Event> {
        match subject {
            Subject::Gap(gap) => {
                Some(self.renderer.gap(&self.settings.name, gap, self.settings.wall.now_ms()))
            }
            Subject::Record(kept) => match self.renderer.again(kept) {
                Ok(event) => Some(event),
                Err(reason) => {
                    self.withhold(reason);
                    None
                }
            },
        }
    }
}

async fn blocking<T: Send + 'static>(
    files: &RefusedFiles,
    work: impl FnOnce(&RefusedFiles) -> std::io::Result<T> + Send + 'static,
) -> Result<T, String> {
    let files = files.clone();
    let outcome = tokio::task::spawn_blocking(move || work(&files)).await;
    let outcome = outcome.unwrap_or_else(|panic| Err(panic.into()));
    outcome.map_err(|error| format!("cannot do what was asked with refused events: {error}"))
}
