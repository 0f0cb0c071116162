//! The five tasks of the live half. Each owns one thing and ends on shutdown.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fieldpost_protocol::Receipt;
use futures_util::StreamExt as _;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Hub;
use super::board::Published;
use super::devices::{Connection, Connections};
use super::frames::Change;
use super::state::fold;
use super::unit::UnitId;
use super::view::GatewayView;
use crate::alarms::{Owed, snapshot};
use crate::audit::pictures::{Entry, PictureFiles};
use crate::sabotage::{self, Sabotage};
use crate::spool::{Batch, BatchLimits, Cursor, Health, Lsn, ReadError};

/// Pages hear of units at most four times a second.
const RENDER_MS: u64 = 250;
/// Renderings between two looks for stale units: every second.
const SWEEP_TICKS: u64 = 4;
/// Renderings between two words about the gateway: every two seconds.
const GATEWAY_TICKS: u64 = 8;
/// Renderings between two words about units that were forgotten: a minute. They were silent for a day.
const FORGOTTEN_TICKS: u64 = 240;
/// How soon a snapshot follows a change; also the longest replay of a SEEN receipt.
const SNAPSHOT_MS: u64 = 500;
/// A snapshot is renewed after so many records even without alarms, so that a restart replays few.
const SNAPSHOT_RECORDS: u64 = 20_000;
/// How soon a receipt that nobody confirmed is sent again to a connected device.
const RECEIPT_RETRY_MS: u64 = 5_000;
/// How soon a failed read of the spool is tried again.
const READ_RETRY_MS: u64 = 1_000;

/// One lock of the state for so many records: about a millisecond. A position may wait a fifth of the time between two
/// renderings, so that the reader does not wake at every commit; an alarm does not wait (see `Reader::next_batch`).
const READ_LIMITS: BatchLimits = BatchLimits { count_max: 512, bytes_max: 256 * 1024, age_ms_max: 50 };

/// Reads committed records and folds them.
pub(super) async fn read(hub: Arc<Hub>, from: Lsn, rebuilt_at: Lsn, shutdown: CancellationToken) {
    let _end = ReaderEnd { hub: Arc::clone(&hub), shutdown: shutdown.clone() };
    let mut reader = hub.spool.reader(from);
    loop {
        let batch = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            batch = reader.next_batch(READ_LIMITS) => batch,
        };
        match batch {
            Ok(batch) => hub.fold_batch(batch, rebuilt_at),
            Err(ReadError::Closed) => return,
            Err(error @ ReadError::Failed) => {
                tracing::error!(%error, "the page shows what was committed until now");
                return;
            }
            Err(error @ ReadError::Io(_)) => {
                tracing::warn!(%error, "live reader waits");
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(Duration::from_millis(READ_RETRY_MS)) => {}
                }
            }
        }
    }
}

/// Says on the page that the reader has ended, should it do so before shutdown: a panic included.
struct ReaderEnd {
    hub: Arc<Hub>,
    shutdown: CancellationToken,
}

impl Drop for ReaderEnd {
    fn drop(&mut self) {
        if !self.shutdown.is_cancelled() {
            self.hub.has_stopped.store(true, Ordering::Relaxed);
            tracing::error!("the page has stopped following the spool: restart the gateway");
        }
    }
}

/// Renders what changed, for every page at once, and sends it once the journal has it.
pub(super) async fn render(hub: Arc<Hub>, mut journal: Option<PictureFiles>, shutdown: CancellationToken) {
    let mut ticks = interval(Duration::from_millis(RENDER_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut alarms = hub.alarms_revision.subscribe();
    let mut count: u64 = 0;
    hub.render_gateway();
    loop {
        let published = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            // Before the alarms, of which there may be a flood: positions must not stand still for them.
            _ = ticks.tick() => {
                count += 1;
                if count.is_multiple_of(SWEEP_TICKS) {
                    hub.sweep();
                }
                let published = hub.render();
                if count.is_multiple_of(FORGOTTEN_TICKS) {
                    hub.board().tell_forgotten();
                }
                if count.is_multiple_of(GATEWAY_TICKS) {
                    hub.render_gateway();
                }
                published
            }
            Ok(()) = alarms.changed() => hub.render_alarms(),
            // Somebody begins to look: the journal needs the whole picture.
            () = hub.journal_wanted.notified() => Published::default(),
        };
        journal = hub.journal_and_send(journal).await;
        hub.count(&published);
    }
    // The last pictures go out, then every stream ends: a server waits for its streams.
    hub.render();
    hub.journal_and_send(journal).await;
    hub.board().close();
}

/// Keeps track of which devices are connected.
pub(super) async fn follow_connections(
    hub: Arc<Hub>,
    mut connections: Connections,
    shutdown: CancellationToken,
) {
    loop {
        let news = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            news = connections.next() => news,
        };
        match news {
            Some(Connection::Opened(unit)) => {
                hub.state().set_connected(&unit, true);
                hub.device_connected.notify_one();
            }
            Some(Connection::Closed(unit)) => hub.state().set_connected(&unit, false),
            Some(Connection::Missed) => {
                let connected = hub.devices.connected();
                hub.state().set_all_connected(&connected);
                hub.device_connected.notify_one();
            }
            None => return,
        }
    }
}

/// Sends DELIVERED and SEEN receipts until each is confirmed.
pub(super) async fn send_receipts(hub: Arc<Hub>, shutdown: CancellationToken) {
    let mut under_way = JoinSet::new();
    // Under way, or failed since the last retry: at most two for each alarm in the queue, and those owed beside it.
    let mut sent = BTreeSet::new();
    let mut failed = Vec::new();
    let mut alarms = hub.alarms_revision.subscribe();
    let mut retry = interval(Duration::from_millis(RECEIPT_RETRY_MS));
    retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        for owed in hub.receipts_owed(&sent) {
            let confirmation = hub.devices.send_receipt(&owed.0, owed.1);
            sent.insert(owed.clone());
            let told_ms = hub.told(&owed);
            let hub = Arc::clone(&hub);
            // What the device confirmed is a record like any other; without it the receipt is sent again.
            under_way.spawn(async move {
                let is_kept = confirmation.await && hub.confirmed(&owed, told_ms).await;
                (owed, is_kept)
            });
        }
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            Some(outcome) = under_way.join_next() => match outcome {
                // Its record is folded: it is owed no more.
                Ok((owed, true)) => _ = sent.remove(&owed),
                Ok((owed, false)) => failed.push(owed),
                // A panicking confirmation: the receipt stays owed until the next start.
                Err(_) => {}
            },
            () = hub.device_connected.notified() => failed.drain(..).for_each(|owed| { sent.remove(&owed); }),
            _ = retry.tick() => failed.drain(..).for_each(|owed| { sent.remove(&owed); }),
            Ok(()) = alarms.changed() => {}
        }
    }
}

/// Keeps the alarm snapshot close behind the queue, and the spool's records until they are in it.
pub(super) async fn keep_snapshot(hub: Arc<Hub>, mut cursor: Cursor, shutdown: CancellationToken) {
    let mut ticks = interval(Duration::from_millis(SNAPSHOT_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut written = None;
    loop {
        let is_last = tokio::select! {
            biased;
            () = shutdown.cancelled() => true,
            _ = ticks.tick() => false,
        };
        // A full spool may need the room of the very records that only the next snapshot lets go.
        let is_full = hub.spool.committed_watch().borrow().health == Health::Full;
        if let Some(text) = hub.snapshot_due(&mut written, is_last || is_full) {
            let written_lsn = written.map_or(Lsn(0), |(_, lsn)| lsn);
            if !hub.write_snapshot(text).await {
                written = None;
            } else if written_lsn > cursor.position()
                && let Err(error) = cursor.advance(written_lsn).await
            {
                tracing::warn!(%error, "the alarm cursor stays where it is");
            }
        }
        if is_last {
            return;
        }
    }
}

impl Hub {
    fn fold_batch(&self, batch: Batch, rebuilt_at: Lsn) {
        let mut state = self.state();
        let records_count = batch.len() as u64;
        for record in batch.records() {
            match record {
                Ok(record) => fold(&mut state, record),
                Err(_) => _ = self.metrics.live.records_unreadable.inc(),
            }
        }
        self.announce_alarms(&state);
        drop(state);
        self.metrics.live.records.inc_by(records_count);
        self.metrics.live.records_missing.inc_by(batch.gap.map_or(0, |gap| gap.count()));
        self.folded.send_replace(batch.end);
        if self.is_rebuilding.load(Ordering::Acquire) && batch.end >= rebuilt_at {
            // What was replayed is not news: its age says nothing about how fast the page is.
            self.state().forget_changed_by();
            self.is_rebuilding.store(false, Ordering::Release);
            tracing::info!(lsn = batch.end.0, "live state rebuilt");
        }
    }

    pub(super) fn render(&self) -> Published {
        let mut board = self.board();
        let mut state = self.state();
        let published = board.render(&mut state);
        self.measure(&state);
        published
    }

    fn render_alarms(&self) -> Published {
        let mut board = self.board();
        let mut state = self.state();
        let published = board.render_alarms(&mut state);
        self.measure(&state);
        published
    }

    /// Makes what was rendered durable, then sends it. Without the journal nothing is sent, and every stream ends.
    async fn journal_and_send(&self, journal: Option<PictureFiles>) -> Option<PictureFiles> {
        let now_ms = self.now_ms();
        let entries = self.board().take_pending(now_ms);
        if entries.is_empty() {
            return journal;
        }
        self.be_slow(&entries).await;
        let settings = self.settings.clone();
        let written = self.spool.off_runtime(move || {
            let mut files = journal.map_or_else(|| settings.pictures(), Ok)?;
            let committed = files.commit(now_ms, entries)?;
            Ok((files, committed))
        });
        match written.await.flatten() {
            Ok((mut files, committed)) => {
                let board = &mut self.board();
                self.metrics.live.pages_lagged.inc_by(board.send(&committed));
                if files.wants_keyframe() {
                    board.renew_keyframe();
                }
                self.retired().extend(files.take_retired());
                let head = files.head();
                self.journalled.send_modify(|journal| journal.head = head);
                Some(files)
            }
            Err(error) => {
                tracing::error!(%error, "the picture journal cannot be written: every live page is ended");
                self.board().journal_failed();
                self.journalled.send_modify(|journal| journal.failures += 1);
                None
            }
        }
    }

    /// Does nothing unless the gateway is broken on purpose.
    async fn be_slow(&self, entries: &[Entry]) {
        if sabotage::is(Sabotage::SlowAlarmJournal) {
            let alarms =
                entries.iter().filter(|entry| matches!(entry, Entry::Change(_, Change::Alarm { .. })));
            tokio::time::sleep(Duration::from_millis(100) * u32::try_from(alarms.count()).unwrap_or(1)).await;
        }
        while sabotage::is(Sabotage::WaitForSlowest) && self.board().is_anybody_behind() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn measure(&self, state: &super::state::State) {
        let metrics = &self.metrics.live;
        metrics.units.set(i64::try_from(state.units_count()).unwrap_or(i64::MAX));
        let unacknowledged = i64::try_from(state.alarms.unacknowledged_count()).unwrap_or(i64::MAX);
        metrics.alarms_unacknowledged.set(unacknowledged);
    }

    fn count(&self, published: &Published) {
        let metrics = &self.metrics.live;
        if self.is_rebuilding.load(Ordering::Acquire) {
            return;
        }
        let now_ms = self.now_ms();
        for received_at_ms in &published.received_at_ms {
            metrics.publish_to_page_s.observe(seconds(now_ms.saturating_sub(*received_at_ms)));
        }
        for waited_ms in &published.acknowledged_after_ms {
            metrics.acknowledge_s.observe(seconds(*waited_ms));
        }
    }

    pub(super) fn count_pages(&self) {
        let pages = self.board().pages_count();
        self.metrics.live.pages.set(i64::try_from(pages).unwrap_or(i64::MAX));
    }

    fn sweep(&self) {
        let mut board = self.board();
        let mut state = self.state();
        let forgotten = state.sweep(self.now_ms(), self.settings.forget_after_ms);
        drop(state);
        board.forget(forgotten);
    }

    fn render_gateway(&self) {
        let view = self.gateway_view();
        let watch = self.watch();
        let mut board = self.board();
        board.render_gateway(&view);
        board.render_watch(&watch);
        drop(board);
        self.count_pages();
    }

    pub(super) fn gateway_view(&self) -> GatewayView {
        let committed = *self.spool.committed_watch().borrow();
        let mut degraded = (self.settings.degraded)();
        let mut blind = Vec::new();
        let mut hides = |is_so: bool, words: String| blind.extend(is_so.then_some(words));
        let state = self.state();
        hides(
            self.is_rebuilding.load(Ordering::Acquire),
            "Rebuilding: the picture is not complete yet".to_owned(),
        );
        let not_shown = state.alarms.not_shown_count();
        hides(
            not_shown > 0,
            format!("{not_shown} alarms are not shown: the queue is full, acknowledge some"),
        );
        let refused = state.refused_count() > 0;
        hides(refused, format!("More than {} units report: some are not shown", self.settings.units_max));
        hides(
            self.has_stopped.load(Ordering::Relaxed),
            "This page has stopped: new alarms are NOT shown. Restart the gateway".to_owned(),
        );
        degraded.extend(blind.iter().cloned());
        if committed.health == Health::Full {
            // In `degraded` it stands in other words already.
            blind.push("New positions: the spool is full and devices keep them. Alarms are shown".to_owned());
        }
        if self.snapshot_fails.load(Ordering::Relaxed) {
            degraded.push("The alarm queue cannot be saved: check the data directory".to_owned());
        }
        if !state.repeaters().is_empty() {
            // No unit's name: this goes to everybody, whatever their forces. The ledger names them, to who sees them.
            let count = state.repeaters().len();
            degraded.push(format!(
                "Security: {count} devices use record numbers twice. Wiped, or their keys are copied: the ledger (`repeated`) names them, enrol them anew"
            ));
        }
        let devices_connected = state.connected_count();
        drop(state);
        GatewayView {
            spool: committed.health,
            devices_connected,
            records_total: committed.committed.0,
            degraded,
            blind,
        }
    }

    /// Receipts that a connected device still has to confirm and that are not under way.
    fn receipts_owed(&self, sent: &BTreeSet<Owed>) -> Vec<Owed> {
        let state = self.state();
        let owed = state.alarms.receipts_owed();
        let is_reached = |unit: &UnitId| state.is_connected(unit) || self.devices.is_behind_broker(unit);
        owed.filter(|owed| !sent.contains(owed) && is_reached(&owed.0.unit)).collect()
    }

    /// A receipt has been handed to its device's connection, for the first time or again: when it was the first time.
    fn told(&self, owed: &Owed) -> u64 {
        let now_ms = self.now_ms();
        let mut state = self.state();
        state.alarms.told(owed, now_ms);
        self.announce_alarms(&state);
        let told_ms = state.alarms.find(&owed.0).and_then(|alarm| alarm.standing.told_ms);
        told_ms.filter(|_| owed.1 == Receipt::Seen).unwrap_or(now_ms)
    }

    /// The text of a snapshot if one is due, or `is_wanted` and something has come since the last; notes in `written` what it holds.
    fn snapshot_due(&self, written: &mut Option<(u64, Lsn)>, is_wanted: bool) -> Option<Vec<u8>> {
        let state = self.state();
        let (revision, lsn) = (state.alarms.revision(), state.alarms.folded());
        let is_due = match *written {
            None => lsn > Lsn(0),
            Some((known, at)) => {
                revision != known || lsn.0 >= at.0 + SNAPSHOT_RECORDS || (is_wanted && lsn > at)
            }
        };
        if !is_due {
            return None;
        }
        *written = Some((revision, lsn));
        Some(snapshot::render(&state.alarms))
    }

    async fn write_snapshot(&self, text: Vec<u8>) -> bool {
        let (disk, data_dir) = (Arc::clone(&self.settings.disk), self.settings.data_dir.clone());
        let outcome =
            self.spool.off_runtime(move || snapshot::write(&*disk, &data_dir, &text)).await.flatten();
        let failed_before = self.snapshot_fails.swap(outcome.is_err(), Ordering::Relaxed);
        match &outcome {
            Err(error) if !failed_before => {
                tracing::error!(%error, "the alarm snapshot cannot be written; a restart will replay more records");
            }
            Ok(()) if failed_before => tracing::info!("the alarm snapshot is written again"),
            _ => {}
        }
        outcome.is_ok()
    }
}

fn seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}
