//! From what a record says to a grade: the rules at work.
//!
//! **Only what is committed is judged, and nothing is asked of the present**: the same records give the same alarms, grades and
//! facts, whenever they are read. A rule may raise a grade; nothing here lowers one or takes an alarm away.
//!
//! ```text
//! record --> signals of its unit --> a rule fires? --> alarm of a rule
//!    |                                  '------------> another alarm of the unit is raised a grade
//!    '-- an alarm of the device --> its rule, facts, ladder, incident
//! ```
//!
//! The gateway's own rules are quiet where devices rest ([`super::rules::Rest`]) and about what happened more than [`LATE_MS`]
//! ago. What a device itself reports is always shown: its status may be behind the alarm that overtook it. Only a zone makes
//! such an alarm a P4, and never a button.

use fieldpost_protocol::{Alarm as AlarmBody, Body, BootId, EventCode, Health, Lane, Mode, SensorEvent, Seq};

use super::alarm::{Alarm, Escalation, FACTS_MAX, Fact, Origin, ReceiptState, RuleRef, Rung, Standing};
use super::book::Book;
use super::event::EventKind;
use super::grade::Grade;
use super::id::AlarmId;
use super::rules::{Rule, Trigger};
use super::signals::Seen;
use super::verdict::Finding;
use super::{ALARMS_MAX, distance_m};
use crate::fingerprint::Fingerprint;
use crate::live::unit::UnitId;
use crate::spool::Lsn;

/// A rule says nothing about what happened longer ago: history after an outage is not news.
pub const LATE_MS: u64 = 120_000;
/// Facts of the last five minutes stand beside an alarm.
const CONTEXT_MS: u64 = 300_000;
/// Confidence below which a heart rate is not asked, percent; 255 is "not known" and is.
const CONFIDENCE_PCT_MIN: u8 = 50;
/// Rules may fill half of the queue, so that a device's own alarm has room whatever they do.
const RULE_OPEN_MAX: usize = ALARMS_MAX / 2;

/// One record's circumstances.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    /// Whose it is.
    pub unit: &'a UnitId,
    /// Its boot id.
    pub boot: BootId,
    /// Its sequence.
    pub seq: Seq,
    /// Set if its identity was used before.
    pub repeat: Option<Fingerprint>,
    /// Its place in the spool.
    pub lsn: Lsn,
    /// When it was received, Unix ms.
    pub received_at_ms: u64,
    /// When it was true: the device's time if believed, else that of receipt.
    pub at_ms: u64,
    /// The lane it came by.
    pub lane: Lane,
    /// Real duty, exercise or test.
    pub mode: Mode,
    /// Whether it raises an alarm of its own, which bears its identity.
    pub is_alarm: bool,
    /// How people know its unit; may be empty where no rule can fire.
    pub callsign: &'a str,
}

impl Observed<'_> {
    fn alarm_id(&self) -> AlarmId {
        AlarmId { unit: self.unit.clone(), boot: self.boot, seq: self.seq, repeat: self.repeat }
    }

    fn seen(&self) -> Seen {
        Seen { at_ms: self.at_ms, lsn: self.lsn }
    }

    fn fact(&self, trigger: Trigger) -> Fact {
        fact(trigger, self.seen())
    }

    fn is_late(&self) -> bool {
        self.received_at_ms.saturating_sub(self.at_ms) > LATE_MS
    }
}

fn fact(trigger: Trigger, seen: Seen) -> Fact {
    Fact { text: trigger.words().to_owned(), at_ms: seen.at_ms, record: Some(seen.lsn) }
}

impl Book {
    /// A record of a device: remembers what it says of its unit and, if it `is_new` to this book, lets the rules judge it.
    /// Records must come in ascending LSN; those that are not new may be folded again.
    pub fn observe(&mut self, seen: &Observed<'_>, body: Option<&Body<'_>>, is_new: bool) {
        self.signals.of(seen.unit).hear(seen.received_at_ms);
        // A rule's alarm bears its record's identity: it must not take the place of the one that its wearer raises.
        if seen.repeat.is_some() && is_new && !seen.is_alarm {
            self.fire(seen, Trigger::IdentityRepeated, Vec::new());
        }
        match body {
            Some(Body::Position(position)) => {
                let place = (position.longitude_udeg, position.latitude_udeg);
                self.signals.of(seen.unit).stand(seen.at_ms, place, position.speed_cmps);
            }
            Some(Body::Status(status)) => self.signals.of(seen.unit).say(seen.at_ms, *status),
            Some(Body::SensorEvent(event)) => self.observe_event(seen, *event, is_new),
            Some(Body::Health(health)) => self.observe_heart(seen, *health, is_new),
            Some(Body::Alarm(alarm)) => self.observe_alarm(seen, alarm, is_new),
            _ => {}
        }
    }

    fn observe_event(&mut self, seen: &Observed<'_>, event: SensorEvent, is_new: bool) {
        let rest = self.rules.rest.clone();
        self.signals.of(seen.unit).sense(event, seen.seen(), &rest);
        if !is_new {
            return;
        }
        match event.code {
            EventCode::UNHOLSTERED => {
                self.fire(seen, Trigger::WeaponDrawn, Vec::new());
                self.raise_with(seen, Trigger::WeaponDrawn);
            }
            EventCode::HOLSTERED => self.clear(seen, Trigger::WeaponDrawn),
            EventCode::CRASH | EventCode::ROLLOVER => self.raise_with(seen, Trigger::Crash),
            EventCode::GNSS_JUMP => {
                let text = format!("It was held back: {} m", event.value);
                let fact = Fact { text, at_ms: seen.at_ms, record: Some(seen.lsn) };
                self.fire(seen, Trigger::Teleport, vec![fact]);
            }
            EventCode::GNSS_SILENT => self.look_for_jamming(seen),
            _ => {}
        }
    }

    /// An alarm of the device has been seen: others of its unit may be graver for it.
    fn observe_alarm(&mut self, seen: &Observed<'_>, alarm: &AlarmBody, is_new: bool) {
        let signals = self.signals.of(seen.unit);
        if let Some(position) = alarm.position {
            let place = (position.longitude_udeg, position.latitude_udeg);
            let at_ms = seen.at_ms.saturating_sub(u64::from(alarm.position_age_s) * 1000);
            signals.stand(at_ms, place, position.speed_cmps);
        }
        let trigger = Trigger::of(alarm.cause);
        signals.note(trigger, seen.seen());
        if is_new {
            self.raise_with(seen, trigger);
        }
    }

    /// R7.
    fn observe_heart(&mut self, seen: &Observed<'_>, health: Health, is_new: bool) {
        let Some(heart) = self.rules.of(Trigger::StillAndHeart).and_then(|rule| rule.heart) else { return };
        let is_known = health.heart_rate_bpm > 0 && health.confidence_pct >= CONFIDENCE_PCT_MIN;
        let is_unusual = is_known && !(heart.low_bpm..=heart.high_bpm).contains(&health.heart_rate_bpm);
        let signals = self.signals.of(seen.unit);
        let Some(since) = signals.beat(is_unusual, seen.seen()) else { return };
        let Some(still_ms) = signals.still_since_ms() else { return };
        let holds = since.at_ms + heart.hold_ms <= seen.at_ms && still_ms + heart.still_ms <= seen.at_ms;
        if is_new && holds {
            let still = Fact { text: "Has not moved since".to_owned(), at_ms: still_ms, record: None };
            self.fire(seen, Trigger::StillAndHeart, vec![still]);
        }
    }

    /// R12: several near each other lost their satellites at once. One garage loses one device's.
    fn look_for_jamming(&mut self, seen: &Observed<'_>) {
        let Some(jamming) = self.rules.of(Trigger::Jamming).and_then(|rule| rule.jamming) else { return };
        let Some((_, here)) = self.signals.get(seen.unit).and_then(|signals| signals.silent_fix) else {
            return;
        };
        let is_part = |(lost, place): &(Seen, (i32, i32))| {
            lost.at_ms.abs_diff(seen.at_ms) <= jamming.within_ms
                && distance_m(*place, here) <= f64::from(jamming.distance_m)
        };
        let lost = self.signals.iter().filter_map(|(_, signals)| signals.silent_fix).filter(is_part);
        let count = lost.count();
        if count >= jamming.units_count as usize {
            let text = format!("{count} devices within {} m", jamming.distance_m);
            self.fire(seen, Trigger::Jamming, vec![Fact { text, at_ms: seen.at_ms, record: None }]);
        }
    }

    /// A rule's own alarm, or another fact of the one that is open.
    fn fire(&mut self, seen: &Observed<'_>, trigger: Trigger, more: Vec<Fact>) {
        let rules = std::sync::Arc::clone(&self.rules);
        let Some(rule) = rules.of(trigger) else { return };
        let signals = self.signals.of(seen.unit).clone();
        let place = signals.spot.map(|spot| spot.place_udeg);
        let in_zone = place.is_some_and(|place| rules.zone(&rule.id, place).is_some());
        if seen.is_late() || in_zone || signals.rests(seen.at_ms, &rules.rest).is_some() {
            return;
        }
        if let Some(open) = self.open_of_rule(seen.unit, &rule.id) {
            return self.learn(&open, seen.fact(trigger));
        }
        if self.unacknowledged_count() >= RULE_OPEN_MAX {
            return self.refuse();
        }
        let mut standing = self.standing(rule, seen);
        standing.origin = Origin::Rule;
        standing.facts = std::iter::once(seen.fact(trigger)).chain(more).collect();
        if let (Some(alone), Some(place)) = (rule.alone, place)
            && self.signals.near_count(seen.unit, place, alone.distance_m, seen.at_ms) == 0
            && alone.grade < standing.grade
        {
            standing.grade = alone.grade;
            let text = format!("No other unit within {} m", alone.distance_m);
            standing.facts.push(Fact { text, at_ms: seen.at_ms, record: None });
        }
        self.raise(Alarm {
            id: seen.alarm_id(),
            callsign: seen.callsign.to_owned(),
            cause: trigger.cause(),
            mode: seen.mode,
            raised_at_ms: seen.at_ms,
            received_at_ms: seen.received_at_ms,
            position_udeg: place,
            cancelled_at_ms: None,
            owner: None,
            receipt: ReceiptState::None,
            accepted: None,
            delivered: ReceiptState::None,
            standing,
        });
    }

    /// What the rules make of an alarm that a device has reported.
    #[must_use]
    pub fn judge(&self, seen: &Observed<'_>, trigger: Trigger, place: Option<(i32, i32)>) -> Standing {
        // A checked file has a rule for each; without one it stays as grave as can be.
        let Some(rule) = self.rules.of(trigger) else { return Standing::default() };
        let mut standing = self.standing(rule, seen);
        standing.facts = vec![seen.fact(trigger)];
        let signals = self.signals.get(seen.unit);
        let seen_before = signals.into_iter().flat_map(|signals| &signals.seen);
        for (other, at) in seen_before.filter(|(other, _)| *other != trigger) {
            if at.at_ms.abs_diff(seen.at_ms) <= CONTEXT_MS && standing.facts.len() < FACTS_MAX {
                standing.facts.push(fact(*other, *at));
            }
        }
        if let Some(raise) = &rule.raise
            && let Some(with) = raise.with.iter().find(|with| {
                signals.is_some_and(|signals| signals.within(**with, seen.at_ms, raise.within_ms).is_some())
            })
            && raise.to < standing.grade
        {
            standing.grade = raise.to;
            let text = format!("{}, and {}: {}", rule.title, with.words(), raise.to.as_str());
            standing.facts.push(Fact { text, at_ms: seen.at_ms, record: None });
        }
        let place = place.or_else(|| signals?.spot.map(|spot| spot.place_udeg));
        let zone = place.and_then(|place| self.rules.zone(&rule.id, place));
        if let Some(zone) = zone.filter(|_| trigger != Trigger::Button) {
            standing.grade = Grade::P4;
            (standing.escalation, standing.ladder) = (None, Vec::new());
            let text = format!("Rule {} is quiet in {}", rule.id, zone.name);
            standing.facts.push(Fact { text, at_ms: seen.at_ms, record: None });
        }
        standing
    }

    fn standing(&self, rule: &Rule, seen: &Observed<'_>) -> Standing {
        let since_ms = seen.received_at_ms;
        let rung =
            |step: &super::rules::Step| Rung { at_ms: since_ms + step.after_ms, target: step.target.clone() };
        let ladder: Vec<Rung> = rule.ladder.iter().map(rung).collect();
        let next_ms = ladder.first().map(|rung| rung.at_ms);
        let escalation = Escalation { since_ms, next_ms, ..Escalation::default() };
        Standing {
            grade: rule.grade,
            rule: RuleRef { id: rule.id.clone(), version: self.rules.version },
            is_fact: rule.is_fact,
            queue: rule.queue,
            escalation: (rule.grade != Grade::P4).then_some(escalation),
            ladder: if rule.grade == Grade::P4 { Vec::new() } else { ladder },
            ..Standing::default()
        }
    }

    /// Alarms of the unit that are graver with `trigger` beside them.
    fn raise_with(&mut self, seen: &Observed<'_>, trigger: Trigger) {
        let rules = std::sync::Arc::clone(&self.rules);
        let mut raised = Vec::new();
        for (id, alarm) in self.of(seen.unit) {
            let rule = rules.rules.iter().find(|rule| rule.id == alarm.standing.rule.id);
            let Some(raise) = rule.and_then(|rule| rule.raise.as_ref()) else { continue };
            let is_near = alarm.raised_at_ms.abs_diff(seen.at_ms) <= raise.within_ms;
            if raise.with.contains(&trigger) && is_near && raise.to < alarm.standing.grade {
                raised.push((id.clone(), raise.to));
            }
        }
        for (id, to) in raised {
            self.raise_grade(&id, to, seen.fact(trigger), seen.received_at_ms);
        }
    }

    /// Makes an alarm graver. Nothing in the system makes one less grave.
    pub(super) fn raise_grade(&mut self, id: &AlarmId, to: Grade, because: Fact, at_ms: u64) {
        let now_ms = self.time.now_ms;
        let Some(alarm) = self.shown_mut(id) else { return };
        let words = because.text.clone();
        alarm.learn(because);
        if to < alarm.standing.grade {
            alarm.standing.grade = to;
            alarm.tell(at_ms, EventKind::GradeRaised, None, format!("{}: {words}", to.as_str()));
            let graded = alarm.found(Finding::Graded, at_ms, &words);
            let mut unshelved = None;
            if to == Grade::P1 && alarm.standing.shelf.take().is_some() {
                let words = "a P1 is never shelved";
                alarm.tell(at_ms, EventKind::Unshelved, None, words);
                // Now, and not when the device saw what made it graver: that may have been before it was shelved.
                unshelved = Some(alarm.found(Finding::Unshelved, now_ms, words));
            }
            [Some(graded), unshelved].into_iter().flatten().for_each(|verdict| self.unsaid.add(verdict));
        }
        self.note_change(id);
        self.group(id);
    }

    fn learn(&mut self, id: &AlarmId, fact: Fact) {
        let Some(alarm) = self.shown_mut(id) else { return };
        if alarm.learn(fact.clone()) {
            alarm.tell(fact.at_ms, EventKind::Fact, None, fact.text);
            self.note_change(id);
        }
    }

    /// What made a rule raise its alarm is over.
    fn clear(&mut self, seen: &Observed<'_>, trigger: Trigger) {
        let Some(rule) = self.rules.of(trigger).map(|rule| rule.id.clone()) else { return };
        let Some(id) = self.open_of_rule(seen.unit, &rule) else { return };
        let Some(alarm) = self.shown_mut(&id) else { return };
        alarm.standing.cleared_at_ms = Some(seen.at_ms);
        alarm.tell(seen.at_ms, EventKind::Cleared, None, "");
        let verdict = alarm.found(Finding::Cleared, seen.at_ms, "");
        self.unsaid.add(verdict);
        self.note_change(&id);
    }

    /// The unit's alarm of a rule that is not over.
    fn open_of_rule(&self, unit: &UnitId, rule: &str) -> Option<AlarmId> {
        let is_open = |alarm: &Alarm| {
            let standing = &alarm.standing;
            standing.origin == Origin::Rule && standing.rule.id == rule && standing.cleared_at_ms.is_none()
        };
        self.of(unit).find(|(_, alarm)| is_open(alarm)).map(|(id, _)| id.clone())
    }
}
