//! What other systems ask of the alarm queue: which alarms stand, and which of them a person has closed not long ago.
//!
//! Of the queue as the screen has it. **The one thing that may be done to an alarm from here is to take it, in
//! somebody's name**: by a record, like an operator at the page.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use fieldpost_protocol::Mode;
use tokio::sync::watch;

use super::unit::{UnitId, UnitName};
use super::{AcknowledgeError, Live};
use crate::alarms::{Alarm, AlarmId, Cause, Grade, Origin, Queue};
use crate::login::Operator;

/// An alarm, as far as another system is concerned. It names no operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandingAlarm {
    /// Its identity.
    pub id: AlarmId,
    /// How people know the unit, as it was when the alarm was raised.
    pub callsign: String,
    /// What raised it.
    pub cause: Cause,
    /// How grave it is now.
    pub grade: Grade,
    /// Real duty, exercise or test.
    pub mode: Mode,
    /// By the wearer's device, or by a rule.
    pub origin: Origin,
    /// Whose queue it is in.
    pub queue: Queue,
    /// Unix ms at the device if its clock is believed, else of receipt.
    pub raised_at_ms: u64,
    /// (longitude, latitude) in micro-degrees, if the alarm says where.
    pub position_udeg: Option<(i32, i32)>,
    /// Somebody has it.
    pub is_acknowledged: bool,
    /// Its wearer took it back. It stands all the same.
    pub is_taken_back: bool,
    /// When a person closed it, Unix ms.
    pub closed_at_ms: Option<u64>,
}

impl From<&Alarm> for StandingAlarm {
    fn from(alarm: &Alarm) -> Self {
        let standing = &alarm.standing;
        Self {
            id: alarm.id.clone(),
            callsign: alarm.callsign.clone(),
            cause: alarm.cause,
            grade: standing.grade,
            mode: alarm.mode,
            origin: standing.origin,
            queue: standing.queue,
            raised_at_ms: alarm.raised_at_ms,
            position_udeg: alarm.position_udeg,
            is_acknowledged: alarm.owner.is_some(),
            is_taken_back: alarm.cancelled_at_ms.is_some(),
            closed_at_ms: standing.closed.as_ref().map(|closing| closing.at_ms),
        }
    }
}

/// What a forwarder may ask the live half.
pub trait Situation: Send + Sync {
    /// How people know a unit at an instant, Unix ms.
    fn name(&self, unit: &UnitId, at_ms: u64) -> UnitName;

    /// Every alarm that no person has closed, those that wait for room too, and what was closed last.
    fn alarms(&self) -> Vec<StandingAlarm>;

    /// Changes when an alarm does.
    fn changes(&self) -> watch::Receiver<u64>;

    /// Makes `operator` the owner of an alarm, as [`Live::acknowledge`] does.
    ///
    /// # Errors
    /// [`AcknowledgeError`]; here, where nobody has alarms, that there is none.
    fn acknowledge<'a>(&'a self, _alarm: &'a AlarmId, _operator: &'a Operator) -> Acknowledging<'a> {
        Box::pin(std::future::ready(Err(AcknowledgeError::NotFound)))
    }
}

/// Ends when it is durable whose the alarm is.
pub type Acknowledging<'a> = Pin<Box<dyn Future<Output = Result<(), AcknowledgeError>> + Send + 'a>>;

impl Situation for Live {
    fn acknowledge<'a>(&'a self, alarm: &'a AlarmId, operator: &'a Operator) -> Acknowledging<'a> {
        Box::pin(async { Self::acknowledge(self, alarm, operator).await.map(drop) })
    }

    fn name(&self, unit: &UnitId, at_ms: u64) -> UnitName {
        self.hub.state().name_at(unit, at_ms)
    }

    fn alarms(&self) -> Vec<StandingAlarm> {
        self.hub.state().shown().all().map(|alarm| StandingAlarm::from(&*alarm)).collect()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.hub.alarms_revision.subscribe()
    }
}

/// Nobody has an alarm and every unit goes by its device: for tools and tests without a live half.
#[derive(Debug, Clone, Default)]
pub struct Quiet {
    changes: watch::Sender<u64>,
}

impl Quiet {
    /// For where a situation is asked for.
    #[must_use]
    pub fn shared() -> Arc<dyn Situation> {
        Arc::new(Self::default())
    }
}

impl Situation for Quiet {
    fn name(&self, unit: &UnitId, _at_ms: u64) -> UnitName {
        UnitName::of(unit, &crate::config::roster::Roster::default())
    }

    fn alarms(&self) -> Vec<StandingAlarm> {
        Vec::new()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
