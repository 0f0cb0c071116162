//! What time does to alarms: ladders, shelves, silence, and nobody watching.
//!
//! **Time is what the records say it is**: the newest time of receipt among those folded, and in quiet hours the time in a clock
//! record, which the live half commits when [`Book::due_ms`] has passed. So a replay takes the same steps in the same order.
//! Nothing here ends an alarm.
//!
//! If the gateway's clock is put back, everything that is still to come moves with it. After a time in which the gateway
//! heard nothing from anybody, silence is counted anew: that it was down is no unit's fault.

use std::collections::{BTreeMap, BTreeSet};

use fieldpost_protocol::{DeviceId, ForceId, Lane, Mode};
use serde::{Deserialize, Serialize};

use super::alarm::{Alarm, Fact, Rung};
use super::book::Book;
use super::event::EventKind;
use super::grade::Grade;
use super::id::AlarmId;
use super::rules::Trigger;
use super::verdict::Finding;
use crate::live::unit::UnitId;
use crate::record::{Record, RecordKind};
use crate::sabotage::{self, Sabotage};
use crate::spool::Lsn;

/// So long without any record and the gateway was not listening.
const DEAF_MS: u64 = 60_000;
/// While silence is counted, time is known at least this often.
const HEARTBEAT_MS: u64 = 40_000;
/// Alarms are looked through at most this often, however many are due.
const LOOK_MS: u64 = 250;
/// A clock record this far behind means that the clock was put back.
const BACK_MS: u64 = 2_000;

/// Payload of a [`RecordKind::Clock`] record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockSaid {
    /// The gateway's clock, Unix ms.
    pub at_ms: u64,
    /// Who watches, if that changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<Watch>,
}

/// Who watches.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Watch {
    /// Open pages.
    pub consoles: u32,
    /// Those that are not locked.
    pub unlocked: u32,
    /// Forces with an unacknowledged alarm that no unlocked page shows, though one shows another force's.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unwatched: BTreeSet<String>,
}

/// Time, as far as the records tell it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Time {
    /// Unix ms.
    pub now_ms: u64,
    /// When something is to be done next.
    pub due_ms: Option<u64>,
    /// Since when the gateway has been listening without a break.
    pub listening_ms: u64,
    /// Who watches; `None` until somebody has said so.
    pub watch: Option<Watch>,
    /// Since when nobody does.
    pub nobody_ms: Option<u64>,
    /// Since when nobody watches a force, though somebody watches another.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub nobody_of_ms: BTreeMap<String, u64>,
}

impl ClockSaid {
    /// The record that makes it known. It is the gateway's own: its force and device are `-`.
    #[must_use]
    pub fn record(&self) -> Record {
        own_record(RecordKind::Clock, self.at_ms, self)
    }
}

/// A record of the gateway's that is about no unit.
pub(super) fn own_record(kind: RecordKind, at_ms: u64, said: &impl Serialize) -> Record {
    let payload = serde_json::to_vec(said).expect("strings and numbers are JSON");
    Record {
        lsn: Lsn(0),
        received_at_ms: at_ms,
        force: ForceId::try_new("-").expect("an identity"),
        device: DeviceId::try_new("-").expect("an identity"),
        ceiling: Mode::Test,
        lane: Lane::Alarm,
        kind,
        payload: payload.into(),
    }
}

impl Book {
    /// A record received at `at_ms` is about to be folded.
    pub fn advance(&mut self, at_ms: u64) {
        let time = &mut self.time;
        if at_ms <= time.now_ms {
            return;
        }
        if at_ms - time.now_ms > DEAF_MS {
            time.listening_ms = at_ms;
        }
        time.now_ms = at_ms;
        if time.due_ms.is_some_and(|due_ms| due_ms <= at_ms) {
            self.look();
        }
    }

    /// The gateway says what time it is, and perhaps who watches.
    pub fn tick(&mut self, said: ClockSaid) {
        if said.at_ms + BACK_MS < self.time.now_ms {
            self.go_back(self.time.now_ms - said.at_ms);
        }
        self.advance(said.at_ms);
        if let Some(watch) = said.watch {
            self.watched_by(watch);
        }
    }

    fn watched_by(&mut self, watch: Watch) {
        self.revision += 1;
        let time = &mut self.time;
        let now_ms = time.now_ms;
        time.nobody_ms = (watch.unlocked == 0).then(|| time.nobody_ms.unwrap_or(now_ms));
        let since_ms = |force: &String| time.nobody_of_ms.get(force).copied().unwrap_or(now_ms);
        time.nobody_of_ms = watch.unwatched.iter().map(|force| (force.clone(), since_ms(force))).collect();
        time.watch = Some(watch);
        let is_unwatched = |alarm: &Alarm| alarm.standing.escalation.as_ref().is_some_and(|e| e.unwatched);
        let is_back = |alarm: &&Alarm| is_unwatched(alarm) && self.nobody_since_ms(alarm).is_none();
        let ids: Vec<AlarmId> = self.iter().filter(is_back).map(|alarm| alarm.id.clone()).collect();
        for id in ids {
            if let Some(escalation) = self.shown_mut(&id).and_then(|alarm| alarm.standing.escalation.as_mut())
            {
                escalation.unwatched = false;
            }
            self.note_change(&id);
        }
        self.time.due_ms = self.next_due_ms();
    }

    /// Since when nobody watches an alarm's force.
    fn nobody_since_ms(&self, alarm: &Alarm) -> Option<u64> {
        let of_force = self.time.nobody_of_ms.get(alarm.id.unit.force.as_str()).copied();
        [self.time.nobody_ms, of_force].into_iter().flatten().min()
    }

    /// Forces with an alarm that nobody has acknowledged.
    #[must_use]
    pub fn open_forces(&self) -> BTreeSet<ForceId> {
        if self.unacknowledged_count() == 0 {
            return BTreeSet::new();
        }
        let open = self.iter().filter(|alarm| alarm.owner.is_none());
        open.map(|alarm| alarm.id.unit.force.clone()).collect()
    }

    /// When time will do something next, Unix ms: a clock record is due then, unless another record has come by.
    #[must_use]
    pub fn due_ms(&self) -> Option<u64> {
        self.time.due_ms
    }

    /// Time, as far as the records tell it.
    #[must_use]
    pub fn time(&self) -> &Time {
        &self.time
    }

    /// An alarm is new or has changed: time may do something to it sooner.
    pub(super) fn arm(&mut self, id: &AlarmId) {
        let due_ms = self.get(id).and_then(|alarm| self.due_of(alarm));
        self.time.due_ms = [self.time.due_ms, due_ms].into_iter().flatten().min();
    }

    fn next_due_ms(&self) -> Option<u64> {
        let due_ms = self.iter().filter_map(|alarm| self.due_of(alarm)).min();
        due_ms.map(|due_ms| due_ms.max(self.time.now_ms + LOOK_MS))
    }

    fn due_of(&self, alarm: &Alarm) -> Option<u64> {
        let standing = &alarm.standing;
        let climbs = alarm.owner.is_none() && standing.shelf.is_none();
        let rung_ms = standing.ladder.first().filter(|_| climbs).map(|rung| rung.at_ms);
        let shelf_ms = standing.shelf.as_ref().map(|shelf| shelf.until_ms);
        let silent_ms = self.silent_at(alarm).map(|at_ms| at_ms.min(self.time.now_ms + HEARTBEAT_MS));
        let times = [rung_ms, shelf_ms, silent_ms, self.unwatched_at(alarm)];
        times.into_iter().flatten().min()
    }

    /// When an alarm goes up because nobody is watching.
    fn unwatched_at(&self, alarm: &Alarm) -> Option<u64> {
        let escalation = alarm.standing.escalation.as_ref()?;
        let is_heard = alarm.owner.is_some() || escalation.unwatched || alarm.standing.shelf.is_some();
        let since_ms = self.nobody_since_ms(alarm).filter(|_| !is_heard)?;
        Some(since_ms.max(alarm.received_at_ms) + self.rules.watching.after_ms)
    }

    /// When an alarm is raised because its unit has been silent for so long, should it stay so.
    fn silent_at(&self, alarm: &Alarm) -> Option<u64> {
        let standing = &alarm.standing;
        let silence = self.rules.of(Trigger::SignalLost)?.silence.as_ref()?;
        if standing.silence_counted || !silence.of.contains(&standing.rule.id) {
            return None;
        }
        let heard_ms = self.signals.get(&alarm.id.unit).map_or(0, |signals| signals.heard_ms);
        let since_ms = heard_ms.max(alarm.received_at_ms).max(self.time.listening_ms);
        Some(since_ms + silence.after_ms)
    }

    /// Takes every step that is due.
    fn look(&mut self) {
        let now_ms = self.time.now_ms;
        let is_due = |alarm: &&Alarm| self.due_of(alarm).is_some_and(|due_ms| due_ms <= now_ms);
        let ids: Vec<AlarmId> = self.iter().filter(is_due).map(|alarm| alarm.id.clone()).collect();
        for id in ids.iter().filter(|_| !sabotage::is(Sabotage::NeverEscalate)) {
            self.end_shelf(id);
            self.count_silence(id);
            self.climb(id);
            self.miss_watchers(id);
        }
        self.time.due_ms = self.next_due_ms();
    }

    fn end_shelf(&mut self, id: &AlarmId) {
        let now_ms = self.time.now_ms;
        let Some(alarm) = self.shown_mut(id) else { return };
        if alarm.standing.shelf.as_ref().is_some_and(|shelf| shelf.until_ms <= now_ms) {
            alarm.standing.shelf = None;
            alarm.tell(now_ms, EventKind::ShelfEnded, None, "");
            let verdict = alarm.found(Finding::ShelfEnded, now_ms, "");
            self.unsaid.add(verdict);
            self.note_change(id);
        }
    }

    /// R9.
    fn count_silence(&mut self, id: &AlarmId) {
        let now_ms = self.time.now_ms;
        let silent_at = |alarm: &Alarm| self.silent_at(alarm).filter(|at_ms| *at_ms <= now_ms);
        let Some(at_ms) = self.get(id).and_then(silent_at) else { return };
        let rules = std::sync::Arc::clone(&self.rules);
        let Some(rule) = rules.of(Trigger::SignalLost) else { return };
        let rests = self.signals.get(&id.unit).and_then(|signals| signals.rests(now_ms, &rules.rest));
        let Some(alarm) = self.shown_mut(id) else { return };
        alarm.standing.silence_counted = true;
        if rests.is_some() {
            return; // put away, and then out of reach: that is no silence
        }
        let after_ms = rule.silence.as_ref().map_or(0, |silence| silence.after_ms);
        let text = format!("No signal for {} s ({})", after_ms / 1000, rule.id);
        if let Some(escalation) = &mut alarm.standing.escalation {
            let rung = |step: &super::rules::Step| Rung {
                at_ms: now_ms + step.after_ms,
                target: step.target.clone(),
            };
            alarm.standing.ladder.extend(rule.ladder.iter().map(rung));
            alarm.standing.ladder.sort_by_key(|rung| rung.at_ms);
            escalation.next_ms = alarm.standing.ladder.first().map(|rung| rung.at_ms);
        }
        let to = alarm.standing.grade.raised();
        self.raise_grade(id, to, Fact { text, at_ms, record: None }, now_ms);
    }

    fn climb(&mut self, id: &AlarmId) {
        let now_ms = self.time.now_ms;
        let Some(alarm) = self.shown_mut(id) else { return };
        if alarm.owner.is_some() || alarm.standing.shelf.is_some() {
            return;
        }
        let due_count = alarm.standing.ladder.iter().take_while(|rung| rung.at_ms <= now_ms).count();
        let due: Vec<Rung> = alarm.standing.ladder.drain(..due_count).collect();
        let next_ms = alarm.standing.ladder.first().map(|rung| rung.at_ms);
        let Some(escalation) = &mut alarm.standing.escalation else { return };
        escalation.next_ms = next_ms;
        let mut words = Vec::new();
        for rung in due {
            escalation.step += 1;
            words.push(format!("step {}: {}", escalation.step, rung.target));
            if !escalation.targets.contains(&rung.target) {
                escalation.targets.push(rung.target);
            }
        }
        if words.is_empty() {
            return;
        }
        alarm.tell(now_ms, EventKind::Escalated, None, words.join(", "));
        self.note_change(id);
    }

    fn miss_watchers(&mut self, id: &AlarmId) {
        let now_ms = self.time.now_ms;
        let unwatched_at = self.get(id).and_then(|alarm| self.unwatched_at(alarm));
        if unwatched_at.is_none_or(|at_ms| at_ms > now_ms) {
            return;
        }
        let targets = self.rules.watching.targets.clone();
        let Some(alarm) = self.shown_mut(id).filter(|alarm| alarm.standing.grade != Grade::P4) else {
            return;
        };
        let Some(escalation) = &mut alarm.standing.escalation else { return };
        escalation.unwatched = true;
        escalation.step += 1;
        let words = format!("step {}: nobody is watching: {}", escalation.step, targets.join(", "));
        for target in targets {
            if !escalation.targets.contains(&target) {
                escalation.targets.push(target);
            }
        }
        alarm.tell(now_ms, EventKind::Escalated, None, words);
        self.note_change(id);
    }

    fn go_back(&mut self, by_ms: u64) {
        let back = |at_ms: &mut u64| *at_ms = at_ms.saturating_sub(by_ms);
        for alarm in self.all_mut() {
            alarm.standing.ladder.iter_mut().for_each(|rung| back(&mut rung.at_ms));
            alarm.standing.shelf.iter_mut().for_each(|shelf| back(&mut shelf.until_ms));
            if let Some(escalation) = &mut alarm.standing.escalation {
                escalation.next_ms.iter_mut().for_each(back);
            }
        }
        self.signals.go_back(by_ms);
        let time = &mut self.time;
        back(&mut time.now_ms);
        back(&mut time.listening_ms);
        time.due_ms.iter_mut().for_each(back);
        time.nobody_ms.iter_mut().chain(time.nobody_of_ms.values_mut()).for_each(back);
        self.revision += 1;
    }

    /// Whether nobody has watched for as long as the rules allow, by the records.
    #[must_use]
    pub fn is_unwatched(&self, now_ms: u64) -> bool {
        let patience_ms = self.rules.watching.after_ms;
        self.time.nobody_ms.is_some_and(|since_ms| since_ms + patience_ms <= now_ms)
    }

    /// Since when a unit was heard, for tests and replays.
    #[must_use]
    pub fn heard_ms(&self, unit: &UnitId) -> Option<u64> {
        self.signals.get(unit).map(|signals| signals.heard_ms)
    }
}
