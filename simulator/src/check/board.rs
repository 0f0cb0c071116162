//! The ledger, shared by the fleet and everything that reads what arrived.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use fieldpost_protocol::Lane;

use super::ledger::{Content, Ledger, RecordId};

/// A handle on the ledger of a run. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Board {
    ledger: Arc<Mutex<Ledger>>,
    began: Instant,
}

/// One event as a sink received it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Idempotency key.
    pub key: String,
    /// What the event itself states.
    pub stated: Option<Stated>,
}

/// Which record an event says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stated {
    /// Its device's name.
    pub device: String,
    /// Boot id.
    pub boot: u32,
    /// Sequence.
    pub seq: u32,
    /// The lane it was delivered in.
    pub lane: Lane,
    /// Whether newer ones of its lane overtook it in the gateway.
    pub overtaken: bool,
}

impl Board {
    /// Shares a ledger whose times count from now.
    #[must_use]
    pub fn new(ledger: Ledger) -> Self {
        Self { ledger: Arc::new(Mutex::new(ledger)), began: Instant::now() }
    }

    /// The ledger. Hold it briefly, never across an await.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // A panic elsewhere has failed the run already; the counts are still worth reading.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Microseconds since the run began.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Enters what a sink received just now.
    pub fn arrived(&self, sink: usize, deliveries: &[Delivery]) {
        let now_us = self.now_us();
        let mut ledger = self.ledger();
        for delivery in deliveries {
            let content = delivery.stated.as_ref().and_then(|stated| {
                let device = ledger.device(&stated.device)?;
                let record = RecordId { device, boot: stated.boot, seq: stated.seq };
                Some(Content { record, lane: stated.lane, overtaken: stated.overtaken })
            });
            ledger.arrived(sink, &delivery.key, content, now_us);
        }
    }
}

impl Delivery {
    /// Reads one CloudEvent; `None` if it is not one. Events that the gateway makes itself have no device.
    #[must_use]
    pub fn parse(event: &serde_json::Value) -> Option<Self> {
        let text = |name: &str| event.get(name).and_then(serde_json::Value::as_str);
        let key = text("id")?.to_owned();
        let stated = || {
            let device = text("source")?.rsplit('/').next()?.to_owned();
            let boot = text("fieldpostboot")?.parse().ok()?;
            let seq = text("fieldpostseq")?.parse().ok()?;
            let overtaken = text("fieldpostovertaken").is_some();
            Some(Stated { device, boot, seq, lane: lane(text("fieldpostlane")?)?, overtaken })
        };
        Some(Self { stated: stated(), key })
    }
}

fn lane(name: &str) -> Option<Lane> {
    [Lane::Alarm, Lane::Live, Lane::Backlog, Lane::Health].into_iter().find(|lane| lane.as_str() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_states_its_record() {
        let event = serde_json::json!({"id": "sim.pc-0001.3.17", "source": "/forces/sim/devices/pc-0001",
            "fieldpostboot": "3", "fieldpostseq": "17", "fieldpostlane": "backlog"});
        let expected = Delivery {
            key: "sim.pc-0001.3.17".to_owned(),
            stated: Some(Stated {
                device: "pc-0001".to_owned(),
                boot: 3,
                seq: 17,
                lane: Lane::Backlog,
                overtaken: false,
            }),
        };
        assert_eq!(Delivery::parse(&event), Some(expected));
        assert_eq!(Delivery::parse(&serde_json::json!({"x": 1})), None);
    }
}
