//! What a party received against what was promised.

use std::collections::{BTreeMap, BTreeSet};

use super::papers::Wanted;

/// One event, or something that was none, as a party has read it.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Seen {
    pub(super) at_ms: u64,
    pub(super) uid: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) time_ms: u64,
    pub(super) stale_ms: u64,
    pub(super) lat: String,
    pub(super) callsign: Option<String>,
    pub(super) emergency: Option<String>,
    pub(super) cancel: bool,
    pub(super) bad: Option<String>,
}

/// What arrived at one party.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Arrived {
    /// Events, negotiation and repetitions included.
    pub event_count: usize,
    /// Different positions.
    pub position_count: usize,
    /// Acknowledged positions that did not arrive. Must be 0.
    pub missing_count: usize,
    /// What was not well-formed XML. Must be 0.
    pub bad_count: usize,
    /// Events of units that do not say that they are a test. Must be 0.
    pub unmarked_count: usize,
    /// How often the alert was told.
    pub alert_count: usize,
    /// How often its end was told.
    pub cancel_count: usize,
    /// How long a client would not have shown the alert between its beginning and its end, in ms. Must be 0.
    pub alert_gap_ms: u64,
    /// How long it stood, in ms.
    pub alert_stood_ms: u64,
}

impl Arrived {
    /// What is wrong, in words.
    pub(super) fn faults(&self, has_alarm: bool) -> Vec<String> {
        let mut faults = Vec::new();
        let mut must = |holds: bool, fault: String| faults.extend((!holds).then_some(fault));
        must(self.bad_count == 0, format!("{} events were not well-formed", self.bad_count));
        must(self.missing_count == 0, format!("{} positions did not arrive", self.missing_count));
        must(self.position_count > 0, "no position arrived".to_owned());
        must(
            self.unmarked_count == 0,
            format!("{} events do not say that they are a test", self.unmarked_count),
        );
        must(!has_alarm || self.alert_count > 1, "the alert was not told again".to_owned());
        must(!has_alarm || self.cancel_count > 0, "the alarm's end did not arrive".to_owned());
        must(self.alert_gap_ms == 0, format!("the alert was gone for {} ms", self.alert_gap_ms));
        faults
    }
}

/// Different positions by unit.
pub(super) struct Counts(BTreeMap<String, BTreeSet<(u64, String)>>);

impl Counts {
    pub(super) fn of(seen: &[Seen]) -> Self {
        let mut counts: BTreeMap<String, BTreeSet<(u64, String)>> = BTreeMap::new();
        for one in
            seen.iter().filter(|one| one.kind.starts_with("a-f-G-U-U") || one.kind.starts_with("a-f-G-E"))
        {
            counts.entry(one.uid.clone()).or_default().insert((one.time_ms, one.lat.clone()));
        }
        Self(counts)
    }

    pub(super) fn missing(&self, wanted: &Wanted) -> usize {
        let arrived = |uid: &String| self.0.get(uid).map_or(0, BTreeSet::len);
        wanted.iter().map(|(uid, count)| count.saturating_sub(arrived(uid))).sum()
    }

    fn total(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }
}

/// `alert`: the uid of the alert that must have stood.
pub(super) fn judge(seen: &[Seen], wanted: &Wanted, alert: Option<&str>) -> Arrived {
    let counts = Counts::of(seen);
    let of_units = seen.iter().filter(|one| one.uid.starts_with("fieldpost.test."));
    let is_marked = |one: &Seen| one.callsign.as_ref().is_some_and(|callsign| callsign.starts_with("TEST "));
    let mut arrived = Arrived {
        event_count: seen.len(),
        position_count: counts.total(),
        missing_count: counts.missing(wanted),
        bad_count: seen.iter().filter(|one| one.bad.is_some()).count(),
        unmarked_count: of_units.filter(|one| !is_marked(one)).count(),
        ..Arrived::default()
    };
    let alert: Vec<&Seen> = seen.iter().filter(|one| Some(one.uid.as_str()) == alert).collect();
    arrived.cancel_count = alert.iter().filter(|one| one.cancel).count();
    arrived.alert_count = alert.iter().filter(|one| one.emergency.is_some()).count();
    let end_ms = alert.iter().find(|one| one.cancel).map(|one| one.at_ms);
    if let (Some(first), Some(end_ms)) = (alert.first(), end_ms) {
        arrived.alert_stood_ms = end_ms.saturating_sub(first.at_ms);
        let mut stands_until_ms = first.stale_ms;
        for one in alert.iter().take_while(|one| one.at_ms <= end_ms) {
            arrived.alert_gap_ms += one.at_ms.saturating_sub(stands_until_ms);
            stands_until_ms = stands_until_ms.max(one.stale_ms).max(one.at_ms);
        }
    }
    arrived
}
