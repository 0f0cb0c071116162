//! What an operator sees: the page's own API, read like a browser would.

use fieldpost_gateway::audit::{Asked, Journal, Unseen, What, Who, show_now};
use fieldpost_gateway::live::Live;
use fieldpost_gateway::people::Forces;
use serde::Deserialize;

use crate::check::ledger::RecordId;

/// The page at one instant.
#[derive(Debug, Default)]
pub struct Page {
    /// Which instant, virtual ms.
    pub at_ms: u64,
    /// The gateway takes records now.
    pub takes_records: bool,
    /// Device and the latitude of its marker, micro-degrees.
    pub markers: Vec<(usize, i64)>,
    /// Every alarm.
    pub alarms: Vec<Shown>,
}

/// An alarm on the page.
#[derive(Debug, Clone, Copy)]
pub struct Shown {
    /// Which.
    pub id: RecordId,
    /// A person has it.
    pub is_owned: bool,
    /// Steps it has gone up because nobody took it.
    pub steps: u32,
}

#[derive(Deserialize)]
struct Units {
    units: Vec<Unit>,
}

#[derive(Deserialize)]
struct Alarms {
    alarms: Vec<Alarm>,
}

#[derive(Deserialize)]
struct Unit {
    device: String,
    position: Option<Place>,
}

#[derive(Deserialize)]
struct Place {
    lat: f64,
}

#[derive(Deserialize)]
struct Alarm {
    id: String,
    acknowledged_by: Option<String>,
    escalation: Option<Escalation>,
}

#[derive(Deserialize)]
struct Escalation {
    step: u32,
}

impl Page {
    /// What is shown now, at `at_ms`; `None` while the page itself says that it is not complete.
    pub(super) fn read(live: &Live, takes_records: bool, at_ms: u64) -> Option<Self> {
        if live.is_rebuilding() {
            return None;
        }
        let units = seen(live, What::UnitsRead, live.units(&Forces::All));
        let Units { units } = serde_json::from_slice(&units).ok()?;
        let alarms = seen(live, What::AlarmsRead, live.alarms(&Forces::All));
        let Alarms { alarms } = serde_json::from_slice(&alarms).ok()?;
        let marker =
            |unit: &Unit| Some((device(&unit.device)?, (unit.position.as_ref()?.lat * 1e6).round() as i64));
        Some(Self {
            at_ms,
            takes_records,
            markers: units.iter().filter_map(marker).collect(),
            alarms: alarms.iter().filter_map(shown).collect(),
        })
    }
}

/// Counts the looks of a simulated operator: a gateway shows nothing without a record.
#[derive(Default)]
struct Looks(u64);

impl Journal for Looks {
    fn append(&mut self, notes: &[fieldpost_gateway::audit::line::Note]) -> std::io::Result<u64> {
        self.0 += notes.len() as u64;
        Ok(self.0)
    }
}

fn seen<T>(live: &Live, what: What, unseen: Unseen<T>) -> T {
    let who = Who { operator: "simulated".to_owned(), session: "-".to_owned(), from: [127, 0, 0, 1].into() };
    let asked = Asked { at_ms: live.now_ms(), who, what, reason: None, of: None };
    show_now(&mut Looks::default(), asked, unseen).expect("a counter takes every record")
}

fn shown(alarm: &Alarm) -> Option<Shown> {
    Some(Shown {
        id: alarm_id(&alarm.id)?,
        is_owned: alarm.acknowledged_by.is_some(),
        steps: alarm.escalation.as_ref().map_or(0, |escalation| escalation.step),
    })
}

pub(super) fn device(name: &str) -> Option<usize> {
    name.strip_prefix("pc-")?.parse().ok()
}

/// `force/device/boot/seq`.
fn alarm_id(id: &str) -> Option<RecordId> {
    let mut parts = id.split('/').skip(1);
    Some(RecordId {
        device: device(parts.next()?)?,
        boot: parts.next()?.parse().ok()?,
        seq: parts.next()?.parse().ok()?,
    })
}

/// The page's name of an alarm.
pub(super) fn id_of(record: RecordId) -> String {
    format!("{}/pc-{:04}/{}/{}", super::gateway::FORCE, record.device, record.boot, record.seq)
}
