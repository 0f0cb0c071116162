//! Records and their idempotency keys, `sim.pc-0001.BOOT.SEQ`.

use fieldpost_protocol::{Body, Envelope};

use super::gateway::FORCE;
use crate::check::ledger::RecordId;

/// The record that a key names, if it is one of a simulated device.
pub(super) fn parse(key: &str) -> Option<RecordId> {
    // What the gateway took for another record of the same identity has a fingerprint behind it.
    let identity = key.split('~').next()?;
    let mut parts = identity.strip_prefix(FORCE)?.strip_prefix(".pc-")?.split('.');
    let mut number = || parts.next()?.parse::<u32>().ok();
    let (device, boot, seq) = (number()?, number()?, number()?);
    parts.next().is_none().then_some(RecordId { device: device as usize, boot, seq })
}

/// A record's key.
pub(super) fn of(record: RecordId) -> String {
    format!("{FORCE}.pc-{:04}.{}.{}", record.device, record.boot, record.seq)
}

/// The records in a device's frame; a batch holds many.
pub(super) fn records(device: usize, frame: &[u8]) -> Vec<RecordId> {
    let Ok(envelope) = Envelope::decode(frame) else { return Vec::new() };
    let id = |seq: u32| RecordId { device, boot: envelope.head.boot.0, seq };
    match Body::decode(&envelope.head, envelope.body) {
        Ok(Body::PositionBatch(items)) => items.flatten().map(|item| id(item.seq.0)).collect(),
        _ => vec![id(envelope.head.seq.0)],
    }
}
