//! The spool: the durable store every record passes through, and the point where custody passes to the gateway.
//!
//! **An entry is committed when the fdatasync that covers it has returned; only then may its sender be told.** An entry
//! that is committed is handed to every reader unchanged and in order, or named in a [`Gap`]: nothing is lost silently.
//! Where the spool cannot commit it stops ([`Health::Full`], [`Health::Failed`]); it never falls back to memory.
//!
//! ```text
//! append -+                  one thread            one pwrite + one fdatasync
//! append -+-> pending batch ----------> writer ------------------------------> segment (active)
//! append -+   (bounded: appends wait)     |                                       |
//!                                         +-- publishes CommitState (watch) --+   |
//!                                                                             v   v
//! sink <- forwarder <- Reader (committed entries only) <---- tail (memory), else ----+ segments (sealed)
//!            |                                                                          |
//!            +--> Cursor (durable) ----> keeper: retires what every cursor has passed <-+
//!                                          |        and keeps zero-filled spares
//!                                          +------> spare files (the reserve among them)
//! ```
//!
//! # Bounds
//! | what | bound |
//! |---|---|
//! | memory | two batches of `pending_bytes_max`, `tail_bytes_max`, and a window of 64 KiB for each reader of files |
//! | a [`Batch`] while somebody has it | for each entry the run (48 KiB and one entry, and its records decoded) or window (64 KiB, or one entry) it lies in, each once: few entries from far apart hold far more than their bytes |
//! | disk | `bytes_max`, spares included; never exceeded, not even for alarms |
//! | archive | `archive_bytes_max`; when it is reached segments stay |
//! | one payload | [`PAYLOAD_BYTES_MAX`], and less than `pending_bytes_max` |
//! | time to open | one segment read, one header page per further segment |
//!
//! # Files (format version 1; integers little-endian)
//! ```text
//! DIR/lock                          held by the gateway that has the spool open
//! DIR/00000000000000000001.seg      a segment; its name is the LSN of its first entry
//! DIR/spare-000007.free             zero-filled, to become a segment
//! DIR/spare-000008.used             retired, not erased yet: its stale records must never be taken for entries
//! DIR/spare-000009.tmp              being filled; removed at the next open
//! DIR/cursors/NAME.cursor           see `cursor.rs`
//! DIR/archive/BASE.arc              what is kept of the segment BASE after it went, see `archive.rs`
//!
//! segment: allocated, zero-filled and synced before its first entry, so a commit changes neither size nor extents
//! +--------+---------------------------------------------------------------------+
//! | 0      | header, 64 bytes     (copy at 2048: one bad sector costs nothing)    |
//! |        |   magic "FPSPOOL\n" 8 | version u16 | flags u16 (1 = recycled)       |
//! |        |   crc32c u32 of the 64 bytes with this field zero                   |
//! |        |   base LSN u64 | epoch u64 | file length u64 | created, unix ms u64 |
//! |        |   zeros to 64                                                       |
//! | 4096   | batch | batch | batch ...                                           |
//! | ...    | zeros, or in a recycled segment whatever was there                  |
//! +--------+---------------------------------------------------------------------+
//!
//! batch = one group commit                    record = one entry
//! +----+-----------------------------+        +----+------------------------------+
//! | 0  | magic "FPB1"                |        | 0  | crc32c of 4.. (seeded)       |
//! | 4  | crc32c of 8..32 (seeded)    |        | 4  | payload length u24, class u8 |
//! | 8  | LSN of its first record u64 |        | 8  | LSN u64                      |
//! | 16 | written, unix ms u64        |        | 16 | payload                      |
//! | 24 | records u32, bytes u32      |        +----+------------------------------+
//! | 32 | records, back to back       |
//! +----+-----------------------------+
//! ```
//! - **Epoch**: random, new each time a file becomes a segment. `crc32c(epoch)` seeds every checksum in the segment, so
//!   a recycled file's old records fail theirs, and a device cannot place a false record inside its payload.
//! - **Damage in the middle**: a record's checksum covers its length and LSN. Where it fails, the walk looks byte by byte
//!   for the next intact frame with a later LSN; the numbers in between are the loss, one record for one flipped byte.
//!   The numbers are dense, so a segment's end is known from the next one's base, and nothing after damage is dropped.
//! - **Torn tail**: only the last batch can be unfinished, as the next is written after the sync. At the end of the last
//!   segment, where no intact frame follows, the log ends after the last intact record. What the batch header promised
//!   beyond is reported ([`TornTail`]) and its numbers are used again: they were never acknowledged. If a sector inside
//!   the last batch is lost while later ones are intact, the later records are kept and the hole is reported as damage,
//!   though it may never have been acknowledged: a false alarm is better than a silent loss.
//! - **Numbers are never used twice for what a sink has seen**: if a cursor is ahead of the log, the log jumps over.
//! - **Failed fsync**: the kernel may have dropped the pages and marked them clean. It is never tried again; opening anew
//!   reads what is there, writes the tail again and syncs it before it counts as committed.
//! - **A rename is synced before the file is used under its new name**, so no name ever shows another segment's bytes.
//! - Checksums are CRC32C: every burst up to 32 bits is found, other damage with 1 - 2^-32. It is no protection
//!   against a person who can write the disk.
//!
//! # Full
//! Spares are real files. `reserve_bytes` of them are kept for [`EntryClass::Alarm`] and `Internal`: when neither
//! retirement nor a new file can replace a used spare (`bytes_max`, or the disk is full), other classes wait and the
//! health is [`Health::Full`]. When the reserve is used up too, the writer keeps its batch and waits. Nothing
//! undelivered is ever deleted to make room.

mod archive;
mod archive_file;
mod batch;
mod crew;
mod cursor;
mod disk;
pub mod faulty;
mod format;
#[cfg(feature = "fuzz-doors")]
pub mod fuzz_door;
mod inspect;
mod keep;
mod keeper;
mod log;
mod reader;
mod reading;
mod recovery;
mod run;
mod settings;
mod shared;
mod tail;
mod writer;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::watch;

pub use archive::ArchiveStats;
pub use batch::{Batch, BatchLimits, Entry, Gap, GapReason, Wanted};
pub use crew::Crew;
pub use cursor::{Cursor, LanePlaces, LanePositions};
pub use disk::{DirLock, Disk, DiskFile, RealDisk};
pub(crate) use disk::{read_full_at, write_all_at};
pub use format::PAYLOAD_BYTES_MAX;
pub use inspect::{
    ArchiveVerdict, ExportSummary, ExportedEntry, Listing, SegmentListing, SegmentVerdict, Verification,
    export, export_on, lanes, ls, ls_on, verify, verify_on, walk_archive,
};
pub use keep::{Keep, Pass, Verdict};
pub use reader::{ReadError, Reader};
pub use recovery::{RecoveryReport, TornTail};
pub use settings::{Clock, SpoolSettings};
pub use shared::{CursorStats, SpoolStats};
pub use writer::Wait;

use shared::{Handle, Shared};

/// Log sequence number: the place of an entry in the spool. Dense; the first entry is 1, and 0 means "before any".
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Lsn(pub u64);

impl Lsn {
    /// The number after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What kind of entry it is, as far as the spool cares: who may use the reserve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum EntryClass {
    /// Alarm or cancel: may use the reserve.
    Alarm = 1,
    /// Newest state of a device.
    Live = 2,
    /// History a device kept through an outage.
    Backlog = 3,
    /// Written by the gateway itself (acknowledgement, loss record): few, small, may use the reserve. What the rules found is not
    /// few: `live` appends it only while the health is [`Health::Ok`].
    Internal = 4,
}

impl EntryClass {
    /// How many there are.
    pub(crate) const COUNT: usize = Self::ALL.len();
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Alarm, Self::Live, Self::Backlog, Self::Internal];

    /// Its place among them.
    pub(crate) fn index(self) -> usize {
        self as usize - 1
    }

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|&class| class as u8 == byte)
    }

    /// True if entries of this class are admitted when only the reserve is left.
    pub fn may_use_reserve(self) -> bool {
        matches!(self, Self::Alarm | Self::Internal)
    }
}

/// Whether the spool takes entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Commits flow.
    Ok,
    /// No space (disk, quota or `bytes_max` with undelivered entries). Nothing is lost and nothing acknowledged that
    /// is not committed; while the reserve lasts, alarms still commit. Goes back to `Ok` by itself.
    Full,
    /// A write or fsync failed. Final for this open spool: close it, look at the disk, open again.
    Failed,
}

/// What the watch of [`Spool::committed_watch`] tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitState {
    /// Every entry up to this one is durable.
    pub committed: Lsn,
    /// The last entry of the newest commit that held one which must not wait: an alarm, or what the gateway itself says.
    pub urgent: Lsn,
    /// Whether more will follow.
    pub health: Health,
    /// The reserve is used up too: a batch waits for space, and not even an alarm is stored.
    pub stalled: bool,
    /// True once the spool was closed.
    pub closed: bool,
}

/// Why the spool refuses. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The settings contradict each other.
    #[error("spool settings: {problem}")]
    Settings {
        /// Which rule is broken.
        problem: &'static str,
    },
    /// Another gateway has the directory.
    #[error("the spool in {} is in use by another process: stop that gateway, or configure another directory", dir.display())]
    Locked {
        /// The spool's directory.
        dir: PathBuf,
    },
    /// Storage refused.
    #[error("cannot {action} {}: {source}; check the disk, its mount and the directory's owner", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A later release wrote this file.
    #[error("{} has format version {version}, this release reads version 1: run the release that wrote it, or drain the spool with it first", path.display())]
    NewerFormat {
        /// The segment.
        path: PathBuf,
        /// Its version.
        version: u16,
    },
    /// The payload cannot be stored.
    #[error("an entry of {bytes} bytes is over the limit of {bytes_max}: refuse the message it came from")]
    TooLarge {
        /// Payload length.
        bytes: usize,
        /// Largest payload these settings take.
        bytes_max: usize,
    },
    /// See [`Health::Failed`].
    #[error(
        "the spool's storage failed and nothing is accepted any more: check the disk, then restart the gateway"
    )]
    Failed,
    /// The spool was closed.
    #[error("the spool is closed: the gateway is shutting down")]
    Closed,
    /// A cursor's name is also a file name.
    #[error(
        "cursor name {name:?} is not 1 to 64 of the characters A-Z a-z 0-9 . _ -, or starts with a dot: rename the sink"
    )]
    CursorName {
        /// The refused name.
        name: String,
    },
    /// One cursor has one owner.
    #[error("cursor {name:?} is already open: give every sink its own name")]
    CursorInUse {
        /// The cursor.
        name: String,
    },
    /// A cursor cannot pass what is not committed.
    #[error("cursor {name:?} cannot advance to {to}: only entries up to {committed} are committed")]
    CursorAhead {
        /// The cursor.
        name: String,
        /// The refused position.
        to: Lsn,
        /// The newest committed entry.
        committed: Lsn,
    },
}

/// Why [`Spool::try_append`] did not take an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TryAppendError {
    /// No room now; wait with [`Spool::append`] or leave the entry with its sender.
    #[error("the spool has no room now ({0:?}): do not acknowledge, try again later")]
    Full(FullReason),
    /// The payload cannot be stored, now or later.
    #[error("an entry of {bytes} bytes is over the limit of {bytes_max}")]
    TooLarge {
        /// Payload length.
        bytes: usize,
        /// Largest payload these settings take.
        bytes_max: usize,
    },
    /// See [`Health::Failed`].
    #[error("the spool's storage failed: check the disk, then restart the gateway")]
    Failed,
    /// The spool was closed.
    #[error("the spool is closed")]
    Closed,
}

/// What there is no room in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FullReason {
    /// The pending batch is at its bound: the writer is behind.
    Pending,
    /// Only the reserve is left, and this class may not use it.
    Reserve,
}

/// An open spool. Clones share it; the last clone's drop commits what is pending in the background and closes it
/// ([`Spool::close`] waits for that).
#[derive(Clone)]
pub struct Spool {
    handle: Arc<Handle>,
}

impl Spool {
    /// Opens or creates the spool in `dir`. Blocking; scans the last segment only. Starts two threads (writer, keeper).
    ///
    /// # Errors
    /// Contradicting settings, a locked directory, storage errors, a newer format. Damage is not an error: it is
    /// in the [`RecoveryReport`].
    pub fn open(
        dir: &Path,
        settings: SpoolSettings,
        disk: Arc<dyn Disk>,
    ) -> Result<(Self, RecoveryReport), SpoolError> {
        let (shared, work, report) = Shared::open(dir, settings, disk, false)?;
        let writer = writer::start(Arc::clone(&shared), work.active, work.dir_lock)?;
        Ok((Self::of(shared, Some(writer)), report))
    }

    /// [`Spool::open`] without threads: the [`Crew`] does the writer's and the keeper's work when its owner says so, and
    /// readers and cursors do theirs in their caller's thread. For tests under virtual time.
    ///
    /// # Errors
    /// As [`Spool::open`].
    pub fn open_by_hand(
        dir: &Path,
        settings: SpoolSettings,
        disk: Arc<dyn Disk>,
    ) -> Result<(Self, Crew, RecoveryReport), SpoolError> {
        let (shared, work, report) = Shared::open(dir, settings, disk, true)?;
        let crew = Crew::new(Arc::clone(&shared), work);
        Ok((Self::of(shared, None), crew, report))
    }

    fn of(shared: Arc<Shared>, writer: Option<std::thread::JoinHandle<()>>) -> Self {
        Self { handle: Arc::new(Handle::new(shared, writer)) }
    }

    /// Copies an entry into the pending batch and returns its number. **Durable only once
    /// [`CommitState::committed`] reaches it.** Waits while there is no room for its class.
    ///
    /// Cancel-safe: a cancelled append took nothing.
    ///
    /// # Errors
    /// [`SpoolError::TooLarge`], [`SpoolError::Failed`], [`SpoolError::Closed`].
    pub async fn append(&self, class: EntryClass, payload: &[u8]) -> Result<Lsn, SpoolError> {
        self.handle.shared.append(class, payload).await
    }

    /// [`Spool::append`] without waiting.
    ///
    /// # Errors
    /// [`TryAppendError::Full`] where `append` would wait, else as `append`.
    pub fn try_append(&self, class: EntryClass, payload: &[u8]) -> Result<Lsn, TryAppendError> {
        self.handle.shared.try_append(class, payload)
    }

    /// The newest durable entry, [`Lsn`] 0 if none.
    pub fn committed(&self) -> Lsn {
        self.handle.shared.watch.borrow().committed
    }

    /// No entry of `class` is after this one, committed or not.
    #[must_use]
    pub fn newest_of(&self, class: EntryClass) -> Lsn {
        self.handle.shared.newest_of(class)
    }

    /// Changes whenever a batch was committed or the health changed.
    pub fn committed_watch(&self) -> watch::Receiver<CommitState> {
        self.handle.shared.watch.subscribe()
    }

    /// Waits until the storage has failed; for ever if the spool is closed in order. Costs nothing at a commit, unlike
    /// [`Spool::committed_watch`]. Cancel-safe.
    pub async fn failed(&self) {
        let mut news = self.handle.shared.news.subscribe();
        while self.handle.shared.watch.borrow().health != Health::Failed {
            // Fails only if the sender is gone, and we hold it.
            _ = news.changed().await;
        }
    }

    /// Waits until `lsn` is durable. Cancel-safe.
    ///
    /// # Errors
    /// [`SpoolError::Failed`] or [`SpoolError::Closed`] if it never will be.
    pub async fn wait_committed(&self, lsn: Lsn) -> Result<(), SpoolError> {
        let mut watch = self.committed_watch();
        let settled = watch
            .wait_for(|state| state.committed >= lsn || state.closed || state.health == Health::Failed)
            .await
            .map_err(|_| SpoolError::Closed)?;
        match *settled {
            state if state.committed >= lsn => Ok(()),
            state if state.health == Health::Failed => Err(SpoolError::Failed),
            _ => Err(SpoolError::Closed),
        }
    }

    /// A reader whose first entry is `from` (or the earliest kept after it, with a [`Gap`]). Readers hold nothing back:
    /// only cursors do.
    pub fn reader(&self, from: Lsn) -> Reader {
        Reader::new(Arc::clone(&self.handle.shared), from)
    }

    /// Opens the durable cursor `name`; a new one starts before the earliest kept entry. Blocking (small files).
    ///
    /// # Errors
    /// A bad name, a cursor that is already open, storage errors.
    pub fn cursor(&self, name: &str) -> Result<Cursor, SpoolError> {
        Cursor::open(Arc::clone(&self.handle.shared), name)
    }

    /// Removes the cursor of a sink that will not come back, so that it no longer holds segments. Blocking.
    ///
    /// # Errors
    /// A bad name, a cursor that is open, storage errors. A cursor that does not exist is fine.
    pub fn retire_cursor(&self, name: &str) -> Result<(), SpoolError> {
        cursor::retire(&self.handle.shared, name)
    }

    /// The bound of the pending batch, which all who append share.
    pub fn pending_bytes_max(&self) -> usize {
        self.handle.shared.settings.pending_bytes_max
    }

    /// Runs what reads or writes files where this spool runs such: on a thread of its own, or here if it is worked by hand.
    ///
    /// # Errors
    /// The work panicked, or the runtime is shutting down.
    pub(crate) async fn off_runtime<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        self.handle.shared.off_runtime(work).await
    }

    /// Figures for metrics and the health page. Cheap.
    pub fn stats(&self) -> SpoolStats {
        self.handle.shared.stats()
    }

    /// Applies retention and refills the spare segments now instead of within a second. Waits until that is done.
    pub async fn tend(&self) {
        self.handle.shared.tend_now().await;
    }

    /// Commits what is pending, stops the threads and unlocks the directory. Later calls on clones fail with `Closed`.
    /// If the disk is full, what is pending was never acknowledged and is dropped.
    pub async fn close(&self) {
        self.handle.close().await;
    }
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool")
            .field("dir", &self.handle.shared.dir)
            .field("state", &*self.handle.shared.watch.borrow())
            .finish()
    }
}
