//! What becomes known of a run, by whom: the force system, an operator, an auditor. Every checker is told.

use std::collections::BTreeSet;

use fieldpost_gateway::{
    record::Record,
    spool::{RecoveryReport, SpoolError},
};

use super::{
    audit,
    gateway::{ARCHIVE_DIR, LEDGER_FILE, PICTURES_DIR, SEGMENT_BYTES},
    key,
    page::{self, Page},
    plan::Fault,
    promise::{Audit, Breach, Fact, Kept},
    retention::PERIODS,
    run::Run,
};
use crate::check::ledger::RecordId;

/// After its time a record goes within this: cursors of ledger and alarms move within 30 s, then a segment is looked at.
const GONE_WITHIN_MS: u64 = 60_000;
/// And a file of the archive in its turn, four a second.
const ARCHIVE_FILE_MS: u64 = 250;

impl Run<'_> {
    pub(super) fn hear_sink(&mut self) {
        if let Some(key) = self.sink.take_unlogged() {
            self.break_promise("disclosure", format!("{key} was sent before it was on the disclosure log"));
        }
        for key in self.sink.take_arrived() {
            self.trace.note(self.now_ms, b'S', key.as_bytes(), format_args!("sink has {key}"));
            self.know(&Fact::Delivered(&key));
        }
    }

    /// Tells every checker.
    pub(super) fn know(&mut self, fact: &Fact<'_>) {
        if let Fact::Stored(records) = fact {
            self.stored += records.len() as u64;
        }
        for checker in &mut self.checkers {
            if let Err(words) = checker.see(fact) {
                let breach = Breach { promise: checker.name(), words };
                self.breach.get_or_insert(breach);
            }
        }
    }

    pub(super) fn break_promise(&mut self, promise: &'static str, words: String) {
        self.breach.get_or_insert(Breach { promise, words });
    }

    /// The operator looks, and takes an alarm now and then.
    pub(super) fn look(&mut self) {
        let Some(gateway) = &mut self.gateway else { return };
        let (pending_bytes, pending_bytes_max) = gateway.pending_bytes();
        let takes_records = gateway.takes_records();
        if let Some(page) = Page::read(&gateway.live, takes_records, self.now_ms) {
            let open: Vec<RecordId> =
                page.alarms.iter().filter(|alarm| !alarm.is_owned).map(|alarm| alarm.id).collect();
            self.know(&Fact::Page(&page));
            self.take_alarms(&open);
        }
        let [disk_bytes, archive_bytes] = self.used_bytes();
        self.know(&Fact::Used {
            disk_bytes,
            disk_bytes_max: self.plan.segment_count * SEGMENT_BYTES,
            archive_bytes,
            // A page for its header, and the file that is rewritten.
            archive_bytes_max: self.plan.archive_bytes_max + SEGMENT_BYTES + 4096,
            pending_bytes,
            pending_bytes_max,
        });
    }

    /// Who is not away takes an alarm now and then.
    fn take_alarms(&mut self, open: &[RecordId]) {
        if self.plan.away.contains(&self.now_ms) {
            return;
        }
        for alarm in open {
            if self.trouble.happens(0.3) {
                self.know(&Fact::Taken(*alarm));
                if let Some(gateway) = &mut self.gateway {
                    gateway.acknowledge(&page::id_of(*alarm), &mut self.tasks);
                }
            }
        }
    }

    /// What the gateway's log says of its spool.
    pub(super) fn hear_recovery(&mut self) {
        let Some(gateway) = &self.gateway else { return };
        let RecoveryReport { damaged, skipped, .. } = &gateway.recovery;
        let damaged: Vec<_> = damaged.iter().chain(skipped).map(|gap| gap.from.0..=gap.to.0).collect();
        self.know(&Fact::Recovered { damaged: &damaged });
    }

    /// Without the archive, and the archive. What pages were shown and the loss ledger have bounds of their own, far above a
    /// spool of this size.
    fn used_bytes(&self) -> [u64; 2] {
        let (mut others, mut archive) = (0, 0);
        for path in self.disk.paths() {
            let is_below = |dir: &str| path.to_str().is_some_and(|path| path.starts_with(dir));
            let bytes = || self.disk.len_of(&path).unwrap_or(0);
            if is_below(ARCHIVE_DIR) {
                archive += bytes();
            } else if is_below(PICTURES_DIR) || is_below(LEDGER_FILE) {
                others += bytes();
            }
        }
        [self.disk.used_bytes() - archive - others, archive]
    }

    /// What an auditor reads from the spool of a gateway that has just started, or at the end.
    pub(super) async fn look_into_spool(&mut self) {
        let Some(kept) = self.audit().await else { return };
        let found: BTreeSet<RecordId> =
            kept.iter().filter(|kept| !kept.is_archived).filter_map(|kept| kept.id).collect();
        self.know(&Fact::Found(&found));
    }

    /// An auditor reads the whole disk.
    pub(super) async fn audit(&mut self) -> Option<Vec<Kept>> {
        let gateway = self.gateway.as_ref()?;
        let kept = match gateway.records().await {
            Ok(records) => self.on_disk(&records).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match kept {
            Ok(kept) => {
                self.know(&Fact::Audited(&Audit { kept: &kept, latest_ms: self.wall_ms_max }));
                Some(kept)
            }
            Err(error) => {
                self.break_promise("custody", format!("the spool cannot be read: {error}"));
                None
            }
        }
    }

    fn on_disk(&self, records: &[Record]) -> Result<Vec<Kept>, SpoolError> {
        let mut kept = audit::spooled(records);
        kept.extend(audit::archived(&self.disk)?);
        Ok(kept)
    }

    /// Everything is quiet, and has to be right.
    pub(super) async fn judge(&mut self) {
        self.look();
        self.look_into_spool().await;
        if let Some(page) = self.gateway.as_ref().and_then(audit::accounts) {
            self.know(&Fact::Accounts(&page));
        }
        let owed = self.owed();
        self.know(&Fact::Settled { owed });
    }

    /// How long retention may take from now on to remove what nobody keeps.
    pub(super) fn gone_within_ms(&self) -> u64 {
        let files = self.disk.paths().into_iter().filter(|path| path.starts_with(ARCHIVE_DIR)).count();
        GONE_WITHIN_MS + ARCHIVE_FILE_MS * files as u64
    }

    /// And the rest of it has been long enough.
    pub(super) async fn judge_rest(&mut self, within_ms: u64) {
        let Some(kept) = self.audit().await else { return };
        // What came while the clock was ahead stays until the clock is there again, and its segment with it.
        if self.plan.faults.iter().any(|(_, fault)| matches!(fault, Fault::GatewayClock { .. })) {
            return;
        }
        let audit = Audit { kept: &kept, latest_ms: self.wall_ms_max };
        self.know(&Fact::Rested { audit: &audit, spool_ms: PERIODS.spool_ms, within_ms });
    }

    /// Somebody places the hold `index` of the plan.
    pub(super) fn place_hold(&mut self, index: usize) {
        let Some(hold) = self.plan.holds.get(index).filter(|_| !self.is_healed) else { return };
        self.trace.note(self.now_ms, b'h', &[index as u8], format_args!("hold {index} of {:?}", hold.device));
        self.desk.place(index, hold.device);
        self.know(&Fact::Held { hold: index, device: hold.device });
    }

    /// And releases it, if it is still held.
    pub(super) async fn release_hold(&mut self, index: usize) {
        // What it held must be there to the last.
        self.audit().await;
        if self.desk.release(index) {
            self.trace.note(self.now_ms, b'r', &[index as u8], format_args!("hold {index} is released"));
            self.know(&Fact::Released { hold: index });
        }
    }

    /// Says in the trace what happened to records.
    pub(super) fn note_records(&mut self, what: u8, words: &str, records: &[RecordId]) {
        for record in records {
            let key = key::of(*record);
            self.trace.note(self.now_ms, what, key.as_bytes(), format_args!("{words} {key}"));
        }
    }
}
