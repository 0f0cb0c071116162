//! The whole promise against a model: whatever is done and whenever the power goes, an acknowledged entry that was not
//! delivered is there, unchanged and in order.

use std::collections::BTreeSet;
use std::io::ErrorKind;

use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::super::faulty::{FaultyDisk, Unsynced};
use super::super::settings::Sabotage;
use super::super::{Cursor, EntryClass, Gap, Lsn, Spool, SpoolError, SpoolSettings};
use super::{open, read_to};

#[derive(Debug, Clone)]
enum Op {
    Append {
        count: u8,
        bytes: u16,
        wait: bool,
    },
    /// The sink takes everything committed.
    Deliver,
    Restart,
    /// The next commit's fsync fails; then the power goes.
    FailSync(Unsynced),
    /// Entries come while there is no space; then there is.
    FullDisk,
    CutPower(Unsynced),
}

fn op() -> impl Strategy<Value = Op> {
    let unsynced =
        prop_oneof![Just(Unsynced::Lost), Just(Unsynced::Kept), any::<u64>().prop_map(Unsynced::Torn),];
    prop_oneof![
        6 => (1..20u8, 0..600u16, any::<bool>())
            .prop_map(|(count, bytes, wait)| Op::Append { count, bytes, wait }),
        2 => Just(Op::Deliver),
        1 => Just(Op::Restart),
        1 => unsynced.clone().prop_map(Op::FailSync),
        1 => Just(Op::FullDisk),
        2 => unsynced.prop_map(Op::CutPower),
    ]
}

/// What the spool must hold.
struct Model {
    /// By LSN, from 1.
    sent: Vec<Vec<u8>>,
    acknowledged: u64,
    delivered: u64,
    /// Holes that a torn write left among entries nobody had acknowledged.
    holes: BTreeSet<u64>,
    /// Makes every payload differ from every other.
    serial: u64,
}

struct Rig {
    disk: FaultyDisk,
    settings: SpoolSettings,
    spool: Spool,
    cursor: Cursor,
    model: Model,
}

impl Rig {
    fn new(settings: SpoolSettings, disk: FaultyDisk) -> Self {
        let (spool, _) = open(&disk, settings.clone());
        let cursor = spool.cursor("sink").unwrap();
        Self {
            disk,
            settings,
            spool,
            cursor,
            model: Model {
                sent: Vec::new(),
                acknowledged: 0,
                delivered: 0,
                holes: BTreeSet::new(),
                serial: 0,
            },
        }
    }

    async fn apply(&mut self, op: &Op) -> Result<(), String> {
        match *op {
            Op::Append { count, bytes, wait } => self.append(count, bytes, wait).await,
            Op::Deliver => self.deliver().await,
            Op::Restart => {
                self.spool.close().await;
                self.model.acknowledged = self.model.sent.len() as u64;
                self.reopen(self.disk.clone())
            }
            Op::FailSync(unsynced) => {
                self.disk.fail_sync_after(0);
                // Refused already if the writer met the fault with what was pending.
                let _ = self.append(1, 50, false).await;
                let refused = self.spool.wait_committed(Lsn(u64::MAX)).await;
                if !matches!(refused, Err(SpoolError::Failed)) {
                    return Err(format!("after a failed fsync: {refused:?}"));
                }
                self.cut_power(unsynced).await
            }
            Op::FullDisk => {
                // What is pending first: an append that waits for room would wait for the disk.
                self.append(1, 0, true).await?;
                self.disk.fail_write_after(0, ErrorKind::StorageFull);
                self.append(3, 50, false).await?;
                self.disk.heal();
                self.append(3, 50, true).await
            }
            Op::CutPower(unsynced) => self.cut_power(unsynced).await,
        }
    }

    async fn cut_power(&mut self, unsynced: Unsynced) -> Result<(), String> {
        self.model.acknowledged = self.model.acknowledged.max(self.spool.committed().0);
        let survivor = self.disk.cut_power(unsynced);
        self.spool.close().await;
        self.reopen(survivor)?;
        self.check().await
    }

    async fn append(&mut self, count: u8, bytes: u16, wait: bool) -> Result<(), String> {
        for _ in 0..count {
            self.model.serial += 1;
            let mut payload = self.model.serial.to_le_bytes().to_vec();
            payload.resize(8 + usize::from(bytes), self.model.serial as u8);
            let appended = self.spool.append(EntryClass::Live, &payload).await;
            let lsn = appended.map_err(|error| error.to_string())?;
            self.model.sent.push(payload);
            if lsn.0 != self.model.sent.len() as u64 {
                return Err(format!("{lsn} given out for entry {}", self.model.sent.len()));
            }
        }
        if wait {
            let last = Lsn(self.model.sent.len() as u64);
            let committed = self.spool.wait_committed(last).await;
            committed.map_err(|error| error.to_string())?;
            self.model.acknowledged = last.0;
        }
        Ok(())
    }

    async fn deliver(&mut self) -> Result<(), String> {
        let committed = self.spool.committed();
        self.check().await?;
        let advanced = self.cursor.advance(committed).await;
        advanced.map_err(|error| error.to_string())?;
        self.model.delivered = committed.0.max(self.model.delivered);
        Ok(())
    }

    fn reopen(&mut self, disk: FaultyDisk) -> Result<(), String> {
        self.disk = disk;
        let (spool, report) = open(&self.disk, self.settings.clone());
        let last = report.last.0;
        let acknowledged = self.model.acknowledged;
        if last < acknowledged {
            return Err(format!("{acknowledged} acknowledged, {last} found"));
        }
        self.spool = spool;
        self.cursor = self.spool.cursor("sink").map_err(|error| error.to_string())?;
        let position = self.cursor.position().0;
        if position > self.model.delivered {
            return Err(format!("{} delivered, cursor at {position}", self.model.delivered));
        }
        if last > self.model.sent.len() as u64 {
            return Err(format!("{} sent, {last} found", self.model.sent.len()));
        }
        self.model.sent.truncate(last as usize);
        let holes = report.damaged.iter().flat_map(|gap| gap.from.0..=gap.to.0);
        self.model.holes.extend(holes.filter(|&lsn| lsn > acknowledged));
        // What was found counts as stored from now on.
        self.model.acknowledged = last;
        Ok(())
    }

    /// Everything committed and undelivered is there, unchanged; holes only where nothing was acknowledged.
    async fn check(&mut self) -> Result<(), String> {
        let from = self.cursor.position().next();
        let committed = self.spool.committed();
        let mut reader = self.spool.reader(from);
        let seen = read_to(&mut reader, committed).await;
        let is_known = |gap: &Gap| (gap.from.0..=gap.to.0).all(|lsn| self.model.holes.contains(&lsn));
        if let Some(gap) = seen.gaps.iter().find(|gap| !is_known(gap)) {
            return Err(format!("acknowledged entries are gone: {gap:?}"));
        }
        let told: u64 = seen.gaps.iter().map(Gap::count).sum();
        if seen.entries.len() as u64 + told != reader.position().0 - from.0 {
            return Err("an entry is neither there nor told lost".to_owned());
        }
        for (lsn, payload) in &seen.entries {
            if self.model.sent.get(*lsn as usize - 1) != Some(payload) {
                return Err(format!("entry {lsn} is not what was sent"));
            }
        }
        Ok(())
    }
}

fn settings(sabotage: Sabotage) -> SpoolSettings {
    SpoolSettings {
        segment_bytes: 12 << 10,
        bytes_max: 64 << 20,
        reserve_bytes: 0,
        retain_ms: 0,
        pending_bytes_max: 4 << 10,
        // Stale records stay in the recycled files, so that a mix-up would show.
        erase_recycled: false,
        sabotage,
        ..SpoolSettings::default()
    }
}

async fn run(ops: &[Op], sabotage: Sabotage, disk: FaultyDisk) -> Result<(), String> {
    let mut rig = Rig::new(settings(sabotage), disk);
    for op in ops {
        rig.apply(op).await?;
    }
    let last = Op::CutPower(Unsynced::Torn(ops.len() as u64));
    rig.apply(&last).await?;
    rig.spool.close().await;
    Ok(())
}

#[test]
fn acknowledged_entries_survive_any_history() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = TestRunner::new(Config { cases: 150, failure_persistence: None, ..Config::default() });
    runner
        .run(&proptest::collection::vec(op(), 1..25), |ops| {
            runtime.block_on(run(&ops, Sabotage::None, FaultyDisk::new())).map_err(TestCaseError::fail)
        })
        .unwrap();
}

fn stored_then_cut() -> [Op; 2] {
    let stored = Op::Append { count: 5, bytes: 100, wait: true };
    [stored, Op::CutPower(Unsynced::Lost)]
}

#[tokio::test]
async fn a_disk_that_lies_about_sync_is_noticed() {
    let disk = FaultyDisk::new();
    let mut rig = Rig::new(settings(Sabotage::None), disk.clone());
    disk.lie_about_sync();
    let [stored, cut] = stored_then_cut();
    rig.apply(&stored).await.unwrap();
    let found = rig.apply(&cut).await.unwrap_err();
    assert!(found.contains("acknowledged"), "{found}");
}

/// Complains if something counts as committed while its sync is still held back, or is gone after the cut.
async fn held_sync_rig(sabotage: Sabotage) -> Result<(), String> {
    let disk = FaultyDisk::new();
    let mut rig = Rig::new(settings(sabotage), disk.clone());
    disk.hold_syncs();
    let unwaited = Op::Append { count: 5, bytes: 100, wait: false };
    rig.apply(&unwaited).await?;
    disk.sync_is_held().await;
    rig.apply(&Op::CutPower(Unsynced::Lost)).await
}

#[tokio::test]
async fn nothing_counts_as_committed_while_its_sync_is_held() {
    held_sync_rig(Sabotage::None).await.unwrap();
}

#[tokio::test]
async fn a_spool_that_publishes_before_the_sync_is_noticed() {
    held_sync_rig(Sabotage::PublishBeforeSync).await.unwrap_err();
}

/// Complains if an entry whose fsync failed was acknowledged and is gone.
async fn failed_sync_rig(sabotage: Sabotage) -> Result<(), String> {
    let disk = FaultyDisk::new();
    let mut rig = Rig::new(settings(sabotage), disk.clone());
    disk.fail_sync_after(0);
    let stored = Op::Append { count: 1, bytes: 100, wait: true };
    // The honest spool refuses here; the model then has nothing acknowledged.
    let _ = rig.apply(&stored).await;
    rig.apply(&Op::CutPower(Unsynced::Lost)).await
}

#[tokio::test]
async fn an_entry_whose_fsync_failed_is_never_acknowledged() {
    failed_sync_rig(Sabotage::None).await.unwrap();
}

#[tokio::test]
async fn a_spool_that_retries_a_failed_fsync_is_noticed() {
    failed_sync_rig(Sabotage::RetryFailedSync).await.unwrap_err();
}

/// Complains if an entry that a failed fsync left in the page cache only counts as committed after the restart, and a
/// power cut then takes it.
async fn page_cache_rig(sabotage: Sabotage) -> Result<(), String> {
    let mut rig = Rig::new(settings(sabotage), FaultyDisk::new());
    rig.apply(&Op::FailSync(Unsynced::Kept)).await?;
    rig.apply(&Op::CutPower(Unsynced::Lost)).await
}

#[tokio::test]
async fn what_a_restart_finds_is_durable_before_it_counts() {
    page_cache_rig(Sabotage::None).await.unwrap();
}

#[tokio::test]
async fn a_spool_that_trusts_the_page_cache_is_noticed() {
    page_cache_rig(Sabotage::TrustPageCache).await.unwrap_err();
}
