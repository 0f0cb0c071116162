//! Making room: what gives way, and the record that names it.
//!
//! Routine records give way by class, oldest first: positions, then status, then sensor events. A loss record never gives
//! way. The loss record is in storage before the first record it names goes; while it has not been sent it grows in
//! place, under its own sequence, so a long outage costs few of them. A power cut or a failed removal leaves both copies:
//! only the younger is ever sent.

use fieldpost_protocol::{Class, ClockQuality, Envelope, Loss, LossReason, Seq};

use super::{Draught, IssueError, Outbox, ranges};
use crate::{
    clock::Stamp,
    storage::{Damage, ENTRY_BYTES_MAX, Entry, Key, Partition, Storage, StorageError},
};

/// Most records that give way at once: a loss record is written per chunk, not per record.
const CHUNK_COUNT_MAX: usize = 16;

/// Routine classes in the order in which they give way; `None` is every other one.
const GIVE_WAY: [Option<Class>; 3] = [Some(Class::POSITION), Some(Class::STATUS), None];

/// The loss record that still grows.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) key: Key,
    seq: Seq,
    stamp: Stamp,
    loss: Loss,
}

type Victims = heapless::Vec<Key, CHUNK_COUNT_MAX>;

/// Victims and the loss record that names them; `None` if nothing may give way.
type Choice = Option<(Loss, Victims)>;

/// The growing loss record has no room for the first victim.
#[derive(Debug)]
struct DraftIsFull;

impl<S: Storage> Outbox<S> {
    /// Evicts until the partition is below its quota.
    pub(super) fn make_room(&mut self, partition: Partition, stamp: Stamp) -> Result<(), IssueError> {
        while self.storage.count(partition) >= self.quotas.count_max(partition) {
            self.evict_chunk(partition, stamp)?;
        }
        Ok(())
    }

    fn evict_chunk(&mut self, partition: Partition, stamp: Stamp) -> Result<(), IssueError> {
        let choice = self.choose_victims(partition).or_else(|DraftIsFull| {
            // It stays as it is; the next one begins.
            self.draft = None;
            self.choose_victims(partition)
        });
        let (loss, victims) = choice.ok().flatten().ok_or(IssueError::Full)?;
        self.write_loss(loss, stamp)?;
        for key in victims {
            // Named and still there: stored wins if it is sent after all. More of the same would help nobody.
            if !self.remove_lost(key) {
                return Err(IssueError::Storage);
            }
        }
        Ok(())
    }

    /// Before the next record: the one that names what a failing storage swallowed.
    pub(super) fn name_swallowed(&mut self, stamp: Stamp) -> Result<(), IssueError> {
        if self.swallowed.is_empty() {
            return Ok(());
        }
        let loss = Loss { boot: self.boot, reason: LossReason::DAMAGED, ranges: self.swallowed.clone() };
        let mut body = [0; ENTRY_BYTES_MAX];
        let body = loss.encode(&mut body).map_err(|_| IssueError::TooLong)?;
        self.push(Partition::Routine, &Draught { class: Class::LOSS, stamp, body })?;
        self.swallowed.clear();
        Ok(())
    }

    /// Before the next record: that storage lost records it held, of sequences nobody knows. The loss record names none; the
    /// gateway finds the holes by itself, and this says why they are there.
    pub(super) fn say_damage(&mut self, stamp: Stamp) -> Result<(), IssueError> {
        if self.damage.is_none() {
            return Ok(());
        }
        let reason = if self.damage.is_formatted { LossReason::FORMATTED } else { LossReason::DAMAGED };
        let loss = Loss { boot: self.boot, reason, ranges: heapless::Vec::new() };
        let mut body = [0; ENTRY_BYTES_MAX];
        let body = loss.encode(&mut body).map_err(|_| IssueError::TooLong)?;
        self.damage = Damage::default();
        let said = self.push(Partition::Routine, &Draught { class: Class::LOSS, stamp, body });
        if said.is_err() {
            self.damage.is_unknown = true;
        }
        said.map(drop)
    }

    /// The oldest records of the class that gives way first, and the loss record with them in it.
    fn choose_victims(&mut self, partition: Partition) -> Result<Choice, DraftIsFull> {
        let classes = if partition == Partition::Routine { &GIVE_WAY[..] } else { &GIVE_WAY[2..] };
        for class in classes {
            let choice = self.choose_victims_of(partition, *class)?;
            if choice.is_some() {
                return Ok(choice);
            }
        }
        Ok(None)
    }

    fn choose_victims_of(
        &mut self,
        partition: Partition,
        class: Option<Class>,
    ) -> Result<Choice, DraftIsFull> {
        let chunk_count = (self.quotas.count_max(partition) / 16).clamp(1, CHUNK_COUNT_MAX);
        let mut loss = self.draft.as_ref().map(|draft| draft.loss.clone());
        let mut victims = Victims::new();
        let mut after = None;
        while victims.len() < chunk_count {
            let Some((key, head)) = self.next_head(partition, after) else { break };
            after = Some(key);
            let gives_way = head.class != Class::LOSS && class.is_none_or(|class| class == head.class);
            if !gives_way || self.window.holds(key) {
                continue;
            }
            let loss = loss.get_or_insert_with(|| Loss {
                boot: head.boot,
                reason: LossReason::EVICTED,
                ranges: heapless::Vec::new(),
            });
            let mut longer = loss.clone();
            let fits = loss.boot == head.boot
                && ranges::insert(&mut longer.ranges, head.seq).is_ok()
                && self.encode_loss(Seq(u32::MAX), &longer).is_some();
            if !fits && victims.is_empty() {
                return Err(DraftIsFull);
            }
            if !fits || victims.push(key).is_err() {
                break;
            }
            *loss = longer;
        }
        Ok(loss.filter(|_| !victims.is_empty()).map(|loss| (loss, victims)))
    }

    /// Puts the loss record into storage: a new one, or a longer copy of the one that grows.
    fn write_loss(&mut self, loss: Loss, stamp: Stamp) -> Result<(), IssueError> {
        let mut body = [0; ENTRY_BYTES_MAX];
        let body = loss.encode(&mut body).map_err(|_| IssueError::TooLong)?;
        let Some(old) = self.draft.take() else {
            let draught = Draught { class: Class::LOSS, stamp, body };
            let (seq, key) = self.push(Partition::Routine, &draught)?;
            self.draft = Some(Draft { key, seq, stamp, loss });
            return Ok(());
        };
        let draught = Draught { class: Class::LOSS, stamp: old.stamp, body };
        let entry = self.encode(old.seq, &draught).ok_or(IssueError::TooLong)?;
        let pushed = self.storage.push(Partition::Routine, &entry);
        self.settle_damage();
        match pushed {
            Ok(key) => {
                // The sequence moves to the new copy: this removal is neither stored nor lost.
                if !self.remove(old.key) {
                    self.copies_count += 1;
                }
                self.draft = Some(Draft { key, loss, ..old });
                Ok(())
            }
            Err(error) => {
                self.draft = Some(old);
                if error == StorageError::Failed {
                    self.count_failure();
                }
                Err(IssueError::Storage)
            }
        }
    }

    fn encode_loss(&self, seq: Seq, loss: &Loss) -> Option<()> {
        let mut body = [0; ENTRY_BYTES_MAX];
        let body = loss.encode(&mut body).ok()?;
        // The longest head there is: the record must fit whatever its time and sequence.
        let stamp = Stamp { time_ms: u64::MAX, quality: ClockQuality::Unset };
        self.encode(seq, &Draught { class: Class::LOSS, stamp, body }).map(drop)
    }

    /// At start: removes the older of two copies of one loss record.
    pub(super) fn drop_outgrown_losses(&mut self) {
        let mut after = None;
        let mut entry = Entry::new();
        while let Some(key) = self.next_entry(Partition::Routine, after, &mut entry) {
            after = Some(key);
            if self.is_outgrown(key, &entry) && !self.remove(key) {
                self.copies_count += 1;
            }
        }
    }

    /// Whether this is an outgrown loss record, which must not be sent: the gateway keeps the first it hears. It is
    /// removed; if the storage fails at that, it is passed over every time.
    pub(super) fn drop_outgrown(&mut self, key: Key, entry: &Entry) -> bool {
        let outgrown = self.is_outgrown(key, entry);
        if outgrown && self.remove(key) {
            self.copies_count = self.copies_count.saturating_sub(1);
        }
        outgrown
    }

    /// Whether a younger copy of this loss record exists.
    fn is_outgrown(&mut self, key: Key, entry: &Entry) -> bool {
        let Ok(Envelope { head, .. }) = Envelope::decode(entry) else { return false };
        if head.class != Class::LOSS {
            return false;
        }
        let mut after = Some(key);
        while let Some((younger, other)) = self.next_head(Partition::Routine, after) {
            after = Some(younger);
            if (other.class, other.boot, other.seq) == (head.class, head.boot, head.seq) {
                return true;
            }
        }
        false
    }
}
