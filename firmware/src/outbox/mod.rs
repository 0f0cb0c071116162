//! The outbox: every record from the moment it has a sequence until the gateway has STORED it.
//!
//! ```text
//!  issue -> storage --+-- alarm ---+
//!                     +-- live  ---+--> window (in flight) --STORED--> removed
//!                     +-- health --+           |
//!                     +-- backlog -+ <--- connection lost: everything unanswered is owed again
//! ```
//!
//! **Nothing leaves but by STORED or by name.** A record is removed when the gateway answered for it, or when it was
//! evicted and a loss record that names it is already in storage. A record that finds no room and nothing to evict is
//! refused before it gets a sequence.
//!
//! **The ledger balances**: owed at start + issued = stored + lost + owed. A sequence named lost may have arrived all the
//! same (its receipt was on the way when the connection broke): then stored wins.

mod evict;
mod live;
mod ranges;
mod select;
mod window;

use fieldpost_protocol::{
    BootId, Class, ClockQuality, Envelope, Head, Lane, Mode, NamedRecord, Print, Seq, SeqRange,
    envelope::VERSION,
};

pub(crate) use self::select::Selected;
use self::{
    evict::Draft,
    live::{LiveLane, LiveRecord},
    ranges::Ranges,
    window::Window,
};
pub use self::{
    select::FrameBuffer,
    window::{Handle, WINDOW_COUNT_MAX},
};
use crate::{
    clock::Stamp,
    storage::{Damage, ENTRY_BYTES_MAX, Entry, Key, Note, Partition, Storage, StorageError},
};

/// Storage must hold this many entries: below it the quotas would be nothing.
pub const CAPACITY_COUNT_MIN: usize = 32;

/// Entries kept free for loss records and the second copy while one grows.
const LOSS_RESERVE_COUNT: usize = 4;

/// How many entries each partition may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Quotas {
    /// Alarms and cancellations.
    pub alarm_count_max: usize,
    /// Live and backlog together.
    pub routine_count_max: usize,
    /// Opt-in health.
    pub health_count_max: usize,
}

impl Quotas {
    /// An eighth for alarms and for health, at most 32 each; the rest is routine.
    #[must_use]
    pub fn for_capacity(capacity: usize) -> Self {
        let share = (capacity / 8).min(32);
        Self {
            alarm_count_max: share,
            health_count_max: share,
            routine_count_max: capacity.saturating_sub(2 * share + LOSS_RESERVE_COUNT),
        }
    }

    fn count_max(&self, partition: Partition) -> usize {
        match partition {
            Partition::Alarm => self.alarm_count_max,
            Partition::Routine => self.routine_count_max,
            Partition::Health => self.health_count_max,
        }
    }
}

/// Where every record of this start is, in records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Ledger {
    /// This start.
    pub boot: BootId,
    /// Records that earlier starts left behind.
    pub owed_at_start: u32,
    /// Records of this start: sequences 0 to `issued - 1`.
    pub issued: u32,
    /// Answered STORED.
    pub stored: u32,
    /// Named in a loss record, or about to be.
    pub lost: u32,
    /// Still in storage.
    pub owed: u32,
}

impl Ledger {
    /// Whether every record is in exactly one place.
    #[must_use]
    pub fn balances(&self) -> bool {
        u64::from(self.owed_at_start) + u64::from(self.issued)
            == u64::from(self.stored) + u64::from(self.lost) + u64::from(self.owed)
    }
}

/// What went otherwise than wished. Counters wrap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct OutboxCounters {
    /// Readings refused before they got a sequence: no room, nothing to evict.
    pub refused: u32,
    /// Calls of the storage that failed.
    pub storage_failures: u32,
    /// Entries that the storage lost, or that came back as no envelope and were removed.
    pub damaged: u32,
    /// Receipts for handles that are not in flight.
    pub receipts_unknown: u32,
    /// Publishes that the gateway answered with an error.
    pub publishes_refused: u32,
}

/// A record could not be issued. It has no sequence and leaves no hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum IssueError {
    /// No room, and nothing that may give way.
    Full,
    /// The storage failed.
    Storage,
    /// The body does not fit an entry.
    TooLong,
    /// All sequences of this start are used; restart for a new boot id.
    SequencesUsedUp,
}

impl core::fmt::Display for IssueError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Full => "no room, and nothing that may give way",
            Self::Storage => "the storage failed",
            Self::TooLong => "the body does not fit an entry",
            Self::SequencesUsedUp => "all sequences of this start are used",
        })
    }
}

impl core::error::Error for IssueError {}

/// The storage cannot serve as an outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum StartError {
    /// Fewer than [`CAPACITY_COUNT_MIN`] entries.
    StorageTooSmall,
    /// No boot id, or the entries cannot be read.
    Storage(StorageError),
}

impl core::fmt::Display for StartError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::StorageTooSmall => f.write_str("the storage holds too few entries"),
            Self::Storage(error) => write!(f, "the storage failed at start: {error}"),
        }
    }
}

impl core::error::Error for StartError {}

/// A record about to be issued.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Draught<'a> {
    pub(crate) class: Class,
    pub(crate) stamp: Stamp,
    pub(crate) body: &'a [u8],
}

/// The outbox. Owns the storage, this start's sequence and the window.
pub struct Outbox<S> {
    storage: S,
    quotas: Quotas,
    mode: Mode,
    boot: BootId,
    owed_at_start: u32,
    next_seq: u32,
    stored: u32,
    lost: u32,
    live: LiveLane,
    window: Window,
    draft: Option<Draft>,
    /// Outgrown copies of loss records that a failing storage did not remove: entries, but not records.
    copies_count: u32,
    /// Sequences of this start that a failing storage swallowed, until a loss record names them.
    swallowed: Ranges,
    /// What the storage lost of what it held, until a loss record says so.
    damage: Damage,
    /// Last key handed out by partition; everything up to it is in flight, held back or gone.
    cursors: [Option<Key>; 3],
    counters: OutboxCounters,
}

impl<S: Storage> Outbox<S> {
    /// Counts this start and takes over what earlier starts left.
    ///
    /// # Errors
    /// [`StartError`]; the device then runs without an outbox, which is to say not at all.
    pub fn start(mut storage: S, mode: Mode) -> Result<Self, StartError> {
        if storage.capacity() < CAPACITY_COUNT_MIN {
            return Err(StartError::StorageTooSmall);
        }
        let boot = storage.next_boot().map_err(StartError::Storage)?;
        let quotas = Quotas::for_capacity(storage.capacity());
        let mut outbox = Self {
            storage,
            quotas,
            mode,
            boot,
            owed_at_start: 0,
            next_seq: 0,
            stored: 0,
            lost: 0,
            live: LiveLane::default(),
            window: Window::default(),
            draft: None,
            copies_count: 0,
            swallowed: Ranges::new(),
            damage: Damage::default(),
            cursors: [None; 3],
            counters: OutboxCounters::default(),
        };
        outbox.settle_damage();
        outbox.drop_outgrown_losses();
        // A damaged entry found at start was owed, and is lost.
        outbox.owed_at_start = outbox.owed() + outbox.lost;
        Ok(outbox)
    }

    /// This start.
    #[must_use]
    pub fn boot(&self) -> BootId {
        self.boot
    }

    /// Where every record is.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        Ledger {
            boot: self.boot,
            owed_at_start: self.owed_at_start,
            issued: self.next_seq,
            stored: self.stored,
            lost: self.lost,
            owed: self.owed(),
        }
    }

    /// What went otherwise than wished.
    #[must_use]
    pub fn counters(&self) -> &OutboxCounters {
        &self.counters
    }

    /// Entries in use as a share of the routine quota, in percent.
    #[must_use]
    pub fn fill_pct(&self) -> u8 {
        let used = self.storage.count(Partition::Routine) * 100;
        u8::try_from(used / self.quotas.routine_count_max.max(1)).unwrap_or(100).min(100)
    }

    /// The storage, back from an outbox that ends: a restart takes over what it holds.
    #[must_use]
    pub fn into_storage(self) -> S {
        self.storage
    }

    /// The device's note, if the storage keeps one.
    pub(crate) fn read_note(&mut self) -> Option<Note> {
        let mut note = Note::new();
        match self.storage.read_note(&mut note) {
            Ok(found) => found.then_some(note),
            Err(_) => {
                self.count_failure();
                None
            }
        }
    }

    /// Replaces the device's note.
    pub(crate) fn write_note(&mut self, note: &Note) {
        if self.storage.write_note(note).is_err() {
            self.count_failure();
        }
    }

    /// Gives a record its sequence and keeps it.
    pub(crate) fn issue(&mut self, now_ms: u64, draught: &Draught<'_>) -> Result<Seq, IssueError> {
        let partition = partition_of(draught.class);
        let issued = self
            .make_room(partition, draught.stamp)
            .and_then(|()| self.name_swallowed(draught.stamp))
            .and_then(|()| self.say_damage(draught.stamp))
            .and_then(|()| self.push(partition, draught));
        match issued {
            Ok((seq, key)) => {
                self.enter_lane(now_ms, draught.class, key);
                Ok(seq)
            }
            Err(error) => {
                self.counters.refused = self.counters.refused.wrapping_add(1);
                Err(error)
            }
        }
    }

    /// The gateway STORED a frame. Returns which record it was if it travelled in the alarm lane.
    pub(crate) fn acknowledge(&mut self, handle: Handle) -> Option<(BootId, Seq)> {
        let Some(frame) = self.window.take(handle) else {
            self.counters.receipts_unknown = self.counters.receipts_unknown.wrapping_add(1);
            return None;
        };
        let mut alarm = None;
        for key in &frame.keys {
            if frame.lane == Lane::Alarm {
                alarm = self.read(Partition::Alarm, *key).map(|head| (head.boot, head.seq));
            }
            self.remove_stored(*key);
        }
        alarm
    }

    /// The gateway answered a publish with an error: owed, and not sent again on this connection.
    pub(crate) fn refuse(&mut self, handle: Handle) {
        if self.window.take(handle).is_some() {
            self.counters.publishes_refused = self.counters.publishes_refused.wrapping_add(1);
        }
    }

    /// A receipt frame says STORED for sequences of one boot.
    pub(crate) fn acknowledge_ranges(&mut self, boot: BootId, ranges: &[SeqRange]) {
        let count = ranges.iter().map(|range| u64::from(range.more) + 1).sum();
        self.acknowledge_named(count, |envelope| {
            let Head { boot: of_boot, seq, .. } = envelope.head;
            let has = |range: &SeqRange| range.first <= seq && range.last().is_some_and(|last| seq <= last);
            of_boot == boot && ranges.iter().any(has)
        });
    }

    /// A proven receipt says STORED: of what said the same, and of nothing else.
    pub(crate) fn acknowledge_records(&mut self, boot: BootId, records: &[NamedRecord]) {
        self.acknowledge_named(records.len() as u64, |envelope| {
            let Head { boot: of_boot, seq, .. } = envelope.head;
            let mut alike = records.iter().filter(|record| of_boot == boot && record.seq == seq).peekable();
            alike.peek().is_some() && {
                let prints = select::prints(envelope);
                alike.any(|record| prints.contains(&record.print))
            }
        });
    }

    /// The prints that an alarm may have been sent with; `None` if it is not in the outbox.
    pub(crate) fn alarm_prints(&mut self, boot: BootId, seq: Seq) -> Option<[Print; 2]> {
        let mut entry = Entry::new();
        let mut after = None;
        while let Some(key) = self.next_entry(Partition::Alarm, after, &mut entry) {
            after = Some(key);
            if let Ok(envelope) = Envelope::decode(&entry)
                && (envelope.head.boot, envelope.head.seq) == (boot, seq)
            {
                return Some(select::prints(&envelope));
            }
        }
        None
    }

    /// Removes what is `named`, which should be `missing` records.
    fn acknowledge_named(&mut self, mut missing: u64, named: impl Fn(&Envelope<'_>) -> bool) {
        // Nearly always it speaks of what is in flight: at most 256 entries to look at, and no walk through the storage.
        let mut place = 0;
        let mut entry = Entry::new();
        while let Some((lane, key)) = self.window.nth(place) {
            let partition = partition_of_lane(lane);
            let before = key.0.checked_sub(1).map(Key);
            if self.next_entry(partition, before, &mut entry) == Some(key)
                && Envelope::decode(&entry).is_ok_and(|envelope| named(&envelope))
            {
                self.remove_stored(key);
                self.window.settle(key);
                missing = missing.saturating_sub(1);
            } else {
                place += 1;
            }
        }
        if missing > 0 {
            self.acknowledge_elsewhere(named);
        }
    }

    /// Walks through everything that is not in flight: a receipt for what an earlier connection sent.
    fn acknowledge_elsewhere(&mut self, named: impl Fn(&Envelope<'_>) -> bool) {
        let mut entry = Entry::new();
        for partition in Partition::ALL {
            let mut after = None;
            while let Some(key) = self.next_entry(partition, after, &mut entry) {
                after = Some(key);
                if Envelope::decode(&entry).is_ok_and(|envelope| named(&envelope)) {
                    self.remove_stored(key);
                }
            }
        }
    }

    /// The connection ended: everything unanswered is owed again, the newest state as live.
    pub(crate) fn release_window(&mut self, now_ms: u64) {
        while let Some(frame) = self.window.take_newest() {
            let (Lane::Live, [key]) = (frame.lane, frame.keys.as_slice()) else { continue };
            let Some(head) = self.read(Partition::Routine, *key) else { continue };
            let is_position = head.class == Class::POSITION;
            self.live.add(LiveRecord { key: *key, is_position, since_ms: frame.sent_ms.min(now_ms) });
        }
        self.rewind();
    }

    /// Looks at every entry again when choosing what to send.
    pub(crate) fn rewind(&mut self) {
        self.cursors = [None; 3];
    }

    /// When the oldest unanswered frame was sent.
    pub(crate) fn oldest_sent_ms(&self) -> Option<u64> {
        self.window.oldest_sent_ms()
    }

    fn owed(&self) -> u32 {
        self.entries_count().saturating_sub(self.copies_count)
    }

    fn entries_count(&self) -> u32 {
        let count: usize = Partition::ALL.iter().map(|partition| self.storage.count(*partition)).sum();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    fn push(&mut self, partition: Partition, draught: &Draught<'_>) -> Result<(Seq, Key), IssueError> {
        if self.next_seq == u32::MAX {
            return Err(IssueError::SequencesUsedUp);
        }
        let seq = Seq(self.next_seq);
        let entry = self.encode(seq, draught).ok_or(IssueError::TooLong)?;
        let pushed = self.storage.push(partition, &entry);
        self.settle_damage();
        match pushed {
            Ok(key) => {
                self.next_seq += 1;
                Ok((seq, key))
            }
            Err(StorageError::Full) => Err(IssueError::Full),
            Err(StorageError::Failed) => {
                // It may be there after a restart, so the sequence is used; it is in nobody's custody. Failures follow
                // each other until one loss record is written, so this is one range.
                let _ = ranges::insert(&mut self.swallowed, seq);
                self.next_seq += 1;
                self.lost = self.lost.wrapping_add(1);
                self.count_failure();
                Err(IssueError::Storage)
            }
        }
    }

    fn encode(&self, seq: Seq, draught: &Draught<'_>) -> Option<Entry> {
        let Stamp { time_ms, quality } = draught.stamp;
        let head = self.head(draught.class, quality, seq, time_ms);
        let mut buffer = [0; ENTRY_BYTES_MAX];
        let frame = Envelope { head, body: draught.body, trailer: None }.encode(&mut buffer).ok()?;
        Entry::from_slice(frame).ok()
    }

    fn head(&self, class: Class, clock: ClockQuality, seq: Seq, time_ms: u64) -> Head {
        Head { version: VERSION, class, mode: self.mode, clock, boot: self.boot, seq, time_ms }
    }

    fn enter_lane(&mut self, now_ms: u64, class: Class, key: Key) {
        if partition_of(class) == Partition::Routine && class != Class::LOSS {
            let is_position = class == Class::POSITION;
            self.live.add(LiveRecord { key, is_position, since_ms: now_ms });
        }
    }

    /// The head of the entry with exactly this key.
    fn read(&mut self, partition: Partition, key: Key) -> Option<Head> {
        let after = key.0.checked_sub(1).map(Key);
        self.next_head(partition, after).filter(|(found, _)| *found == key).map(|(_, head)| head)
    }

    fn next_head(&mut self, partition: Partition, after: Option<Key>) -> Option<(Key, Head)> {
        let mut entry = Entry::new();
        let key = self.next_entry(partition, after, &mut entry)?;
        let envelope = Envelope::decode(&entry).ok()?;
        Some((key, envelope.head))
    }

    /// The next entry that is an envelope; others are removed and counted.
    fn next_entry(&mut self, partition: Partition, mut after: Option<Key>, entry: &mut Entry) -> Option<Key> {
        loop {
            let next = self.storage.next(partition, after, entry);
            self.settle_damage();
            let key = match next {
                Ok(key) => key?,
                Err(_) => {
                    self.count_failure();
                    return None;
                }
            };
            if Envelope::decode(entry).is_ok() {
                return Some(key);
            }
            self.counters.damaged = self.counters.damaged.wrapping_add(1);
            self.damage.records = self.damage.records.saturating_add(1);
            self.remove_lost(key);
            after = Some(key);
        }
    }

    /// Takes what the storage lost into the books.
    fn settle_damage(&mut self) {
        let damage = self.storage.take_damage();
        if damage.is_none() {
            return;
        }
        self.lost = self.lost.wrapping_add(damage.records);
        self.counters.damaged = self.counters.damaged.wrapping_add(damage.records);
        self.damage.records = self.damage.records.saturating_add(damage.records);
        self.damage.is_unknown |= damage.is_unknown;
        self.damage.is_formatted |= damage.is_formatted;
        // It may be the loss record that grows which is gone: the next one begins anew.
        self.draft = None;
    }

    fn remove_stored(&mut self, key: Key) {
        if self.remove(key) {
            self.stored = self.stored.wrapping_add(1);
        }
    }

    fn remove_lost(&mut self, key: Key) -> bool {
        let removed = self.remove(key);
        if removed {
            self.lost = self.lost.wrapping_add(1);
        }
        removed
    }

    /// Removes an entry and says whether one went.
    fn remove(&mut self, key: Key) -> bool {
        let before = self.entries_count();
        if self.storage.remove(key).is_err() {
            self.count_failure();
            return false;
        }
        self.live.remove(key);
        if self.draft.as_ref().is_some_and(|draft| draft.key == key) {
            self.draft = None;
        }
        self.entries_count() < before
    }

    fn count_failure(&mut self) {
        self.counters.storage_failures = self.counters.storage_failures.wrapping_add(1);
    }
}

/// Which partition the records of a lane wait in.
fn partition_of_lane(lane: Lane) -> Partition {
    match lane {
        Lane::Alarm => Partition::Alarm,
        Lane::Health => Partition::Health,
        Lane::Live | Lane::Backlog => Partition::Routine,
    }
}

/// Which partition a class waits in.
fn partition_of(class: Class) -> Partition {
    match class {
        class if class.is_alarm_family() => Partition::Alarm,
        Class::HEALTH => Partition::Health,
        _ => Partition::Routine,
    }
}
