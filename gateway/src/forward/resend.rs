//! What a person asked for with refused events, done by the forwarder: behind everything else, a few events a turn.
//!
//! **So nothing goes to a sink but through its forwarder**: released as it is now, on the disclosure log, under the same key. What
//! goes wrong with it holds up no lane: where events are refused again one by one, or files cannot be read, only this waits.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Sink;
use super::again::{Asked, RefusedFiles, Waiting, Wish};
use super::backoff::{Backoff, Random};
use super::deliver::Delivery;
use super::event::{Event, Withheld};
use super::forwarder::{Forwarder, ForwarderSettings, Stopped};
use super::refusals::Subject;
use super::source::Source;
use crate::retention::Rules;

/// How often to look whether a person asked for something: two names.
const LOOK: Duration = Duration::from_secs(1);
/// How often refused events are held against their periods: as the spool's archive is.
const EXPIRE_EVERY: Duration = Duration::from_secs(3_600);

/// Events that are sent again now.
pub(super) struct Resend {
    files: RefusedFiles,
    /// When to look again, or to go on.
    pub(super) look_at: Instant,
    events: Vec<Event>,
    /// How long refused events are kept; without, as long as there is room.
    pub(super) rules: Option<Arc<Rules>>,
    expire_at: Instant,
    /// Where in their file the next ones begin; `None` if there is nothing to do.
    next: Option<u64>,
    forwarder: String,
    random: Random,
    backoff: Backoff,
    /// What the last failure was, so that each is logged once.
    failure: Option<String>,
}

impl Resend {
    pub(super) fn new(settings: &ForwarderSettings) -> Self {
        Self {
            files: RefusedFiles::new(settings.refusals.clone()),
            look_at: Instant::now(),
            events: Vec::new(),
            rules: None,
            expire_at: Instant::now(),
            next: None,
            forwarder: settings.name.clone(),
            random: settings.random.clone(),
            backoff: Backoff::new(settings.backoff),
            failure: None,
        }
    }

    /// Whether it is time to go on with what is under way, or to look, and somebody asked.
    pub(super) fn has_work(&mut self) -> bool {
        if Instant::now() < self.look_at {
            return false;
        }
        if self.next.is_none() {
            match self.files.has_work() {
                Ok(true) => self.next = Some(0),
                Ok(false) => self.look_at = Instant::now() + LOOK,
                Err(error) => self.note_failure(error.to_string()),
            }
        }
        self.next.is_some()
    }

    /// Goes on later. The lanes do not wait for it.
    fn note_failure(&mut self, detail: String) {
        let forwarder = &self.forwarder;
        if self.failure.as_ref() != Some(&detail) {
            tracing::error!(forwarder, detail, "what was asked with refused events cannot be done yet");
            self.failure = Some(detail);
        }
        self.look_at = Instant::now() + self.backoff.next_delay(self.random.number());
    }

    fn note_success(&mut self) {
        self.failure = None;
        self.backoff.reset();
    }
}

impl<S: Sink, R: Source> Forwarder<S, R> {
    /// One step of what was asked: a few events are sent, or the next request is carried out.
    pub(super) async fn resend(&mut self) -> Result<(), Stopped> {
        if !self.resend.has_work() {
            return Ok(());
        }
        if self.resend.events.is_empty() {
            match self.next_step().await {
                Ok(()) => self.resend.note_success(),
                Err(detail) => self.resend.note_failure(detail),
            }
            return Ok(());
        }
        let mut events = std::mem::take(&mut self.resend.events);
        let delivered = self.deliver(&mut events, None).await;
        self.confirm(&mut events).await;
        match delivered? {
            Delivery::Done => {}
            Delivery::Failed => self.resend.events = events,
            Delivery::Slowed => {
                self.resend.events = events;
                self.resend.look_at = Instant::now() + self.slow_delay();
            }
        }
        Ok(())
    }

    /// Once an hour, whatever the sink does: what is beyond its period goes.
    pub(super) async fn let_expired_go(&mut self) {
        let is_due = Instant::now() >= self.resend.expire_at;
        let Some(rules) = self.resend.rules.clone().filter(|_| is_due) else { return };
        self.resend.expire_at = Instant::now() + EXPIRE_EVERY;
        let now_ms = self.now_ms();
        let gone = blocking(&self.resend.files, move |files| files.let_expired_go(&rules, now_ms)).await;
        if let Err(detail) = gone {
            let forwarder = &self.settings.name;
            tracing::warn!(forwarder, detail, "refused events may stay beyond their period");
        }
    }

    async fn next_step(&mut self) -> Result<(), String> {
        let Some(from) = self.resend.next else { return Ok(()) };
        let chunk = blocking(&self.resend.files, move |files| files.chunk(from)).await?;
        if let Some(chunk) = chunk {
            let (events, withheld) = self.render_again(chunk.lines);
            self.keep_withheld(&withheld).await?;
            (self.resend.next, self.resend.events) = (Some(chunk.next), events);
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

    /// As they are released now, and no more than they were then; and what is not released any more, and why.
    fn render_again(&mut self, lines: Vec<Waiting>) -> (Vec<Event>, Vec<(Vec<u8>, Withheld)>) {
        let (mut events, mut withheld) = (Vec::with_capacity(lines.len()), Vec::new());
        let now_ms = self.now_ms();
        for Waiting { subject, text } in lines {
            match subject {
                Subject::Gap(gap) => events.push(self.renderer.gap(&self.settings.name, &gap, now_ms)),
                Subject::Record(kept) => match self.renderer.again(&kept) {
                    Ok(event) => events.push(event),
                    Err(reason) => withheld.push((text, reason)),
                },
            }
        }
        (events, withheld)
    }

    /// Among the refusals, so that it is known where they are.
    async fn keep_withheld(&mut self, withheld: &[(Vec<u8>, Withheld)]) -> Result<(), String> {
        if withheld.is_empty() {
            return Ok(());
        }
        let now_ms = i64::try_from(self.now_ms()).unwrap_or(i64::MAX);
        let now = jiff::Timestamp::from_millisecond(now_ms).unwrap_or(jiff::Timestamp::MAX);
        let kept = self.refusals.keep_withheld(withheld, now).await;
        kept.map_err(|error| format!("cannot keep what is not released any more: {error}"))?;
        withheld.iter().for_each(|(_, reason)| self.withhold(*reason));
        Ok(())
    }
}

async fn blocking<T: Send + 'static>(
    files: &RefusedFiles,
    work: impl FnOnce(&RefusedFiles) -> std::io::Result<T> + Send + 'static,
) -> Result<T, String> {
    let files = files.clone();
    let outcome = tokio::task::spawn_blocking(move || work(&files)).await;
    let outcome = outcome.unwrap_or_else(|panic| Err(panic.into()));
    outcome.map_err(|error| format!("cannot go through the refused events: {error}"))
}
