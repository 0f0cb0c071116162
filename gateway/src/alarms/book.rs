//! The bounded queue itself: what is shown, what waits for room, what is owed.
//!
//! Everything here is a fold of committed records but one thing, which is marked: when a receipt was first *sent*.

mod kept;
mod receipts;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use fieldpost_protocol::{BootId, Seq};

pub use self::kept::Kept;
use super::action::Said;
use super::alarm::{Alarm, Owed, Owner};
use super::clock::Time;
use super::event::EventKind;
use super::figures::Figures;
use super::id::AlarmId;
use super::rules::Rules;
use super::signals::SignalMap;
use super::verdict::Unsaid;
use super::{ALARMS_MAX, CLOSED_MAX, TAKEN_MIN, UNIT_OPEN_MAX, WAITING_MAX};
use crate::live::unit::UnitId;
use crate::sabotage::{self, Sabotage};
use crate::spool::Lsn;

/// Every alarm the page shows.
#[derive(Debug)]
pub struct Book {
    alarms: BTreeMap<AlarmId, Alarm>,
    /// Those of `alarms` that nobody has acknowledged.
    open_count: usize,
    /// Alarms that there is no room for yet.
    waiting: BTreeMap<AlarmId, Alarm>,
    /// Records up to here are in `alarms` and `waiting`.
    folded: Lsn,
    changed: BTreeSet<AlarmId>,
    pub(super) revision: u64,
    /// Alarms that could not even wait.
    refused_count: u64,
    /// Receipts that are owed for alarms which have left the queue.
    owed: BTreeSet<Owed>,
    /// Those of `alarms` and `waiting` that owe a receipt: they are asked for with every record and every connection.
    owing: BTreeSet<AlarmId>,
    /// Alarms that people closed, the last [`CLOSED_MAX`], oldest first.
    closed: VecDeque<Alarm>,
    /// What is left of alarms that are in none of these any more.
    pub(super) figures: Figures,
    /// The rules in force.
    pub(super) rules: Arc<Rules>,
    /// What is remembered of each unit.
    pub(super) signals: SignalMap,
    /// Time by the records.
    pub(super) time: Time,
    /// The alarms shown last, for incidents.
    pub(super) recent: VecDeque<AlarmId>,
    /// What the rules found and no record says yet.
    pub(super) unsaid: Unsaid,
}

impl Default for Book {
    /// Empty, under the built-in rules.
    fn default() -> Self {
        Self {
            alarms: BTreeMap::new(),
            open_count: 0,
            waiting: BTreeMap::new(),
            folded: Lsn(0),
            changed: BTreeSet::new(),
            revision: 0,
            refused_count: 0,
            owed: BTreeSet::new(),
            owing: BTreeSet::new(),
            closed: VecDeque::new(),
            figures: Figures::default(),
            rules: Rules::built_in(),
            signals: SignalMap::default(),
            time: Time::default(),
            recent: VecDeque::new(),
            unsaid: Unsaid::default(),
        }
    }
}

impl Book {
    /// Whether the record at `lsn` is still to be folded; marks it folded.
    pub fn takes(&mut self, lsn: Lsn) -> bool {
        let takes = lsn > self.folded;
        self.folded = self.folded.max(lsn);
        takes
    }

    /// If the spool ends at `committed`, before what is in the book, numbers after it will be given out anew: takes them
    /// when they come. Returns whether that was so.
    pub fn goes_back_to(&mut self, committed: Lsn) -> bool {
        let goes_back = self.folded > committed;
        self.folded = self.folded.min(committed);
        goes_back
    }

    /// Records up to here are in the book.
    #[must_use]
    pub fn folded(&self) -> Lsn {
        self.folded
    }

    /// Enters an alarm, or lets it wait for room. The same record again changes nothing.
    pub fn raise(&mut self, mut alarm: Alarm) {
        if self.knows(&alarm.id) {
            return;
        }
        alarm.tell(alarm.received_at_ms, EventKind::Raised, None, alarm.standing.grade.as_str());
        let verdict = alarm.found_first();
        if self.has_room_for(&alarm.id.unit) {
            self.show(alarm);
        } else if self.waiting.len() < WAITING_MAX
            && of(&self.waiting, &alarm.id.unit).count() < UNIT_OPEN_MAX
        {
            self.revision += 1;
            self.waiting.insert(alarm.id.clone(), alarm);
        } else {
            return self.refuse();
        }
        self.unsaid.add(verdict);
    }

    /// An alarm found no room at all.
    pub(super) fn refuse(&mut self) {
        self.refused_count += 1;
    }

    /// Marks an alarm as taken back by its wearer: of several under a repeated identity the newest. The first mark stays.
    pub fn cancel(&mut self, id: &AlarmId, at_ms: u64) {
        let of_unit = of(&self.alarms, &id.unit).chain(of(&self.waiting, &id.unit));
        let alike = of_unit.filter(|(alike, _)| (alike.boot, alike.seq) == (id.boot, id.seq));
        let newest = alike.max_by_key(|(_, alarm)| alarm.received_at_ms).map(|(id, _)| id.clone());
        let Some(id) = &newest else { return };
        let Some(alarm) = self.alarms.get_mut(id).or_else(|| self.waiting.get_mut(id)) else { return };
        if alarm.take_back(at_ms) {
            self.note_change(id);
        }
    }

    /// Gives an alarm its owner. The first one stays. What waited longest takes the room.
    pub fn acknowledge(&mut self, id: &AlarmId, owner: Owner) {
        if let Some(mut alarm) = self.waiting.remove(id) {
            // Shown when it was acknowledged, in a run whose queue was another.
            alarm.take(owner);
            self.show(alarm);
            return;
        }
        let Some(alarm) = self.alarms.get_mut(id) else { return };
        if alarm.take(owner) {
            self.open_count -= 1;
            self.note_change(id);
            self.show_waiting();
        }
    }

    /// Does what a person said, if it can be done to the alarm as it is.
    pub fn act(&mut self, said: &Said) {
        let Some(alarm) = self.alarms.get_mut(&said.alarm) else { return };
        if !said.apply(alarm) {
            return;
        }
        let found = alarm.found_of_shelf(said);
        found.into_iter().for_each(|verdict| self.unsaid.add(verdict));
        self.note_change(&said.alarm);
        self.arm(&said.alarm);
        if self.alarms.get(&said.alarm).is_some_and(|alarm| alarm.standing.closed.is_some()) {
            self.let_go(&said.alarm);
        }
    }

    /// A closed alarm leaves the queue; what its wearer is still to be told does not.
    fn let_go(&mut self, id: &AlarmId) {
        let Some(alarm) = self.alarms.remove(id) else { return };
        self.owing.remove(id);
        self.owe(alarm.receipts_owed());
        self.closed.push_back(alarm);
        while self.closed.len() > CLOSED_MAX {
            self.closed.pop_front().iter().for_each(|alarm| self.figures.keep(alarm));
        }
        self.show_waiting();
    }

    /// Lets go of alarms that people closed before `before_ms`, Unix ms. Their figures stay; their records are the spool's affair.
    pub fn forget_closed(&mut self, before_ms: u64) {
        let is_old =
            |alarm: &Alarm| alarm.standing.closed.as_ref().is_some_and(|closed| closed.at_ms < before_ms);
        if !self.closed.iter().any(is_old) {
            return;
        }
        let (old, kept) = std::mem::take(&mut self.closed).into_iter().partition(is_old);
        self.closed = kept;
        let old: VecDeque<Alarm> = old;
        old.iter().for_each(|alarm| self.figures.keep(alarm));
        self.revision += 1;
    }

    /// Whether the alarm is here, in whatever state.
    pub(super) fn knows(&self, id: &AlarmId) -> bool {
        let is_closed = || self.closed.iter().any(|alarm| alarm.id == *id);
        self.alarms.contains_key(id) || self.waiting.contains_key(id) || is_closed()
    }

    fn has_room_for(&self, unit: &UnitId) -> bool {
        self.has_room_beside(unit, 0, 0)
    }

    /// Whether an alarm of `unit` could be shown if so many were shown already that are not in the book, so many of its unit.
    pub(super) fn has_room_beside(&self, unit: &UnitId, others_count: usize, of_unit_count: usize) -> bool {
        let open_of_unit = || self.of(unit).filter(|(_, alarm)| alarm.owner.is_none()).count();
        self.open_count + others_count < ALARMS_MAX && open_of_unit() + of_unit_count < UNIT_OPEN_MAX
    }

    fn show(&mut self, alarm: Alarm) {
        self.open_count += usize::from(alarm.owner.is_none());
        let id = alarm.id.clone();
        self.alarms.insert(id.clone(), alarm);
        self.note_change(&id);
        self.note_recent(&id);
        self.group(&id);
        self.arm(&id);
        while self.alarms.len() > ALARMS_MAX + TAKEN_MIN && self.drop_oldest_acknowledged() {}
    }

    /// Shows the alarms that waited longest, as far as there is room.
    fn show_waiting(&mut self) {
        while self.open_count < ALARMS_MAX {
            let fits = self.waiting.values().filter(|alarm| self.has_room_for(&alarm.id.unit));
            let Some(id) = fits.min_by_key(|alarm| alarm.received_at_ms).map(|alarm| alarm.id.clone()) else {
                return;
            };
            if let Some(alarm) = self.waiting.remove(&id) {
                self.show(alarm);
            }
        }
    }

    /// Every alarm that is not over, shown or waiting.
    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut Alarm> {
        self.alarms.values_mut().chain(self.waiting.values_mut())
    }

    /// One that is shown.
    pub(super) fn shown_mut(&mut self, id: &AlarmId) -> Option<&mut Alarm> {
        self.alarms.get_mut(id)
    }

    fn find_mut(&mut self, id: &AlarmId) -> Option<&mut Alarm> {
        let here = self.alarms.get_mut(id).or_else(|| self.waiting.get_mut(id));
        here.or_else(|| self.closed.iter_mut().find(|alarm| alarm.id == *id))
    }

    /// One that is not over, shown or waiting.
    pub(super) fn queued(&self, id: &AlarmId) -> Option<&Alarm> {
        self.alarms.get(id).or_else(|| self.waiting.get(id))
    }

    /// One alarm.
    #[must_use]
    pub fn get(&self, id: &AlarmId) -> Option<&Alarm> {
        self.alarms.get(id)
    }

    /// One alarm, shown or closed not long ago.
    #[must_use]
    pub fn find(&self, id: &AlarmId) -> Option<&Alarm> {
        self.alarms.get(id).or_else(|| self.closed.iter().find(|alarm| alarm.id == *id))
    }

    /// What people closed, oldest first.
    pub fn closed(&self) -> impl Iterator<Item = &Alarm> {
        self.closed.iter()
    }

    /// Every alarm, by identity.
    pub fn iter(&self) -> impl Iterator<Item = &Alarm> {
        let has_gone_up = |alarm: &Alarm| alarm.standing.escalation.as_ref().is_some_and(|up| up.step > 0);
        self.alarms.values().filter(move |alarm| !sabotage::is(Sabotage::TimeOutAlarm) || !has_gone_up(alarm))
    }

    /// The alarm that a unit's marker shows: its newest unacknowledged one, else its newest.
    #[must_use]
    pub fn of_unit(&self, unit: &UnitId) -> Option<&AlarmId> {
        let newest = |open: bool| {
            self.of(unit)
                .filter(|(_, alarm)| !open || alarm.owner.is_none())
                .max_by_key(|(_, alarm)| alarm.received_at_ms)
        };
        newest(true).or_else(|| newest(false)).map(|(id, _)| id)
    }

    pub(super) fn of<'a>(
        &'a self,
        unit: &UnitId,
    ) -> impl Iterator<Item = (&'a AlarmId, &'a Alarm)> + use<'a> {
        of(&self.alarms, unit)
    }

    /// Every alarm that waits for room, by identity.
    pub fn waiting(&self) -> impl Iterator<Item = &Alarm> {
        self.waiting.values()
    }

    /// How many of those shown nobody has acknowledged.
    #[must_use]
    pub fn unacknowledged_count(&self) -> usize {
        self.open_count
    }

    /// How many alarms wait for room now, and how many could not even wait since the start.
    #[must_use]
    pub fn not_shown_count(&self) -> u64 {
        self.waiting.len() as u64 + self.refused_count
    }

    /// The alarms that changed since the last call.
    pub fn take_changed(&mut self) -> BTreeSet<AlarmId> {
        std::mem::take(&mut self.changed)
    }

    /// Counts the changes since the start.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn note_change(&mut self, id: &AlarmId) {
        self.revision += 1;
        if let Some(alarm) = self.find_mut(id) {
            alarm.standing.revision += 1;
        }
        if self.queued(id).is_some_and(|alarm| alarm.receipts_owed().next().is_some()) {
            self.owing.insert(id.clone());
        } else {
            self.owing.remove(id);
        }
        self.changed.insert(id.clone());
    }

    fn drop_oldest_acknowledged(&mut self) -> bool {
        let oldest = self
            .alarms
            .values()
            .filter_map(|alarm| Some((alarm.owner.as_ref()?.at_ms, &alarm.id)))
            .min()
            .map(|(_, id)| id.clone());
        let Some(alarm) = oldest.and_then(|id| self.alarms.remove(&id)) else { return false };
        self.note_change(&alarm.id);
        // It leaves the page, not the wearer's concern.
        self.owe(alarm.receipts_owed());
        self.figures.keep(&alarm);
        true
    }
}

fn of<'a>(
    alarms: &'a BTreeMap<AlarmId, Alarm>,
    unit: &UnitId,
) -> impl Iterator<Item = (&'a AlarmId, &'a Alarm)> + use<'a> {
    let unit = unit.clone();
    let first = AlarmId { unit: unit.clone(), boot: BootId(0), seq: Seq(0), repeat: None };
    alarms.range(first..).take_while(move |(id, _)| id.unit == unit)
}
