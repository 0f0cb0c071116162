//! What both spools hold, against what every life of every device made.

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
};

use fieldpost_gateway::{fingerprint::Fingerprint, spool::Lsn};
use fieldpost_protocol::{Class, DeviceId, Envelope};

use super::{BrokerReport, RigError, house::House, unit::Standing};
use crate::rig::spool::each_record;

/// Of keys that stand twice in a spool so many are described.
const DESCRIBED_MAX: usize = 8;

/// A spool: where each key stands in it, and what was said under each identity.
#[derive(Debug, Default)]
pub(super) struct Held {
    keys: HashMap<String, Vec<Place>>,
    said: HashMap<String, BTreeSet<Fingerprint>>,
    /// Devices' answers to receipts.
    answers: u64,
}

/// Where an entry stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    lsn: Lsn,
    received_at_ms: u64,
    /// How many the device had in this spool before.
    of_device: u32,
}

/// Reads a spool that nobody has open.
pub(super) async fn read(dir: &Path) -> Result<Held, RigError> {
    let mut held = Held::default();
    let mut counts: HashMap<DeviceId, u32> = HashMap::new();
    each_record(dir, |record| {
        let key = record.key();
        if let Ok(envelope) = Envelope::decode(&record.payload) {
            held.answers += u64::from(envelope.head.class == Class::HEARD);
            let print = Fingerprint::of_envelope(&envelope);
            held.said.entry(identity_of(&key).to_owned()).or_default().insert(print);
        }
        let count = counts.entry(record.device.clone()).or_insert(0);
        let place = Place { lsn: record.lsn, received_at_ms: record.received_at_ms, of_device: *count };
        *count += 1;
        held.keys.entry(key).or_default().push(place);
    })
    .await?;
    Ok(held)
}

/// A key without the fingerprint that a repeated identity carries.
fn identity_of(key: &str) -> &str {
    key.split('~').next().unwrap_or(key)
}

/// `lives`: how each device stood at the end of each of its lives, which all began with boot 1 and sequence 0.
pub(super) fn account(house: &House, lives: &[Vec<Standing>], spools: &[Held; 2], report: &mut BrokerReport) {
    report.answered_count = spools.iter().map(|spool| spool.answers).sum();
    let mut made: HashMap<String, usize> = HashMap::new();
    for life in lives {
        for (device, standing) in house.devices.iter().zip(life) {
            report.issued_count += u64::from(standing.issued);
            report.stored_count += u64::from(standing.stored);
            for seq in 0..standing.issued {
                *made.entry(format!("bench.{}.1.{seq}", device.id)).or_insert(0) += 1;
            }
        }
    }
    for (identity, count) in &made {
        // The first status says the same in every life unless that began a millisecond later: no clock is set yet.
        let least = if identity.ends_with(".1.0") { &1 } else { count };
        let said = spools.each_ref().map(|spool| spool.said.get(identity).cloned().unwrap_or_default());
        let found = said[0].union(&said[1]).count();
        report.lost_count += least.saturating_sub(found) as u64;
        report.believed_count += found.saturating_sub(*count) as u64;
        report.in_both_count += said[0].intersection(&said[1]).count() as u64;
    }
    for (key, places) in spools.iter().flat_map(|spool| &spool.keys) {
        if let [first, .., last] = places.as_slice() {
            report.duplicate_count += 1;
            if report.twice.len() < DESCRIBED_MAX {
                report.twice.push(apart(key, *first, *last));
            }
        }
        // What the gateways write themselves has no sequence: clock, rules, what became of an alarm.
        report.believed_count += u64::from(!made.contains_key(identity_of(key)) && !key.contains(".lsn."));
    }
}

/// How far apart two entries of one key are: what a gateway would have had to remember.
fn apart(key: &str, first: Place, last: Place) -> String {
    format!(
        "{key}: entries {} and {}, {} ms and {} records of its device apart",
        first.lsn,
        last.lsn,
        last.received_at_ms.saturating_sub(first.received_at_ms),
        last.of_device - first.of_device
    )
}
