//! Positions as NMEA 0183 for location servers that CAD already reads (automatic vehicle location).
//!
//! ```text
//! position --newest of its unit?--> \s:SOURCE,c:TIME*hh\$GPRMC,...*hh --disclosure log--> TCP, TLS
//! ```
//! **A position is on the disclosure log before its sentence is written, and what is not sent is not on it.** The protocol has words
//! for positions alone; whatever else the output is released is passed over and counted. A location server shows what came last, so
//! what is older than the newest sent of its unit is passed over, too, unless every position is asked for. A sentence does not say
//! that it is of an exercise or a test, nor of which force its unit is: what is not actual is passed over unless it is asked for,
//! and the configuration lets such an output have one force.
//!
//! **The other side never says that it has anything.** A batch counts as taken when the connection took all its bytes; one that breaks
//! before is sent again whole. What the operating systems still had between them when a connection broke is lost: the next
//! position of the unit makes up for it. No wearer is told DELIVERED.
//!
//! Bounds: one connection, [`UNITS_MAX`] units remembered.

#[cfg(test)]
mod claims;
mod link;
mod sentence;

use std::collections::HashMap;

use fieldpost_protocol::{Body, DeviceId, Mode, Position};

use self::link::Link;
use super::event::{ClockBounds, Event, EventState, PassedOver};
use super::release::Recipient;
use super::{RefuseReason, RetryReason, Sink, SinkError};
use crate::live::order::{self, JudgedTime, Order};
use crate::live::unit::UnitId;
use crate::sabotage::{self, CrashPoint, Sabotage};
use crate::spool::Clock;

pub(crate) use self::link::ATTEMPT_MS_MIN;
pub use self::link::{NmeaError, NmeaServer};

/// Most units whose newest position is remembered; of more every position is sent.
const UNITS_MAX: usize = 50_000;

/// What to whom.
#[derive(Debug, Clone)]
pub struct NmeaSettings {
    /// Where it goes.
    pub server: NmeaServer,
    /// Whether positions are sent that newer ones of their unit have replaced.
    pub sends_every_position: bool,
    /// Whether positions of exercises and tests are sent, too.
    pub sends_every_mode: bool,
    /// Which device clocks are believed.
    pub clock: ClockBounds,
    /// The way to the disclosure log.
    pub recipient: Recipient,
    /// Wall clock.
    pub wall: Clock,
}

/// The sink.
pub struct NmeaSink {
    settings: NmeaSettings,
    link: Link,
    newest: HashMap<UnitId, Order>,
}

/// A position on its way.
struct Sentence {
    /// Of which event of the batch.
    at: usize,
    unit: UnitId,
    order: Order,
    text: String,
}

impl NmeaSink {
    /// Reads certificates; connects at the first batch.
    ///
    /// # Errors
    /// [`NmeaError`].
    pub fn try_new(settings: NmeaSettings) -> Result<Self, NmeaError> {
        let link = Link::try_new(settings.server.clone())?;
        Ok(Self { settings, link, newest: HashMap::new() })
    }

    /// The sentences of what is owed; marks what has none.
    fn sentences(&self, events: &mut [Event]) -> Result<Vec<Sentence>, SinkError> {
        let mut sentences: Vec<Sentence> = Vec::with_capacity(events.len());
        let mut newest: HashMap<UnitId, Order> = HashMap::new();
        for (at, event) in events.iter_mut().enumerate() {
            if event.state != EventState::Owed {
                continue;
            }
            let Some((unit, mode, order, time_ms, position)) = self.position(event) else {
                event.state = EventState::PassedOver(PassedOver::NoWord);
                continue;
            };
            if mode != Mode::Actual && !self.settings.sends_every_mode {
                event.state = EventState::PassedOver(PassedOver::NotActual);
                continue;
            }
            let known = newest.get(&unit).or_else(|| self.newest.get(&unit));
            // The same once more is no older: a batch that failed comes again.
            if !self.settings.sends_every_position && known.is_some_and(|known| known.is_after(order)) {
                event.state = EventState::PassedOver(PassedOver::Older);
                continue;
            }
            let text = sentence::write(source(&unit.device)?, &position, time_ms);
            newest.insert(unit.clone(), order);
            sentences.push(Sentence { at, unit, order, text });
        }
        Ok(sentences)
    }

    /// Whose, in which mode, where in its history, when and where; `None` if it is no position.
    fn position(&self, event: &Event) -> Option<(UnitId, Mode, Order, u64, Position)> {
        let record = event.record.as_ref()?;
        let envelope = record.envelope()?;
        let Ok(Body::Position(position)) = Body::decode(&envelope.head, envelope.body) else { return None };
        let bounds = self.settings.clock;
        let bounds =
            order::ClockBounds { ahead_ms_max: bounds.future_ms_max, behind_ms_max: bounds.past_ms_max };
        let time = JudgedTime::of(&envelope.head, record.received_at_ms, bounds);
        let order = Order::of(&envelope.head, time, record.lane, record.received_at_ms);
        let time_ms = time.believed_ms(record.received_at_ms).unwrap_or(record.received_at_ms);
        let unit = UnitId { force: record.force.clone(), device: record.device.clone() };
        Some((unit, envelope.head.mode, order, time_ms, position))
    }

    async fn send(&mut self, sentences: &[Sentence], keys: &[&str]) -> Result<(), SinkError> {
        self.link.ready().await?;
        let text: String = sentences.iter().map(|sentence| sentence.text.as_str()).collect();
        sabotage::pass(CrashPoint::BeforeLog);
        if sabotage::is(Sabotage::SendBeforeLog) {
            self.link.write(text.as_bytes()).await?;
            sabotage::pass(CrashPoint::BetweenLogAndSend);
            self.disclose(keys).await?;
        } else {
            self.disclose(keys).await?;
            sabotage::pass(CrashPoint::BetweenLogAndSend);
            self.link.write(text.as_bytes()).await?;
        }
        sabotage::pass(CrashPoint::AfterSend);
        Ok(())
    }

    async fn disclose(&self, keys: &[&str]) -> Result<(), SinkError> {
        let logged = self.settings.recipient.disclose_keys(self.settings.wall.now_ms(), keys).await;
        logged.map_err(|error| SinkError::retry(RetryReason::Storage, error.to_string()))
    }
}

impl Sink for NmeaSink {
    fn kind(&self) -> &'static str {
        "nmea"
    }

    fn discloses(&self) -> bool {
        true
    }

    async fn deliver(&mut self, events: &mut [Event]) -> Result<(), SinkError> {
        let sentences = self.sentences(events)?;
        if sentences.is_empty() {
            return Ok(());
        }
        let keys: Vec<_> = sentences.iter().map(|sentence| events[sentence.at].key.as_str()).collect();
        self.send(&sentences, &keys).await?;
        for Sentence { unit, order, .. } in sentences {
            if self.newest.len() < UNITS_MAX || self.newest.contains_key(&unit) {
                self.newest.insert(unit, order);
            }
        }
        Ok(())
    }
}

/// A unit as its sentences name it.
fn source(device: &DeviceId) -> Result<&str, SinkError> {
    let source = device.as_str();
    if source.len() <= sentence::SOURCE_CHARS_MAX {
        return Ok(source);
    }
    let max = sentence::SOURCE_CHARS_MAX;
    let detail = format!("a sentence names its source by at most {max} characters, and {source} has more");
    Err(SinkError::Refuse { reason: RefuseReason::TooLarge, detail })
}
