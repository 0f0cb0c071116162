//! What every page sees, rendered once.
//!
//! ```text
//! State --changed--> Board: JSON of each unit and alarm --frames--> queue of each page
//! ```
//! **However many pages are open, a change is rendered once**, at most four times a second; pages share the bytes. The
//! full list is put together at most once between changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::fanout::{Queue, Subscription, Urgency};
use super::state::State;
use super::unit::UnitId;
use super::view::{self, GatewayView};
use crate::alarms::{AlarmId, AlarmRow};

/// Most pages open at once.
pub const PAGES_MAX: usize = 256;

const FRAME_END: &[u8] = b"\n\n";

/// The rendered picture and the pages that look at it.
#[derive(Debug, Default)]
pub(super) struct Board {
    /// Counts the pictures; the cursor of the API.
    version: u64,
    units: BTreeMap<UnitId, Bytes>,
    alarms: BTreeMap<AlarmId, Bytes>,
    /// Alarms last shown as unacknowledged.
    open: BTreeSet<AlarmId>,
    /// All units as a JSON array, if put together since the last change.
    all_units: Option<Bytes>,
    gateway: Option<Bytes>,
    /// Units were taken off that open pages may still show.
    has_forgotten: bool,
    pages: Vec<Arc<Queue>>,
}

/// A page's first frames and what follows them.
#[derive(Debug)]
pub struct Opening {
    /// Every unit, every alarm, the gateway's state: frames in order, some in parts.
    pub first: Vec<Bytes>,
    /// What changes from then on.
    pub then: Subscription,
}

/// What one publishing did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Published {
    /// When the records behind the changed units were received.
    pub(super) received_at_ms: Vec<u64>,
    /// How long each alarm acknowledged just now had waited, in ms.
    pub(super) acknowledged_after_ms: Vec<u64>,
    pub(super) pages_lagged: u64,
}

impl Board {
    /// Renders the alarms that changed and sends them.
    pub(super) fn publish_alarms(&mut self, state: &mut State) -> Published {
        let mut published = Published::default();
        let changed: BTreeSet<AlarmId> = state.alarms.take_changed();
        if changed.is_empty() {
            return published;
        }
        self.version += 1;
        for id in changed {
            let Some(alarm) = state.alarms.get(&id) else {
                self.alarms.remove(&id);
                self.open.remove(&id);
                continue;
            };
            let json = Bytes::from(
                serde_json::to_vec(&AlarmRow::from(alarm)).expect("strings and numbers are JSON"),
            );
            let frame = self.frame("alarm", &json);
            match &alarm.owner {
                None => _ = self.open.insert(id.clone()),
                Some(owner) if self.open.remove(&id) => {
                    let waited_ms = owner.at_ms.saturating_sub(alarm.received_at_ms);
                    published.acknowledged_after_ms.push(waited_ms);
                }
                Some(_) => {}
            }
            state.touch(&id.unit);
            self.alarms.insert(id, json);
            published.pages_lagged += self.push(Urgency::First, &frame);
        }
        published
    }

    /// Renders everything that changed and sends it.
    pub(super) fn publish(&mut self, state: &mut State) -> Published {
        let mut published = self.publish_alarms(state);
        let mut dirty = state.take_dirty();
        if dirty.is_empty() {
            return published;
        }
        dirty.sort_unstable();
        self.version += 1;
        self.all_units = None;
        let mut rendered = Vec::with_capacity(dirty.len());
        for id in dirty {
            if let Some(json) = render(state, &id) {
                published.received_at_ms.extend(state.take_changed_by(&id));
                rendered.push(json.clone());
                self.units.insert(id, json);
            }
        }
        let frame = self.frame("units", &array(&rendered));
        published.pages_lagged += self.push(Urgency::Normal, &frame);
        published
    }

    /// Takes units off the board. Open pages show them until [`Board::tell_forgotten`].
    pub(super) fn forget(&mut self, ids: &[UnitId]) {
        for id in ids {
            self.has_forgotten |= self.units.remove(id).is_some();
            self.all_units = None;
        }
    }

    /// Makes open pages read everything again if units were forgotten since the last call: no event of the stream takes
    /// a unit away. A full read of every page: not for each unit, and not every second.
    pub(super) fn tell_forgotten(&mut self) {
        if std::mem::take(&mut self.has_forgotten) {
            self.version += 1;
            self.pages.iter().for_each(|page| page.lag());
        }
    }

    /// Sends the gateway's state; the heartbeat of every stream.
    pub(super) fn publish_gateway(&mut self, view: &GatewayView) -> u64 {
        let json = Bytes::from(serde_json::to_vec(view).expect("strings and numbers are JSON"));
        let frame = self.frame("gateway", &json);
        self.gateway = Some(json);
        self.pages.retain(|page| !page.is_closed());
        self.push(Urgency::Normal, &frame)
    }

    /// Every unit: (cursor, JSON array).
    pub(super) fn all_units(&mut self) -> (u64, Bytes) {
        if self.all_units.is_none() {
            let parts: Vec<Bytes> = self.units.values().cloned().collect();
            self.all_units = Some(array(&parts));
        }
        (self.version, self.all_units.clone().unwrap_or_default())
    }

    /// Every alarm as a JSON array.
    pub(super) fn all_alarms(&self) -> Bytes {
        let parts: Vec<Bytes> = self.alarms.values().cloned().collect();
        array(&parts)
    }

    /// Opens a page; `None` if too many are open.
    pub(super) fn open(&mut self) -> Option<Opening> {
        self.pages.retain(|page| !page.is_closed());
        if self.pages.len() >= PAGES_MAX {
            return None;
        }
        let queue = Queue::new();
        self.pages.push(Arc::clone(&queue));
        let (_, units) = self.all_units();
        // In parts, so that every page that opens shares the one list.
        let mut first = vec![self.frame_head("units"), units, Bytes::from_static(FRAME_END)];
        first.extend(self.alarms.values().map(|alarm| self.frame("alarm", alarm)));
        first.extend(self.gateway.as_ref().map(|gateway| self.frame("gateway", gateway)));
        Some(Opening { first, then: Subscription::new(queue) })
    }

    /// How many pages are open.
    pub(super) fn pages_count(&self) -> usize {
        self.pages.iter().filter(|page| !page.is_closed()).count()
    }

    /// Ends every stream.
    pub(super) fn close(&mut self) {
        self.pages.drain(..).for_each(|page| page.close());
    }

    fn push(&self, urgency: Urgency, frame: &Bytes) -> u64 {
        let lagged = self.pages.iter().filter(|page| page.push(urgency, frame.clone()));
        lagged.count() as u64
    }

    /// One event of the stream (WHATWG HTML, "Server-sent events"). JSON on one line needs no escaping.
    fn frame(&self, event: &str, json: &[u8]) -> Bytes {
        Bytes::from([&self.frame_head(event), json, FRAME_END].concat())
    }

    fn frame_head(&self, event: &str) -> Bytes {
        Bytes::from(format!("id: {}\nevent: {event}\ndata: ", self.version))
    }
}

fn render(state: &State, id: &UnitId) -> Option<Bytes> {
    let unit = state.unit(id)?;
    let mut json = Vec::with_capacity(512);
    view::write_unit(&mut json, id, unit, state.alarms.of_unit(id));
    // Kept as long as the unit: no spare capacity, 40,000 times.
    json.shrink_to_fit();
    Some(Bytes::from(json))
}

fn array(parts: &[Bytes]) -> Bytes {
    let mut json = Vec::with_capacity(2 + parts.iter().map(|part| part.len() + 1).sum::<usize>());
    json.push(b'[');
    for (n, part) in parts.iter().enumerate() {
        if n > 0 {
            json.push(b',');
        }
        json.extend_from_slice(part);
    }
    json.push(b']');
    Bytes::from(json)
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use super::*;

    #[test]
    fn pages_are_told_to_read_again_once_a_unit_is_forgotten() {
        let gone = AlarmId::from_str("sim/pc-0001/1/1").unwrap().unit;
        let mut board = Board::default();
        board.units.insert(gone.clone(), Bytes::from_static(b"{}"));
        let mut page = board.open().unwrap().then;
        board.forget(std::slice::from_ref(&gone));
        board.tell_forgotten();
        assert!(page.take().unwrap().starts_with(b"event: lagged"));
        assert!(board.all_units().1 == "[]", "and it is not there any more");
        board.forget(&[gone]);
        board.tell_forgotten();
        assert_eq!(page.take(), None, "nobody reads again for nothing");
    }
}
