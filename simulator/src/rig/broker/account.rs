//! What both spools hold, against what every life of every device made.

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
};

use fieldpost_gateway::fingerprint::Fingerprint;
use fieldpost_protocol::{Class, Envelope};

use super::{BrokerReport, RigError, house::House, unit::Standing};
use crate::rig::spool::each_record;

/// A spool: how often each key stands in it, and what was said under each identity.
#[derive(Debug, Default)]
pub(super) struct Held {
    keys: HashMap<String, u32>,
    said: HashMap<String, BTreeSet<Fingerprint>>,
    /// Devices' answers to receipts.
    answers: u64,
}

/// Reads a spool that nobody has open.
pub(super) async fn read(dir: &Path) -> Result<Held, RigError> {
    let mut held = Held::default();
    each_record(dir, |record| {
        let key = record.key();
        if let Ok(envelope) = Envelope::decode(&record.payload) {
            held.answers += u64::from(envelope.head.class == Class::HEARD);
            let print = Fingerprint::of_envelope(&envelope);
            held.said.entry(identity_of(&key).to_owned()).or_default().insert(print);
        }
        *held.keys.entry(key).or_insert(0) += 1;
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
        // The first status says the same in every life, word for word: no clock is set yet.
        let count = if identity.ends_with(".1.0") { &1 } else { count };
        let said = spools.each_ref().map(|spool| spool.said.get(identity).cloned().unwrap_or_default());
        let found = said[0].union(&said[1]).count();
        report.lost_count += count.saturating_sub(found) as u64;
        report.believed_count += found.saturating_sub(*count) as u64;
        report.in_both_count += said[0].intersection(&said[1]).count() as u64;
    }
    for (key, count) in spools.iter().flat_map(|spool| &spool.keys) {
        report.duplicate_count += u64::from(*count > 1);
        // What the gateways write themselves has no sequence: clock, rules, what became of an alarm.
        report.believed_count += u64::from(!made.contains_key(identity_of(key)) && !key.contains(".lsn."));
    }
}
