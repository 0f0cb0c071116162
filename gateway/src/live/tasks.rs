//! What is rendered, journalled and sent, and which devices are connected. Each task owns one thing and ends on shutdown.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Hub;
use super::board::Published;
use super::devices::{Connection, Connections};
use super::frames::Change;
use super::view::GatewayView;
use crate::audit::pictures::{Entry, PictureFiles};
use crate::sabotage::{self, Sabotage};
use crate::spool::Health;

/// Pages hear of units at most four times a second.
const RENDER_MS: u64 = 250;
/// Renderings between two looks for stale units: every second.
const SWEEP_TICKS: u64 = 4;
/// Renderings between two words about the gateway: every two seconds.
const GATEWAY_TICKS: u64 = 8;
/// Renderings between two words about units that were forgotten: a minute. They were silent for a day.
const FORGOTTEN_TICKS: u64 = 240;
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

impl Hub {
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
        let unacknowledged = i64::try_from(state.shown().unacknowledged_count()).unwrap_or(i64::MAX);
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
}

fn seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}
