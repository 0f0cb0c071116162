//! What the alarm lane has read of the spool and the book has not come to yet: for the screen, and for nothing else.
//!
//! **The book stays the only truth, folded in the order of the spool.** A deed noted here is laid over the alarm of the book
//! whenever somebody looks, and forgotten as soon as the book has come to its record. So no order of reading changes what the
//! queue comes to, and nothing here is ever saved.
//!
//! | laid over at once | waits for its place in the spool |
//! |---|---|
//! | a device's alarm, judged by what is folded so far | what a rule raises, and what makes an alarm graver |
//! | taken back, acknowledged, delivered, confirmed | shelved, lowered, closed: whether that is done follows from the grade |
//! | | time: ladders, silence; incidents |
//! | | what a device itself says of a receipt (`Body::Heard`): which alarm it means follows from what is owed then |
//!
//! Two lanes note deeds, so they come in no order; they are laid over in that of the spool. What would change nothing is not
//! noted, so a device that says the same again and again fills nothing.
//!
//! Bounds: [`DEEDS_MAX`] deeds of about 1 KiB. With more the lane waits, and alarms come in the order of the spool.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use fieldpost_protocol::{BootId, Receipt, Seq};

use super::ALARMS_MAX;
use super::action::Confirmed;
use super::alarm::{Acceptance, Alarm, Owed, Owner};
use super::book::Book;
use super::event::EventKind;
use super::id::AlarmId;
use crate::live::unit::UnitId;
use crate::spool::Lsn;

/// Most deeds noted: as many as the queue has alarms.
const DEEDS_MAX: usize = ALARMS_MAX;

/// Something that a record says was done to an alarm.
#[derive(Debug, Clone)]
pub enum Deed {
    /// Its device raised it.
    Raised(Box<Alarm>),
    /// Its wearer took it back.
    TakenBack {
        /// When, Unix ms.
        at_ms: u64,
    },
    /// Somebody acknowledged it.
    Taken(Owner),
    /// A force system has it.
    Accepted(Acceptance),
    /// The wearer's device has a receipt.
    Confirmed(Confirmed),
}

/// Deeds that the book has not come to, by alarm.
#[derive(Debug, Default)]
pub struct Ahead {
    entries: BTreeMap<AlarmId, Entry>,
    /// In the order of the spool.
    order: BTreeSet<(Lsn, AlarmId)>,
    changed: BTreeSet<AlarmId>,
    revision: u64,
    /// Alarms in `entries` that were raised there.
    raised_count: usize,
}

#[derive(Debug, Default)]
struct Entry {
    deeds: BTreeMap<Lsn, Deed>,
    /// When SEEN was first sent, while the book does not know who has the alarm.
    told_ms: Option<u64>,
}

/// The queue as the screen has it: the book, and what is ahead of it laid over.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    book: &'a Book,
    ahead: &'a Ahead,
}

impl Deed {
    /// Does it to the alarm, if that can be; whether it was. An alarm is not changed by being raised.
    fn lay_over(&self, alarm: &mut Option<Alarm>) -> bool {
        match (self, &mut *alarm) {
            (Self::Raised(raised), None) => {
                *alarm = Some((**raised).clone());
                false
            }
            (Self::Raised(_), Some(_)) | (_, None) => false,
            (Self::Confirmed(confirmed), Some(alarm)) => confirmed.apply(alarm),
            // Closed, it is out of the queue.
            (_, Some(alarm)) if alarm.standing.closed.is_some() => false,
            (Self::TakenBack { at_ms }, Some(alarm)) => alarm.take_back(*at_ms),
            (Self::Taken(owner), Some(alarm)) => alarm.take(owner.clone()),
            (Self::Accepted(acceptance), Some(alarm)) => alarm.accept(acceptance.clone()),
        }
    }

    fn is_raised(&self) -> bool {
        matches!(self, Self::Raised(_))
    }

    fn is_taken(&self) -> bool {
        matches!(self, Self::Taken(_))
    }
}

impl Entry {
    fn is_raised(&self) -> bool {
        self.deeds.values().any(Deed::is_raised)
    }

    fn is_taken(&self) -> bool {
        self.deeds.values().any(Deed::is_taken)
    }

    fn changes_receipts(&self) -> bool {
        let changes = |deed: &Deed| matches!(deed, Deed::Taken(_) | Deed::Accepted(_) | Deed::Confirmed(_));
        self.deeds.values().any(changes)
    }

    /// Lays over `alarm` what was done before `end`; how many changes that is.
    fn lay_over(&self, alarm: &mut Option<Alarm>, end: Lsn) -> u64 {
        let mut changes_count = 0;
        for (_, deed) in self.deeds.range(..end) {
            changes_count += u64::from(deed.lay_over(alarm));
            // Its wearer is told after somebody took it, as the story says.
            if let (true, Some(told_ms), Some(alarm)) = (deed.is_taken(), self.told_ms, &mut *alarm) {
                changes_count += u64::from(alarm.tell_wearer(told_ms));
            }
        }
        changes_count
    }
}

impl Ahead {
    /// Whether the lane may read on: all that so many records can say finds room.
    #[must_use]
    pub fn has_room_for(&self, records_count: usize) -> bool {
        self.order.len() + records_count <= DEEDS_MAX
    }

    #[cfg(test)]
    pub(crate) fn deeds_count(&self) -> usize {
        self.order.len()
    }

    /// Whether the book has come to everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.order.is_empty() && self.raised_count == 0
    }

    /// A device has raised an alarm, if `book` has room to show it and does not know it yet.
    pub fn raise(&mut self, book: &Book, lsn: Lsn, mut alarm: Alarm) {
        let of_unit_count = self.of(&alarm.id.unit).filter(|(_, entry)| entry.is_raised()).count();
        let is_known = book.knows(&alarm.id) || self.entries.get(&alarm.id).is_some_and(Entry::is_raised);
        if is_known
            || !self.has_room_for(1)
            || !book.has_room_beside(&alarm.id.unit, self.raised_count, of_unit_count)
        {
            return;
        }
        alarm.tell(alarm.received_at_ms, EventKind::Raised, None, alarm.standing.grade.as_str());
        // Below every picture of it that the book will give: a page keeps the one with the higher number.
        alarm.standing.revision = 0;
        self.raised_count += 1;
        self.insert(lsn, &alarm.id.clone(), Deed::Raised(Box::new(alarm)));
    }

    /// The record at `lsn` says that something was done to an alarm. If that changes nothing, or there is no room, the record
    /// waits for its place.
    pub fn note(&mut self, book: &Book, lsn: Lsn, id: &AlarmId, deed: Deed) {
        let mut alarm = book.find(id).or_else(|| book.queued(id)).cloned();
        if let Some(entry) = self.entries.get(id) {
            entry.lay_over(&mut alarm, lsn);
        }
        if self.has_room_for(1) && deed.lay_over(&mut alarm) {
            self.insert(lsn, id, deed);
        }
    }

    fn insert(&mut self, lsn: Lsn, id: &AlarmId, deed: Deed) {
        self.entries.entry(id.clone()).or_default().deeds.insert(lsn, deed);
        self.order.insert((lsn, id.clone()));
        self.note_change(id);
    }

    /// The book has come to `through`: what was noted up to there stands in it.
    pub fn catch_up(&mut self, through: Lsn, book: &mut Book) {
        while self.order.first().is_some_and(|(lsn, _)| *lsn <= through) {
            let Some((_, id)) = self.order.pop_first() else { return };
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            let was_raised = entry.is_raised();
            entry.deeds.retain(|lsn, _| *lsn > through);
            self.raised_count -= usize::from(was_raised && !entry.is_raised());
            if !entry.is_taken()
                && let Some(told_ms) = entry.told_ms.take()
            {
                book.told(&(id.clone(), Receipt::Seen), told_ms);
            }
            if entry.deeds.is_empty() {
                self.entries.remove(&id);
            }
            self.note_change(&id);
        }
    }

    /// SEEN has been handed to its device's connection.
    pub fn told(&mut self, book: &mut Book, owed: &Owed, at_ms: u64) {
        let (id, receipt) = owed;
        match self.entries.get_mut(id).filter(|entry| entry.is_taken()) {
            Some(entry) if *receipt == Receipt::Seen => {
                entry.told_ms.get_or_insert(at_ms);
                self.note_change(id);
            }
            _ => book.told(owed, at_ms),
        }
    }

    /// The alarms that look different since the last call because of what is here.
    pub fn take_changed(&mut self) -> BTreeSet<AlarmId> {
        std::mem::take(&mut self.changed)
    }

    fn note_change(&mut self, id: &AlarmId) {
        self.revision += 1;
        self.changed.insert(id.clone());
    }

    fn of<'a>(&'a self, unit: &UnitId) -> impl Iterator<Item = (&'a AlarmId, &'a Entry)> + use<'a> {
        let unit = unit.clone();
        let first = AlarmId { unit: unit.clone(), boot: BootId(0), seq: Seq(0), repeat: None };
        self.entries.range(first..).take_while(move |(id, _)| id.unit == unit)
    }
}

impl<'a> Shown<'a> {
    /// `book` with what is `ahead` of it.
    #[must_use]
    pub fn new(book: &'a Book, ahead: &'a Ahead) -> Self {
        Self { book, ahead }
    }

    /// One alarm, in the queue or closed not long ago.
    #[must_use]
    pub fn find(self, id: &AlarmId) -> Option<Cow<'a, Alarm>> {
        let known = self.book.find(id);
        let Some(entry) = self.ahead.entries.get(id) else { return known.map(Cow::Borrowed) };
        // One that was shown stays, should there be no room for it now.
        let mut alarm = known.or_else(|| self.book.queued(id)).cloned();
        let laid_over_count = entry.lay_over(&mut alarm, Lsn(u64::MAX));
        if let Some(alarm) = &mut alarm {
            alarm.standing.laid_over_count = laid_over_count;
        }
        alarm.map(Cow::Owned)
    }

    /// One alarm of the queue.
    #[must_use]
    pub fn get(self, id: &AlarmId) -> Option<Cow<'a, Alarm>> {
        self.find(id).filter(|alarm| alarm.standing.closed.is_none())
    }

    /// The newest alarm of the queue that a device may mean by this identity: that of a repeated one goes before.
    #[must_use]
    pub fn newest_alike(self, id: &AlarmId) -> Option<AlarmId> {
        let alike = self.ids_of(&id.unit).into_iter().filter(|of| (of.boot, of.seq) == (id.boot, id.seq));
        let newest = alike.filter_map(|id| self.get(&id)).max_by_key(|alarm| alarm.received_at_ms);
        newest.map(|alarm| alarm.id.clone())
    }

    /// The alarm that a unit's marker shows: its newest unacknowledged one, else its newest.
    #[must_use]
    pub fn of_unit(self, unit: &UnitId) -> Option<AlarmId> {
        if self.ahead.of(unit).next().is_none() {
            return self.book.of_unit(unit).cloned();
        }
        let alarms = self.ids_of(unit).into_iter().filter_map(|id| self.get(&id));
        let newest = alarms.max_by_key(|alarm| (alarm.owner.is_none(), alarm.received_at_ms));
        newest.map(|alarm| alarm.id.clone())
    }

    /// Every alarm that no person has closed, those that wait for room too, and what was closed last.
    pub fn all(self) -> impl Iterator<Item = Cow<'a, Alarm>> {
        let of_book = self.book.iter().chain(self.book.waiting()).chain(self.book.closed());
        let untouched = of_book.filter(move |alarm| !self.ahead.entries.contains_key(&alarm.id));
        let touched = self.ahead.entries.keys().filter_map(move |id| self.find(id));
        untouched.map(Cow::Borrowed).chain(touched)
    }

    /// How many of those in the queue nobody has acknowledged.
    #[must_use]
    pub fn unacknowledged_count(self) -> usize {
        let is_open = |id| self.book.get(id).is_some_and(|alarm| alarm.owner.is_none());
        let (mut raised, mut taken) = (0, 0);
        for (id, entry) in &self.ahead.entries {
            raised += usize::from(entry.is_raised() && !self.book.knows(id) && !entry.is_taken());
            taken += usize::from(entry.is_taken() && is_open(id));
        }
        (self.book.unacknowledged_count() + raised).saturating_sub(taken)
    }

    /// Every receipt that a device has not confirmed: DELIVERED before SEEN.
    pub fn receipts_owed(self) -> impl Iterator<Item = Owed> {
        let entries = &self.ahead.entries;
        let is_untouched = move |owed: &Owed| !entries.get(&owed.0).is_some_and(Entry::changes_receipts);
        let touched = entries.iter().filter(|(_, entry)| entry.changes_receipts());
        let of_touched =
            touched.filter_map(move |(id, _)| self.find(id)).flat_map(|alarm| alarm.receipts_owed());
        self.book.receipts_owed().filter(is_untouched).chain(of_touched)
    }

    /// Counts the changes of what is shown since the start.
    #[must_use]
    pub fn revision(self) -> u64 {
        self.book.revision() + self.ahead.revision
    }

    fn ids_of(self, unit: &UnitId) -> BTreeSet<AlarmId> {
        let of_book = self.book.of(unit).map(|(id, _)| id);
        of_book.chain(self.ahead.of(unit).map(|(id, _)| id)).cloned().collect()
    }
}
