//! Promise 3: **a marker never goes back**, whatever clocks say and however late history comes; and once all has settled it shows
//! the newest position that is STORED.
//!
//! A gateway that starts knows what its spool still has, and no more: what retention took since is not asked of it.
//!
//! Everybody drives north, so the truth needs no clock: a marker that goes south has gone back.

use std::collections::BTreeMap;

use fieldpost_protocol::{Body, Envelope};

use super::{Checker, Fact};
use crate::check::ledger::RecordId;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct NeverBack {
    published: BTreeMap<RecordId, i64>,
    newest_stored: BTreeMap<usize, i64>,
    shown: BTreeMap<usize, i64>,
}

impl Checker for NeverBack {
    fn name(&self) -> &'static str {
        "live never goes back"
    }

    fn see(&mut self, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Published { device, frame, .. } => {
                let Ok(envelope) = Envelope::decode(frame) else { return Ok(()) };
                let id = |seq| RecordId { device: *device, boot: envelope.head.boot.0, seq };
                match Body::decode(&envelope.head, envelope.body) {
                    Ok(Body::Position(position)) => {
                        self.published.insert(id(envelope.head.seq.0), position.latitude_udeg.into());
                    }
                    Ok(Body::Alarm(alarm)) => {
                        let latitude_udeg = alarm.position.map(|position| position.latitude_udeg.into());
                        self.published.extend(latitude_udeg.map(|udeg| (id(envelope.head.seq.0), udeg)));
                    }
                    Ok(Body::PositionBatch(items)) => {
                        let items = items.flatten();
                        self.published.extend(items.map(|i| (id(i.seq.0), i.position.latitude_udeg.into())));
                    }
                    _ => {}
                }
            }
            Fact::Stored(records) => {
                for record in *records {
                    if let Some(latitude_udeg) = self.published.get(record) {
                        let newest = self.newest_stored.entry(record.device).or_insert(*latitude_udeg);
                        *newest = (*newest).max(*latitude_udeg);
                    }
                }
            }
            Fact::Found(found) => {
                for (device, known) in self.shown.iter_mut().chain(&mut self.newest_stored) {
                    let kept = found.iter().filter(|record| record.device == *device);
                    let kept = kept.filter_map(|record| self.published.get(record)).max();
                    *known = (*known).min(kept.copied().unwrap_or(i64::MIN));
                }
            }
            Fact::Page(page) => {
                for (device, latitude_udeg) in &page.markers {
                    let before = self.shown.insert(*device, *latitude_udeg).unwrap_or(i64::MIN);
                    if *latitude_udeg < before {
                        return Err(format!(
                            "the marker of device {device} went from {before} to {latitude_udeg}"
                        ));
                    }
                }
            }
            Fact::Settled { .. } => {
                for (device, newest) in &self.newest_stored {
                    let shown = self.shown.get(device).copied().unwrap_or(i64::MIN);
                    if shown < *newest {
                        return Err(format!(
                            "device {device} is shown at {shown} and was STORED at {newest}"
                        ));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}
