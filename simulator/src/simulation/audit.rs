//! What an auditor reads: every record on the gateway's disk, and the loss ledger by its API's own answer.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::Path,
};

use bytes::Bytes;
use fieldpost_gateway::{
    ledger::view::LedgerView,
    record::Record,
    retention::RetentionClass,
    spool::{Disk, SpoolError, walk_archive},
};
use fieldpost_protocol::Envelope;

use super::{
    gateway::{Gateway, SPOOL_DIR},
    retention::PERIODS,
};
use crate::check::{account::AccountsPage, ledger::RecordId};

/// A record on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Its place in the spool, which it keeps in the archive.
    pub lsn: u64,
    /// Whose it is; none if it is the gateway's own.
    pub id: Option<RecordId>,
    /// Its idempotency key, hashed: that of a record with another content is another one.
    pub key_hash: u64,
    /// When it came, by the gateway's clock then.
    pub received_at_ms: u64,
    /// For how long it was promised to be kept, if it was.
    pub period_ms: Option<u64>,
    /// Whether its segment has gone and it is in the archive.
    pub is_archived: bool,
}

/// What is in segments: whoever has a cursor may need them still, so no time alone removes them.
pub(super) fn spooled(records: &[Record]) -> Vec<Kept> {
    records.iter().map(|record| kept(record, false)).collect()
}

/// What is in the archive.
pub(super) fn archived(disk: &dyn Disk) -> Result<Vec<Kept>, SpoolError> {
    let mut found = Vec::new();
    let mut each = |entry: fieldpost_gateway::spool::ExportedEntry<'_>| {
        let payload = Bytes::copy_from_slice(entry.payload);
        found.extend(Record::decode(entry.lsn, &payload).ok().map(|record| kept(&record, true)));
    };
    walk_archive(disk, Path::new(SPOOL_DIR), &mut each, &mut |_| {})?;
    Ok(found)
}

fn kept(record: &Record, is_archived: bool) -> Kept {
    Kept {
        lsn: record.lsn.0,
        id: id(record),
        key_hash: hash_of(&record.key()),
        received_at_ms: record.received_at_ms,
        period_ms: PERIODS.own(RetentionClass::of(record)),
        is_archived,
    }
}

/// The same in every run.
fn hash_of(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

fn id(record: &Record) -> Option<RecordId> {
    let head = Envelope::decode(&record.payload).ok()?.head;
    let device = record.device.as_str().strip_prefix("pc-")?.parse().ok()?;
    Some(RecordId { device, boot: head.boot.0, seq: head.seq.0 })
}

/// Every account of the gateway's ledger.
pub(super) fn accounts(gateway: &Gateway) -> Option<AccountsPage> {
    let view = LedgerView::page(&gateway.ledger.lock(), None, |_| true);
    serde_json::from_value(serde_json::to_value(view).ok()?).ok()
}
