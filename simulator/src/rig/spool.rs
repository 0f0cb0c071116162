//! A spool that nobody has open, read as its own reader reads it.

use std::{collections::HashMap, path::Path, sync::Arc};

use fieldpost_gateway::{
    record::Record,
    spool::{BatchLimits, Lsn, RealDisk, Spool, SpoolError, SpoolSettings, ls, verify},
};

use super::RigError;

/// Shows `take` every record, oldest first.
pub(super) async fn each_record(dir: &Path, mut take: impl FnMut(&Record)) -> Result<(), RigError> {
    let (spool, _) = Spool::open(dir, SpoolSettings::default(), Arc::new(RealDisk))
        .map_err(RigError::cannot("open the spool"))?;
    let last = spool.committed();
    let mut reader = spool.reader(Lsn(1));
    while reader.position() <= last {
        let limits = BatchLimits { count_max: 4096, bytes_max: 1 << 20, age_ms_max: 0 };
        let batch = reader.next_batch(limits).await.map_err(RigError::cannot("read the spool"))?;
        for entry in batch.entries() {
            let record = Record::decode(entry.lsn, &entry.payload);
            take(&record.map_err(RigError::cannot("decode a record"))?);
        }
    }
    spool.close().await;
    Ok(())
}

/// How many records the gateway owes one force system at most, by what it knows itself; the history is none.
pub(super) fn owed_count_max(dir: &Path) -> Result<u64, RigError> {
    let look = || Ok((verify(dir)?.last, ls(dir)?.cursors));
    let (last, cursors) = look().map_err(RigError::cannot::<SpoolError>("look into the spool"))?;
    let sinks = cursors.iter().filter(|cursor| cursor.name != "history");
    Ok(sinks.map(|cursor| last.0.saturating_sub(cursor.position.0)).max().unwrap_or(0))
}

/// How often each key stands in it.
pub(super) async fn stored(dir: &Path) -> Result<HashMap<String, u32>, RigError> {
    let mut keys = HashMap::new();
    each_record(dir, |record| *keys.entry(record.key()).or_insert(0) += 1).await?;
    Ok(keys)
}
