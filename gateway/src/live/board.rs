//! What every page sees, rendered once.
//!
//! ```text
//! State --changed--> Board: Picture --pending--> picture journal, fsynced --Committed--> queue of each page
//! ```
//! **However many pages are open, a change is rendered once**, at most four times a second; pages with the same forces
//! share the bytes. **A queue takes only what is durable in the journal** ([`crate::audit::pictures`]). The full list is
//! put together at most once between changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::fanout::{QUEUE_BYTES_MAX, Queue, Subscription, Urgency};
use super::frames::{Change, LAGGED, Picture, frame};
use super::ring::Ring;
use super::state::State;
use super::unit::UnitId;
use super::view::{self, GatewayView, WatchView};
use crate::alarms::Watch;
use crate::alarms::{AlarmId, AlarmRow};
use crate::audit::Holds;
use crate::audit::pictures::{Committed, Entry};
use crate::people::Forces;

/// Most pages open at once.
pub const PAGES_MAX: usize = 256;
/// Changes that may wait for the journal; a reader of the alarm queue then reads what is shown.
const PENDING_MAX: usize = 20_000;
/// So long after somebody read units or alarms, or the last page went, changes are still journalled: the next reader finds
/// them, and a page that comes back goes on where it was.
const READ_LEASE_MS: u64 = 60_000;

/// The rendered picture and the pages that look at it.
#[derive(Debug, Default)]
pub(super) struct Board {
    picture: Picture,
    /// Alarms last shown as unacknowledged.
    open: BTreeSet<AlarmId>,
    /// Who watches, as pages were told last.
    watch: Option<WatchView>,
    /// All units as a JSON array, if put together since the last change.
    all_units: Option<Bytes>,
    /// Units taken off that open pages may still show.
    gone: Vec<UnitId>,
    pages: Vec<Page>,
    /// For the journal, in order.
    pending: Vec<Entry>,
    /// The journal has, or has pending, the whole picture.
    is_journalled: bool,
    read_until_ms: u64,
    /// What was sent, without a hole up to the newest.
    sent: Ring,
}

#[derive(Debug)]
struct Page {
    queue: Arc<Queue>,
    forces: Forces,
    /// It has everything up to here.
    opened_at: u64,
}

/// A page's first frames and what follows them.
#[derive(Debug)]
pub struct Opening {
    /// The picture that the first frames show, or lead up to.
    pub n: u64,
    /// It goes on after this change.
    pub resumed_after: Option<u64>,
    /// It asked to go on after this change, which is not known any more.
    pub lagged_from: Option<u64>,
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
}

impl Board {
    /// Counts changes from behind `n`: what an earlier run or a clock has used.
    pub(super) fn count_from(&mut self, n: u64) {
        self.picture.n = self.picture.n.max(n);
    }

    /// Renders the alarms that changed.
    pub(super) fn render_alarms(&mut self, state: &mut State) -> Published {
        let mut published = Published::default();
        if self.pending.len() > PENDING_MAX {
            return published;
        }
        for id in state.take_changed_alarms() {
            // One that a person closed is said once more, with its end, and then gone.
            let Some(alarm) = state.shown().find(&id) else {
                self.open.remove(&id);
                self.change(Change::AlarmGone(id));
                continue;
            };
            let json = serde_json::to_vec(&AlarmRow::from(&*alarm)).expect("strings and numbers are JSON");
            match &alarm.owner {
                None => _ = self.open.insert(id.clone()),
                Some(owner) if self.open.remove(&id) => {
                    let waited_ms = owner.at_ms.saturating_sub(alarm.received_at_ms);
                    published.acknowledged_after_ms.push(waited_ms);
                }
                Some(_) => {}
            }
            let is_closed = alarm.standing.closed.is_some();
            drop(alarm);
            state.touch(&id.unit);
            self.change(Change::Alarm { id, json: Bytes::from(json), remains: !is_closed });
        }
        published
    }

    /// Renders everything that changed.
    pub(super) fn render(&mut self, state: &mut State) -> Published {
        let mut published = self.render_alarms(state);
        let mut dirty = state.take_dirty();
        dirty.sort_unstable();
        let mut rendered = Vec::with_capacity(dirty.len());
        for id in dirty {
            if let Some(json) = render(state, &id) {
                published.received_at_ms.extend(state.take_changed_by(&id));
                rendered.push((id, json));
            }
        }
        if !rendered.is_empty() {
            self.gone.retain(|gone| !rendered.iter().any(|(id, _)| id == gone));
            self.change(Change::Units(rendered));
        }
        published
    }

    /// Takes units off the board. Open pages show them until [`Board::tell_forgotten`].
    pub(super) fn forget(&mut self, ids: Vec<UnitId>) {
        self.gone.extend(ids.into_iter().filter(|id| self.picture.units.contains_key(id)));
    }

    /// Makes open pages read everything again if units were forgotten since the last call: no event of the stream takes
    /// a unit away. A full read of every page: not for each unit, and not every second.
    pub(super) fn tell_forgotten(&mut self) {
        if !self.gone.is_empty() {
            let gone = std::mem::take(&mut self.gone);
            self.change(Change::UnitsGone(gone));
        }
    }

    /// Renders the gateway's state; the heartbeat of every stream.
    pub(super) fn render_gateway(&mut self, view: &GatewayView) {
        let json = Bytes::from(serde_json::to_vec(view).expect("strings and numbers are JSON"));
        self.change(Change::Told { event: "gateway".to_owned(), json });
        self.pages.retain(|page| !page.queue.is_closed());
    }

    /// Tells every page who watches, if that has changed.
    pub(super) fn render_watch(&mut self, watch: &Watch) {
        let view =
            WatchView { consoles: watch.consoles, unlocked: watch.unlocked, nobody: watch.unlocked == 0 };
        if self.watch.replace(view) != Some(view) {
            let json = Bytes::from(serde_json::to_vec(&view).expect("numbers are JSON"));
            self.change(Change::Told { event: "watch".to_owned(), json });
        }
    }

    fn change(&mut self, change: Change) {
        let n = self.picture.n + 1;
        self.picture.apply(n, &change);
        if matches!(change, Change::Units(_) | Change::UnitsGone(_)) {
            self.all_units = None;
        }
        if self.is_journalled {
            self.pending.push(Entry::Change(n, change));
        }
    }

    /// Every unit of `forces` as the API answers it, and the picture it is.
    pub(super) fn units(&mut self, forces: &Forces, now_ms: u64) -> (u64, Bytes) {
        self.read_until_ms = now_ms + READ_LEASE_MS;
        self.journal();
        let units = self.units_of(forces);
        (self.picture.n, self.picture.units_answer(forces, &units))
    }

    /// Every alarm of `forces` as the API answers it, and the picture it is.
    pub(super) fn alarms(&mut self, forces: &Forces, now_ms: u64) -> (u64, Bytes) {
        self.read_until_ms = now_ms + READ_LEASE_MS;
        self.journal();
        (self.picture.n, self.picture.alarms_answer(&self.picture.alarms_json(forces)))
    }

    /// Opens a page; `None` if too many are open. It goes on after `cursor` if every change since is still there, else it is
    /// told that it lagged and shown everything.
    pub(super) fn open(&mut self, forces: &Forces, holds: Holds, cursor: Option<u64>) -> Option<Opening> {
        self.pages.retain(|page| !page.queue.is_closed());
        if self.pages.len() >= PAGES_MAX {
            return None;
        }
        self.journal();
        if let Some(after) = cursor
            && let Some((n, first)) = self.sent.after(after, forces)
        {
            let then = self.add_page(Queue::after(n), forces, n, holds);
            return Some(Opening { n, resumed_after: cursor, lagged_from: None, first, then });
        }
        let n = self.picture.n;
        let units = self.units_of(forces);
        let lagged = cursor.map(|_| LAGGED);
        let first = lagged.into_iter().chain(self.picture.opening(forces, units)).collect();
        let then = self.add_page(Queue::new(), forces, n, holds);
        Some(Opening { n, resumed_after: None, lagged_from: cursor, first, then })
    }

    fn add_page(&mut self, queue: Arc<Queue>, forces: &Forces, opened_at: u64, holds: Holds) -> Subscription {
        self.pages.push(Page { queue: Arc::clone(&queue), forces: forces.clone(), opened_at });
        Subscription::new(queue, holds)
    }

    /// Who sees everything shares one list, put together once between changes.
    fn units_of(&mut self, forces: &Forces) -> Bytes {
        match forces {
            Forces::All => {
                let picture = &self.picture;
                self.all_units.get_or_insert_with(|| picture.units_json(forces)).clone()
            }
            Forces::These(_) => self.picture.units_json(forces),
        }
    }

    /// Somebody looks: from here on the journal has the whole picture.
    fn journal(&mut self) {
        if !self.is_journalled {
            self.is_journalled = true;
            self.renew_keyframe();
        }
    }

    /// The journal begins a new file: with everything.
    pub(super) fn renew_keyframe(&mut self) {
        self.pending.push(Entry::Keyframe(self.picture.clone()));
    }

    /// What the journal does not have yet; nothing more comes if nobody looks.
    pub(super) fn take_pending(&mut self, now_ms: u64) -> Vec<Entry> {
        if !self.pages.is_empty() {
            self.read_until_ms = self.read_until_ms.max(now_ms + READ_LEASE_MS);
        } else if now_ms > self.read_until_ms {
            self.is_journalled = false;
            self.sent = Ring::default();
        }
        std::mem::take(&mut self.pending)
    }

    /// The journal did not take what was pending, so nobody may see it: every stream ends, and none opens before the
    /// journal works again.
    pub(super) fn journal_failed(&mut self) {
        self.is_journalled = false;
        self.sent = Ring::default();
        self.pending.clear();
        self.close();
    }

    /// Sends what is durable to every page that sees it. Returns how many pages have now been told that they lag.
    pub(super) fn send(&mut self, committed: &Committed) -> u64 {
        let mut lagged = 0;
        for entry in committed.entries() {
            let Entry::Change(n, change) = entry else { continue };
            let urgency =
                if matches!(change, Change::Alarm { .. }) { Urgency::First } else { Urgency::Normal };
            // As many renderings as there are different sets of forces, not as there are pages.
            let mut frames: BTreeMap<&Forces, Option<Bytes>> = BTreeMap::new();
            for page in self.pages.iter().filter(|page| page.opened_at < *n) {
                let frame = frames.entry(&page.forces).or_insert_with(|| frame(*n, change, &page.forces));
                lagged += frame.clone().map_or(0, |frame| u64::from(page.queue.push(urgency, *n, frame)));
            }
            self.sent.push(*n, change);
        }
        lagged
    }

    /// Whether a page has left much unread: what nobody may wait for.
    pub(super) fn is_anybody_behind(&self) -> bool {
        self.pages.iter().any(|page| page.queue.waiting_bytes() > QUEUE_BYTES_MAX / 4)
    }

    /// How many pages are open.
    pub(super) fn pages_count(&self) -> usize {
        self.pages.iter().filter(|page| !page.queue.is_closed()).count()
    }

    /// Ends every stream.
    pub(super) fn close(&mut self) {
        self.pages.drain(..).for_each(|page| page.queue.close());
    }
}

fn render(state: &State, id: &UnitId) -> Option<Bytes> {
    let unit = state.unit(id)?;
    let mut json = Vec::with_capacity(512);
    view::write_unit(&mut json, id, unit, state.shown().of_unit(id).as_ref());
    // Kept as long as the unit: no spare capacity, 40,000 times.
    json.shrink_to_fit();
    Some(Bytes::from(json))
}
