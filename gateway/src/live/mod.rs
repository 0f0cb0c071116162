//! The live half of the gateway: what is true now, and who is looking at it.
//!
//! ```text
//!         lanes ahead, over what is folded
//!       .----------------------------.
//!       |   own reader, in order   fold          4/s, rendered once         bounded queues
//! SPOOL =====================> State =================> Board ======================> pages (SSE)
//!   ^                            |                  '-- picture journal, fsynced (crate::audit::pictures)
//!   |                            '-- alarms --> snapshot file, SEEN to the wearer
//!   '-- Acknowledged <-- operator
//! ```
//!
//! **One direction: nothing is shown that is not committed**, an operator's acknowledgement included. Nothing here can
//! delay a device: the reader has no say over the spool, and a page none over the reader.
//!
//! At start the state is rebuilt in the background from the spool's tail (at most [`Settings::tail_records_max`]
//! records, or from the alarm snapshot if that is older); until then the page says that it is rebuilding.
//!
//! Bounds: [`Settings::units_max`] units of about 1 KiB (50 MB at 50,000), 16,384 alarms of about 0.8 KiB rendered,
//! [`board::PAGES_MAX`] pages with 1 MiB each.

pub mod board;
pub mod cursor;
pub mod devices;
pub mod fanout;
pub mod fold;
pub mod frames;
pub mod gaps;
pub mod metrics;
pub mod order;
pub mod report;
pub mod standing;
pub mod state;
pub mod unit;
pub(crate) mod unit_map;
pub mod view;

mod acknowledge;
mod ahead;
mod clock;
mod keep;
#[cfg(test)]
mod lanes_claims;
mod read;
mod receipts;
mod ring;
mod start;
mod tasks;
mod told;
mod verdicts;

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, watch};

pub use acknowledge::{AcknowledgeError, ActError};
pub(crate) use start::CURSOR_NAME;
pub use start::{Running, Task, prepare, start};

use self::board::{Board, Opening};
use self::devices::Devices;
use self::order::ClockBounds;
use self::state::State;
use self::view::GatewayView;
use crate::alarms::Watch;
use crate::alarms::rules::Rules;
use crate::audit::line::StreamNote;
use crate::audit::pictures::{Keep, PICTURES_DIR, PictureFiles, PictureHead, Retired};
use crate::audit::{Holds, NotShown, Subjects, Unseen};
use crate::config::roster::Roster;
use crate::metrics::Metrics;
use crate::people::{Forces, Wearers};
use crate::spool::{Disk, Lsn, RealDisk, Spool};

/// Unix milliseconds, given by the caller so that a test can turn the clock.
pub type NowMs = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Says in words what else does not work as it should; asked every two seconds.
pub type DegradedReport = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

/// Says who watches a force, or all together: asked four times a second.
pub type Watching = Arc<dyn Fn(Option<&fieldpost_protocol::ForceId>) -> Watch + Send + Sync>;

/// Bounds and places of the live half.
#[derive(Clone)]
pub struct Settings {
    /// Where the alarm snapshot lives.
    pub data_dir: PathBuf,
    /// On which disk.
    pub disk: Arc<dyn Disk>,
    /// How far a device's clock is believed.
    pub clock_bounds: ClockBounds,
    /// Most units kept.
    pub units_max: usize,
    /// Most records read from the spool's tail at start.
    pub tail_records_max: u64,
    /// A unit that is not connected, has no alarm and was silent so long leaves the page.
    pub forget_after_ms: u64,
    /// How long an alarm that a person closed is kept, ms; `None`: as long as there is room.
    pub closed_kept_ms: Option<u64>,
    /// How much of the picture journal is kept.
    pub keep_pictures: Keep,
    /// How long an operator's acknowledgement may take to be committed before they are told so.
    pub acknowledge_ms_max: u64,
    /// Who wears which device.
    pub wearers: Wearers,
    /// The alarm rules.
    pub rules: Arc<Rules>,
    /// Who watches; every open page if `None`.
    pub watching: Option<Watching>,
    /// The wall clock.
    pub now_ms: NowMs,
    /// What the rest of the gateway has to say.
    pub degraded: DegradedReport,
}

impl Settings {
    /// The defaults, for a force of up to 50,000 devices.
    #[must_use]
    pub fn new(data_dir: PathBuf) -> Self {
        Self {
            data_dir,
            disk: Arc::new(RealDisk),
            clock_bounds: ClockBounds::default(),
            units_max: 50_000,
            // Two minutes of the busiest force, read in about a second.
            tail_records_max: 200_000,
            forget_after_ms: 24 * 3_600_000,
            closed_kept_ms: None,
            keep_pictures: Keep::default(),
            acknowledge_ms_max: 10_000,
            wearers: Wearers::default(),
            rules: Rules::built_in(),
            watching: None,
            now_ms: Arc::new(system_now_ms),
            degraded: Arc::new(Vec::new),
        }
    }

    /// Opens the picture journal.
    fn pictures(&self) -> std::io::Result<PictureFiles> {
        PictureFiles::open(Arc::clone(&self.disk), self.data_dir.join(PICTURES_DIR), self.keep_pictures)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("data_dir", &self.data_dir).finish_non_exhaustive()
    }
}

/// The system's wall clock, Unix milliseconds.
#[must_use]
pub fn system_now_ms() -> u64 {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since_epoch.map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}

/// The live picture. Clones share it.
#[derive(Clone)]
pub struct Live {
    hub: Arc<Hub>,
}

struct Hub {
    settings: Settings,
    spool: Spool,
    devices: Arc<dyn Devices>,
    metrics: Arc<Metrics>,
    /// Locked before `state` where both are needed.
    board: Mutex<Board>,
    state: Mutex<State>,
    /// The newest record folded.
    folded: watch::Sender<Lsn>,
    /// Everything of alarms up to here is shown, folded or ahead of that.
    shown: watch::Sender<Lsn>,
    /// Counts changes of the alarm queue.
    alarms_revision: watch::Sender<u64>,
    /// Somebody looks at a picture that the journal may not have.
    journal_wanted: Notify,
    journalled: watch::Sender<Journalled>,
    /// Files of the picture journal that were removed, for the access record.
    retired: Mutex<Vec<Retired>>,
    /// The rules that are to be in force.
    rules: watch::Sender<Arc<Rules>>,
    /// A device has connected: receipts may be owed to it.
    device_connected: Notify,
    is_rebuilding: AtomicBool,
    snapshot_fails: AtomicBool,
    /// The reader ended although the gateway runs: new alarms are not shown.
    has_stopped: AtomicBool,
}

/// How far the picture journal is.
#[derive(Debug, Clone, Copy)]
struct Journalled {
    head: PictureHead,
    /// Writings that failed since the start.
    failures: u64,
}

/// Whose live units and alarms somebody is shown who sees `forces`.
fn holds(forces: &Forces) -> Holds {
    Holds::live(match forces {
        Forces::All => Subjects::everyone(),
        Forces::These(forces) => Subjects::forces(forces.iter()),
    })
}

impl Hub {
    fn retired(&self) -> MutexGuard<'_, Vec<Retired>> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        // A panic while rendering leaves at worst one stale picture, replaced by the next.
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        (self.settings.now_ms)()
    }

    async fn wait_folded(&self, lsn: Lsn) {
        let mut folded = self.folded.subscribe();
        // Fails only if the hub is gone, and we hold it.
        _ = folded.wait_for(|folded| *folded >= lsn).await;
    }

    async fn wait_shown(&self, lsn: Lsn) {
        let mut shown = self.shown.subscribe();
        // As above.
        _ = shown.wait_for(|shown| *shown >= lsn).await;
    }

    /// Tells the tasks that wait for it if the alarm queue changed.
    fn announce_alarms(&self, state: &State) {
        let revision = state.shown().revision();
        self.alarms_revision.send_if_modified(|known| std::mem::replace(known, revision) != revision);
    }
}

impl Live {
    /// Every unit of `forces` as the API answers it. At most 250 ms old.
    pub fn units(&self, forces: &Forces) -> Unseen<Bytes> {
        let (n, units) = self.hub.board().units(forces, self.hub.now_ms());
        self.hub.journal_wanted.notify_one();
        Unseen::new(units, holds(forces)).of_picture(n)
    }

    /// Every alarm of `forces` as the API answers it, up to date.
    pub fn alarms(&self, forces: &Forces) -> Unseen<Bytes> {
        let mut board = self.hub.board();
        let mut state = self.hub.state();
        board.render_alarms(&mut state);
        drop(state);
        let (n, alarms) = board.alarms(forces, self.hub.now_ms());
        drop(board);
        self.hub.journal_wanted.notify_one();
        Unseen::new(alarms, holds(forces)).of_picture(n)
    }

    /// Opens a page for who sees `forces`: its first frames, and what changes from then on, after the change `cursor` if that
    /// can be. With it comes how it opened, for the access record. `None` if too many are open.
    pub fn open_page(&self, forces: &Forces, cursor: Option<u64>) -> Option<(StreamNote, Unseen<Opening>)> {
        let opening = self.hub.board().open(forces, holds(forces), cursor);
        self.hub.journal_wanted.notify_one();
        self.hub.count_pages();
        let opening = opening?;
        let (n, resumed_after, lagged_from) = (opening.n, opening.resumed_after, opening.lagged_from);
        let opened_at = Some(resumed_after.unwrap_or(n));
        let note = StreamNote { opened_at, resumed_after, lagged_from, ..StreamNote::default() };
        Some((note, Unseen::new(opening, holds(forces)).of_picture(n)))
    }

    /// Returns once the picture number `n` is durable in the journal. Cancel-safe.
    ///
    /// # Errors
    /// It cannot be written: nothing of it may be shown.
    pub async fn wait_journalled(&self, n: u64) -> Result<(), NotShown> {
        let mut journalled = self.hub.journalled.subscribe();
        let failures = journalled.borrow().failures;
        let outcome = journalled.wait_for(|now| now.head.n >= n || now.failures > failures).await;
        match outcome {
            Ok(now) if now.head.n >= n => Ok(()),
            _ => Err(NotShown::NotWritten),
        }
    }

    /// The newest durable batch of the picture journal: an anchor for the access record.
    #[must_use]
    pub fn picture_head(&self) -> PictureHead {
        self.hub.journalled.borrow().head
    }

    /// Where the record of looks and the picture journal are.
    #[must_use]
    pub fn data_dir(&self) -> &std::path::Path {
        &self.hub.settings.data_dir
    }

    /// Files of the picture journal that were removed since the last call.
    #[must_use]
    pub fn take_retired_pictures(&self) -> Vec<Retired> {
        std::mem::take(&mut *self.hub.retired())
    }

    /// The names of today.
    #[must_use]
    pub fn roster(&self) -> Arc<Roster> {
        Arc::clone(self.hub.state().roster())
    }

    /// Who wears which device.
    #[must_use]
    pub fn wearers(&self) -> &Wearers {
        &self.hub.settings.wearers
    }

    /// Takes a new roster.
    pub fn rename(&self, roster: Arc<Roster>) {
        self.hub.state().rename(roster);
    }

    /// From now on alarms are judged by `rules`, as soon as a record has said so.
    pub fn judge_by(&self, rules: Arc<Rules>) {
        self.hub.rules.send_replace(rules);
    }

    /// From now on device clocks are believed within `bounds`.
    pub fn believe_clocks(&self, bounds: ClockBounds) {
        self.hub.state().believe_clocks(bounds);
    }

    /// Whether the state is still being rebuilt from the spool.
    #[must_use]
    pub fn is_rebuilding(&self) -> bool {
        self.hub.is_rebuilding.load(std::sync::atomic::Ordering::Acquire)
    }

    /// What the page is told of the gateway.
    #[must_use]
    pub fn gateway(&self) -> GatewayView {
        self.hub.gateway_view()
    }

    /// The newest record that is committed; it may not be folded yet.
    #[must_use]
    pub fn committed(&self) -> Lsn {
        self.hub.spool.committed()
    }

    /// Unix milliseconds by the gateway's clock.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.hub.now_ms()
    }

    /// The metrics that everything here counts in.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.hub.metrics
    }

    /// Waits until the record at `lsn` is folded. Cancel-safe. For tests and acknowledgements.
    pub async fn wait_folded(&self, lsn: Lsn) {
        self.hub.wait_folded(lsn).await;
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("rebuilding", &self.is_rebuilding()).finish_non_exhaustive()
    }
}
