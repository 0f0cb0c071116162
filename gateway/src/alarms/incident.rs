//! R15: alarms near each other, soon after each other, are one incident.
//!
//! **Grouping hides nothing**: each alarm keeps its state, its ladder and its wearer; they only name a common first one.

use super::alarm::Alarm;
use super::book::Book;
use super::distance_m;
use super::event::EventKind;
use super::grade::{Grade, Queue};
use super::id::AlarmId;

/// Alarms looked at: the newest of a flood. One further back is reached through one between.
const LOOKED_AT_MAX: usize = 256;

impl Book {
    /// Puts an alarm into the incident near it, if there is one, or makes one with another alarm.
    pub(super) fn group(&mut self, id: &AlarmId) {
        let Some(grouping) = self.rules.grouping else { return };
        let Some(alarm) = self.get(id).filter(|alarm| may_group(alarm) && alarm.standing.incident.is_none())
        else {
            return;
        };
        let Some(place) = alarm.position_udeg else { return };
        let received_at_ms = alarm.received_at_ms;
        let is_near = |other: &&Alarm| {
            other.id != *id
                && may_group(other)
                && other.received_at_ms.abs_diff(received_at_ms) <= grouping.within_ms
                && other
                    .position_udeg
                    .is_some_and(|there| distance_m(there, place) <= f64::from(grouping.distance_m))
        };
        let recent = self.recent.iter().rev().take(LOOKED_AT_MAX).filter_map(|id| self.get(id));
        // The one that was first: whoever reads the records again takes the same one.
        let near = recent.filter(is_near).min_by_key(|other| (other.received_at_ms, other.id.clone()));
        let Some((other, incident)) = near.map(|other| (other.id.clone(), other.standing.incident.clone()))
        else {
            return;
        };
        let incident = incident.unwrap_or_else(|| other.clone());
        self.join(&other, &incident, received_at_ms);
        self.join(id, &incident, received_at_ms);
    }

    fn join(&mut self, id: &AlarmId, incident: &AlarmId, at_ms: u64) {
        let Some(alarm) = self.shown_mut(id).filter(|alarm| alarm.standing.incident.is_none()) else {
            return;
        };
        alarm.standing.incident = Some(incident.clone());
        alarm.tell(at_ms, EventKind::Grouped, None, incident.to_string());
        self.note_change(id);
    }

    /// Remembers an alarm as one of the newest.
    pub(super) fn note_recent(&mut self, id: &AlarmId) {
        self.recent.push_back(id.clone());
        if self.recent.len() > LOOKED_AT_MAX {
            self.recent.pop_front();
        }
    }
}

fn may_group(alarm: &Alarm) -> bool {
    alarm.standing.grade <= Grade::P2 && alarm.standing.queue == Queue::Operations
}
