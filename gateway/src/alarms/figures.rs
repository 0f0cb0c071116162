//! How the alarms perform: load, answers, floods, precision; against the figures of EEMUA publication 191.
//!
//! Of an alarm that is in no queue any more only these few numbers stay, [`FIGURES_MAX`] of about 100 bytes. **An answer about a time of
//! which some went says so.** Who was on duty and answered nothing is not known here: an operator is who acknowledged an alarm.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fieldpost_protocol::ForceId;
use serde::{Deserialize, Serialize};

use super::alarm::{Alarm, Outcome};
use super::book::Book;
use super::grade::Grade;
use crate::people::Forces;

/// Most alarms remembered beyond those in the book: a month of a busy room.
pub const FIGURES_MAX: usize = 8_192;
/// EEMUA 191 counts by ten minutes.
const SLOT_MS: u64 = 600_000;
/// An operator can answer so many in ten minutes at most.
const FLOOD_BEGINS: f64 = 10.0;
/// And the flood is over when there are fewer than this.
const FLOOD_ENDS: f64 = 5.0;
/// Longest time asked for at once: 31 days.
pub const RANGE_MS_MAX: u64 = 31 * 86_400_000;

/// One alarm in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Figure {
    /// Of which force; an older version did not keep it, and then only who sees every force counts it.
    #[serde(default)]
    force: String,
    received_at_ms: u64,
    grade: Grade,
    rule: String,
    version: u32,
    acknowledged: Option<(String, u64)>,
    outcome: Option<Outcome>,
}

/// The numbers of alarms that are gone, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Figures {
    #[serde(rename = "figures", default)]
    kept: VecDeque<Figure>,
    /// When the newest one was received that is not kept any more; 0 if all are.
    #[serde(rename = "figures_gone_until_ms", default)]
    gone_until_ms: u64,
}

/// `GET /api/v1/alarms/performance`. Times in Unix ms.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Performance {
    from_ms: u64,
    until_ms: u64,
    /// There were more alarms in that time than are remembered: the figures are of those that are.
    is_cut: bool,
    slots: Vec<Slot>,
    time_to_acknowledge_ms: Spread,
    by_grade: BTreeMap<&'static str, Spread>,
    floods: Vec<Flood>,
    rules: Vec<RuleFigures>,
    verdict: Verdict,
}

/// Ten minutes.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Slot {
    from_ms: u64,
    alarms: usize,
    by_operator: BTreeMap<String, usize>,
    /// Raised here and not acknowledged by anybody to this day.
    unanswered: usize,
}

/// How long something took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
struct Spread {
    count: usize,
    p50: u64,
    p90: u64,
    p99: u64,
    max: u64,
}

/// More alarms than anybody can answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Flood {
    from_ms: u64,
    until_ms: u64,
    alarms: usize,
}

/// How often a rule was right.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
struct RuleFigures {
    id: String,
    version: u32,
    raised: usize,
    genuine: usize,
    r#false: usize,
    test: usize,
    exercise: usize,
    /// Of those closed as genuine or false, the genuine part; `None` if none was.
    precision: Option<f64>,
}

/// Against EEMUA 191.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Verdict {
    per_operator_per_10min: f64,
    level: Level,
    sentence: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    Acceptable,
    Manageable,
    Excessive,
}

impl From<&Alarm> for Figure {
    fn from(alarm: &Alarm) -> Self {
        let standing = &alarm.standing;
        Self {
            force: alarm.id.unit.force.to_string(),
            received_at_ms: alarm.received_at_ms,
            grade: standing.grade,
            rule: standing.rule.id.clone(),
            version: standing.rule.version,
            acknowledged: alarm.owner.as_ref().map(|owner| (owner.operator.clone(), owner.at_ms)),
            outcome: standing.closed.as_ref().map(|closed| closed.outcome),
        }
    }
}

impl Figures {
    pub(super) fn keep(&mut self, alarm: &Alarm) {
        self.kept.push_back(Figure::from(alarm));
        while self.kept.len() > FIGURES_MAX {
            let gone = self.kept.pop_front().map_or(0, |gone| gone.received_at_ms);
            self.gone_until_ms = self.gone_until_ms.max(gone);
        }
    }
}

impl Book {
    /// The alarms of `forces` that were received from `from_ms` until before `until_ms`, in numbers. At most [`RANGE_MS_MAX`].
    #[must_use]
    pub fn performance(&self, forces: &Forces, from_ms: u64, until_ms: u64) -> Performance {
        let until_ms = until_ms.min(from_ms.saturating_add(RANGE_MS_MAX));
        let here = self.iter().chain(self.waiting()).chain(self.closed()).map(Figure::from);
        let all = self.figures.kept.iter().cloned().chain(here);
        let figures: Vec<Figure> = all
            .filter(|figure| figure.is_of(forces) && (from_ms..until_ms).contains(&figure.received_at_ms))
            .collect();
        let slots = slots(&figures);
        let answers = |grade: Option<Grade>| {
            let of_grade = figures.iter().filter(|figure| grade.is_none_or(|grade| grade == figure.grade));
            Spread::of(of_grade.filter_map(Figure::answered_after_ms).collect())
        };
        Performance {
            from_ms,
            until_ms,
            // 0: nothing is gone.
            is_cut: self.figures.gone_until_ms >= from_ms.max(1),
            time_to_acknowledge_ms: answers(None),
            by_grade: Grade::ALL.map(|grade| (grade.as_str(), answers(Some(grade)))).into(),
            floods: floods(&slots),
            rules: rules(&figures),
            verdict: Verdict::of(&slots, from_ms, until_ms),
            slots,
        }
    }
}

impl Figure {
    fn is_of(&self, forces: &Forces) -> bool {
        let sees = |force| forces.sees(&force);
        *forces == Forces::All || ForceId::try_new(&self.force).is_ok_and(sees)
    }

    fn answered_after_ms(&self) -> Option<u64> {
        Some(self.acknowledged.as_ref()?.1.saturating_sub(self.received_at_ms))
    }
}

/// Only the slots in which there was an alarm.
fn slots(figures: &[Figure]) -> Vec<Slot> {
    let mut slots: BTreeMap<u64, Slot> = BTreeMap::new();
    for figure in figures {
        let from_ms = figure.received_at_ms - figure.received_at_ms % SLOT_MS;
        let new = || Slot { from_ms, alarms: 0, by_operator: BTreeMap::new(), unanswered: 0 };
        let slot = slots.entry(from_ms).or_insert_with(new);
        slot.alarms += 1;
        match &figure.acknowledged {
            Some((operator, _)) => *slot.by_operator.entry(operator.clone()).or_default() += 1,
            None => slot.unanswered += 1,
        }
    }
    slots.into_values().collect()
}

impl Slot {
    /// Alarms nobody answered were somebody's all the same.
    fn per_operator(&self) -> f64 {
        self.alarms as f64 / self.by_operator.len().max(1) as f64
    }
}

fn floods(slots: &[Slot]) -> Vec<Flood> {
    let mut floods: Vec<Flood> = Vec::new();
    for slot in slots {
        let load = slot.per_operator();
        let goes_on = floods.last().is_some_and(|flood| flood.until_ms == slot.from_ms) && load >= FLOOD_ENDS;
        match floods.last_mut().filter(|_| goes_on) {
            Some(flood) => {
                flood.until_ms += SLOT_MS;
                flood.alarms += slot.alarms;
            }
            None if load > FLOOD_BEGINS => {
                let (from_ms, until_ms) = (slot.from_ms, slot.from_ms + SLOT_MS);
                floods.push(Flood { from_ms, until_ms, alarms: slot.alarms });
            }
            None => {}
        }
    }
    floods
}

fn rules(figures: &[Figure]) -> Vec<RuleFigures> {
    let mut rules: BTreeMap<(&str, u32), RuleFigures> = BTreeMap::new();
    for figure in figures {
        let rule = rules.entry((&figure.rule, figure.version)).or_default();
        rule.raised += 1;
        match figure.outcome {
            Some(Outcome::Genuine) => rule.genuine += 1,
            Some(Outcome::False) => rule.r#false += 1,
            Some(Outcome::Test) => rule.test += 1,
            Some(Outcome::Exercise) => rule.exercise += 1,
            None => {}
        }
    }
    let whole = |((id, version), rule): ((&str, u32), RuleFigures)| {
        let judged_count = rule.genuine + rule.r#false;
        let precision = (judged_count > 0).then(|| rule.genuine as f64 / judged_count as f64);
        RuleFigures { id: id.to_owned(), version, precision, ..rule }
    };
    rules.into_iter().map(whole).collect()
}

impl Spread {
    fn of(mut values: Vec<u64>) -> Self {
        values.sort_unstable();
        // The nearest rank: a value that was measured.
        let rank = |part: usize| values.get((values.len() * part).div_ceil(100).max(1) - 1).copied();
        let at = |part| rank(part).unwrap_or(0);
        Self { count: values.len(), p50: at(50), p90: at(90), p99: at(99), max: at(100) }
    }
}

impl Verdict {
    /// Over the whole time asked for, by whoever answered in it.
    fn of(slots: &[Slot], from_ms: u64, until_ms: u64) -> Self {
        let operators: BTreeSet<&String> = slots.iter().flat_map(|slot| slot.by_operator.keys()).collect();
        let alarms_count: usize = slots.iter().map(|slot| slot.alarms).sum();
        let slots_count = (until_ms.saturating_sub(from_ms) as f64 / SLOT_MS as f64).max(1.0);
        let load = alarms_count as f64 / slots_count / operators.len().max(1) as f64;
        let (level, words) = match load {
            _ if load < 1.0 => (Level::Acceptable, "below the goal of one"),
            _ if load <= 2.0 => (Level::Manageable, "manageable: the goal is below one"),
            _ if load < 5.0 => (Level::Manageable, "more than two: look at the rules that fire most"),
            _ => (Level::Excessive, "excessive: five or more"),
        };
        let sentence = format!("{load:.2} alarms per operator in ten minutes, {words} (EEMUA 191)");
        Self { per_operator_per_10min: load, level, sentence }
    }
}
