//! Claims about the spool, each of which a broken build fails. The rigs return what they found wrong, so that the same
//! rig also shows that it notices a sabotaged spool.

mod commit;
mod cursors;
mod damage;
mod every_fault;
mod inspect;
mod keep;
mod model;
mod readers;
mod space;
mod tail;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::faulty::FaultyDisk;
use super::{Batch, BatchLimits, EntryClass, Gap, Lsn, Reader, RecoveryReport, Spool, SpoolSettings};

/// Where the spool lives on the double.
fn dir() -> PathBuf {
    PathBuf::from("/spool")
}

/// Small enough to fill in a test: 16 KiB segments, no reserve.
fn small() -> SpoolSettings {
    SpoolSettings {
        segment_bytes: 16 << 10,
        bytes_max: 1 << 20,
        reserve_bytes: 0,
        retain_ms: 0,
        pending_bytes_max: 4 << 10,
        // Some is in memory and some is not.
        tail_bytes_max: 2 << 10,
        ..SpoolSettings::default()
    }
}

fn open(disk: &FaultyDisk, settings: SpoolSettings) -> (Spool, RecoveryReport) {
    Spool::open(&dir(), settings, Arc::new(disk.clone())).unwrap()
}

/// All at once, nothing waited for.
const EVERYTHING: BatchLimits = BatchLimits { count_max: usize::MAX, bytes_max: usize::MAX, age_ms_max: 0 };

/// What a reader handed over until it had accounted for `to`, and maybe for more that was committed meanwhile.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    entries: Vec<(u64, Vec<u8>)>,
    gaps: Vec<Gap>,
}

impl Seen {
    fn take(&mut self, batch: &Batch) {
        self.gaps.extend(batch.gap);
        self.entries.extend(batch.entries().map(|entry| (entry.lsn.0, entry.payload.to_vec())));
    }
}

async fn read_to(reader: &mut Reader, to: Lsn) -> Seen {
    let mut seen = Seen::default();
    while reader.position() <= to {
        seen.take(&reader.next_batch(EVERYTHING).await.unwrap());
    }
    seen
}

/// Appends and waits for the commit.
async fn store(spool: &Spool, payload: &[u8]) -> Lsn {
    let lsn = spool.append(EntryClass::Live, payload).await.unwrap();
    spool.wait_committed(lsn).await.unwrap();
    lsn
}

fn payload(number: u64) -> Vec<u8> {
    format!("entry {number} {}", "x".repeat((number % 90) as usize)).into_bytes()
}

/// The path of the only segment.
fn only_segment(disk: &FaultyDisk) -> PathBuf {
    let mut segments = segments(disk);
    assert_eq!(segments.len(), 1, "{segments:?}");
    segments.remove(0)
}

fn segments(disk: &FaultyDisk) -> Vec<PathBuf> {
    let is_segment = |path: &&PathBuf| path.extension().is_some_and(|ending| ending == "seg");
    disk.paths().iter().filter(is_segment).cloned().collect()
}

fn cursor_path(name: &str) -> PathBuf {
    Path::new("/spool/cursors").join(format!("{name}.cursor"))
}
