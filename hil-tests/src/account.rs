//! The account after faults: every sequence that a device ever issued is committed by the gateway or declared lost, once.
//!
//! ```text
//! each power-on: boot id, sequences issued, alarms raised   <- its log, up to the cut
//! at the end:    records in the spool, ranges in loss records <- the gateway
//! ```
//!
//! The device says `issued` only of what it has on flash, so nothing that it said may be missing. What it issued in the last
//! instant before a cut and did not say yet is judged by its neighbours: **a hole below a sequence that arrived is a loss**.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use fieldpost_protocol::{Body, Class, Envelope};

use crate::{Failure, gateway::Records, log::Log};

/// What one power-on said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    /// Its boot id.
    pub boot: u32,
    /// Sequences below this were issued.
    pub issued: u32,
    /// Sequences of its alarms.
    pub alarms: Vec<u32>,
    /// It connected at least once.
    pub was_online: bool,
}

/// What was found. Everything but the counts must be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Power-ons that got as far as a boot id.
    pub life_count: usize,
    /// Of those, how many had a connection.
    pub online_count: usize,
    /// Records committed.
    pub stored_count: usize,
    /// Sequences declared lost by the device.
    pub declared_lost_count: usize,
    /// Alarms raised.
    pub alarm_count: usize,
    /// (boot, sequence) neither committed nor declared lost.
    pub missing: Vec<(u32, u32)>,
    /// Alarms that are not committed.
    pub alarms_missing: Vec<(u32, u32)>,
    /// Boot ids that were used twice.
    pub boots_reused: Vec<u32>,
    /// Boot ids in the spool that no power-on had.
    pub boots_unknown: Vec<u32>,
    /// (boot, sequence) committed more than once.
    pub doubled: Vec<(u32, u32)>,
    /// Committed and declared lost as well.
    pub lost_and_stored: Vec<(u32, u32)>,
    /// Starts that the image made by itself, for a reason other than power.
    pub resets: Vec<String>,
    /// Sequences that the gateway's own ledger still misses.
    pub gateway_misses_count: u64,
}

/// Reads the lives out of a log: more than one if the image reset itself.
///
/// # Errors
/// [`Failure`] if a line is not as the board's `say` module has it.
pub fn lives(log: &Log) -> Result<Vec<Life>, Failure> {
    let mut lives: Vec<Life> = Vec::new();
    for line in log.all("") {
        if line.text.starts_with("boot id=") {
            let boot = number(line.number("id")?);
            lives.push(Life { boot, issued: 0, alarms: Vec::new(), was_online: false });
        }
        let Some(life) = lives.last_mut() else { continue };
        if line.text.starts_with("ledger ") {
            life.issued = life.issued.max(number(line.number("issued")?));
        } else if line.text.starts_with("link up") {
            life.was_online = true;
        } else if line.text.starts_with("notice AlarmRaised") {
            life.alarms.push(seq_of(&line.text).ok_or_else(|| Failure::child("board", &line.text))?);
        }
    }
    Ok(lives)
}

/// Starts in a log that were not power-ons: what the image said of them.
#[must_use]
pub fn resets(log: &Log) -> Vec<String> {
    let starts = log.all("start version=").into_iter();
    starts.filter(|line| line.field("cause") != Some("PowerOn")).map(|line| line.text).collect()
}

/// Holds the lives of one device against what the gateway has.
#[must_use]
pub fn settle(device: &str, lives: &[Life], records: &Records) -> Verdict {
    let stored = records.ids(device);
    let lost = declared_lost(device, records);
    let mut verdict = Verdict {
        life_count: lives.len(),
        online_count: lives.iter().filter(|life| life.was_online).count(),
        stored_count: stored.len(),
        declared_lost_count: lost.len(),
        alarm_count: lives.iter().map(|life| life.alarms.len()).sum(),
        doubled: stored.iter().filter(|(_, count)| **count > 1).map(|(id, _)| *id).collect(),
        lost_and_stored: lost.iter().filter(|id| stored.contains_key(*id)).copied().collect(),
        ..Verdict::default()
    };
    let mut issued: BTreeMap<u32, u32> = BTreeMap::new();
    for life in lives {
        let before = issued.insert(life.boot, life.issued);
        if let Some(before) = before {
            issued.insert(life.boot, before.max(life.issued));
            verdict.boots_reused.push(life.boot);
        }
        let alarms = life.alarms.iter().map(|seq| (life.boot, *seq));
        verdict.alarms_missing.extend(alarms.filter(|id| !stored.contains_key(id)));
    }
    for (boot, seq) in stored.keys().chain(&lost) {
        match issued.get_mut(boot) {
            Some(count) => *count = (*count).max(seq + 1),
            None => verdict.boots_unknown.push(*boot),
        }
    }
    for (boot, count) in issued {
        let all = (0..count).map(|seq| (boot, seq));
        verdict.missing.extend(all.filter(|id| !stored.contains_key(id) && !lost.contains(id)));
    }
    verdict
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { life_count, online_count, stored_count, declared_lost_count, alarm_count, .. } = self;
        write!(
            f,
            "{life_count} lives, {online_count} of them online; {stored_count} records and {alarm_count} alarms stored, {declared_lost_count} declared lost"
        )?;
        let mut ids = |what: &str, ids: &[(u32, u32)]| match ids.first() {
            Some(first) => write!(f, "; {} {what}, first (boot, sequence) {first:?}", ids.len()),
            None => Ok(()),
        };
        ids("MISSING", &self.missing)?;
        ids("ALARMS MISSING", &self.alarms_missing)?;
        ids("DOUBLED", &self.doubled)?;
        ids("STORED AND DECLARED LOST", &self.lost_and_stored)?;
        for (what, boots) in [("REUSED", &self.boots_reused), ("UNKNOWN", &self.boots_unknown)] {
            if !boots.is_empty() {
                write!(f, "; boot ids {what}: {boots:?}")?;
            }
        }
        if self.gateway_misses_count > 0 {
            write!(f, "; the gateway's ledger MISSES {}", self.gateway_misses_count)?;
        }
        for reset in &self.resets {
            write!(f, "; RESET: {reset}")?;
        }
        Ok(())
    }
}

impl Verdict {
    /// Whether every promise held.
    #[must_use]
    pub fn held(&self) -> bool {
        self.missing.is_empty()
            && self.alarms_missing.is_empty()
            && self.boots_reused.is_empty()
            && self.boots_unknown.is_empty()
            && self.doubled.is_empty()
            && self.lost_and_stored.is_empty()
            && self.resets.is_empty()
            && self.gateway_misses_count == 0
    }
}

fn declared_lost(device: &str, records: &Records) -> BTreeSet<(u32, u32)> {
    let mut lost = BTreeSet::new();
    for record in records.envelopes().filter(|record| record.device == device) {
        let Ok(envelope) = Envelope::decode(&record.payload) else { continue };
        if envelope.head.class != Class::LOSS {
            continue;
        }
        if let Ok(Body::Loss(loss)) = Body::decode(&envelope.head, envelope.body) {
            for range in &loss.ranges {
                let last = range.first.0.saturating_add(range.more);
                lost.extend((range.first.0..=last).map(|seq| (loss.boot.0, seq)));
            }
        }
    }
    lost
}

/// The sequence in a notice about an alarm: `.. seq: Seq(7) ..`.
fn seq_of(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("seq: Seq(")?;
    rest.split_once(')')?.0.parse().ok()
}

fn number(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::Record;

    fn record(boot: u32, seq: u32) -> Record {
        let (lane, kind) = ("live".to_owned(), "envelope".to_owned());
        Record { lsn: 0, device: "bw".to_owned(), id: (boot, seq), lane, kind, payload: Vec::new() }
    }

    fn life(boot: u32, issued: u32) -> Life {
        Life { boot, issued, alarms: Vec::new(), was_online: true }
    }

    #[test]
    fn all_there_once_holds() {
        let records = Records(vec![record(1, 0), record(1, 1), record(2, 0)]);
        assert!(settle("bw", &[life(1, 2), life(2, 0)], &records).held());
    }

    #[test]
    fn each_broken_promise_is_found() {
        let records = Records(vec![record(1, 0), record(1, 2), record(1, 2), record(9, 0)]);
        let mut alarmed = life(1, 4);
        alarmed.alarms.push(3);
        let verdict = settle("bw", &[alarmed, life(1, 0)], &records);
        assert_eq!(verdict.missing, [(1, 1), (1, 3)]);
        assert_eq!(verdict.alarms_missing, [(1, 3)]);
        assert_eq!(verdict.boots_reused, [1]);
        assert_eq!(verdict.boots_unknown, [9]);
        assert_eq!(verdict.doubled, [(1, 2)]);
        assert!(!verdict.held());
    }

    #[test]
    fn sequence_of_an_alarm_reads_from_the_notice() {
        let text = "notice AlarmRaised { alarm: AlarmId { boot: BootId(3), seq: Seq(7) }, cause: AlarmCause(1), silent: false }";
        assert_eq!(seq_of(text), Some(7));
    }
}
