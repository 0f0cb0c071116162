//! What goes on the air next: **alarm before live, live before health, health before backlog**, each lane oldest first.
//!
//! **An alarm, its cancellation, a status and the answer to a receipt have the same length on the air**, [`PADDED_FRAME_BYTES`]: zeros follow the
//! body. They are added here and not in storage, so that a gated alarm, which loses its position, has the same length too.
//!
//! Backlog positions that follow each other in the lane travel as batches; anything else travels alone, byte for byte as
//! it was stored. While the duty gate is closed every record with a coordinate stays where it is, and an alarm goes out
//! without its own.

use fieldpost_protocol::{
    Alarm, BatchItem, Body, Class, Envelope, Head, Lane, Position, Print, encode_batch,
    limits::{BATCH_ITEMS_MAX, BODY_BYTES_MAX, FRAME_BYTES_MAX, PADDED_FRAME_BYTES},
};

use super::{Handle, Outbox, WINDOW_COUNT_MAX, window::FrameKeys};
use crate::storage::{ENTRY_BYTES_MAX, Entry, Key, Partition, Storage};

/// A caller's buffer for one frame.
pub type FrameBuffer = [u8; FRAME_BYTES_MAX];

/// Backlog leaves slots for what matters more: half the window.
const BACKLOG_WINDOW_COUNT: usize = WINDOW_COUNT_MAX / 2;
/// Live and health leave a slot for an alarm.
const LIVE_WINDOW_COUNT: usize = WINDOW_COUNT_MAX - 1;

/// A frame in the caller's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Selected {
    pub(crate) handle: Handle,
    pub(crate) lane: Lane,
    pub(crate) len: usize,
}

type BatchItems = heapless::Vec<BatchItem, BATCH_ITEMS_MAX>;

impl<S: Storage> Outbox<S> {
    /// Puts the next frame into `buffer` and notes it as in flight, or says that nothing may go now.
    pub(crate) fn select(
        &mut self,
        now_ms: u64,
        gate_is_open: bool,
        batch_count_max: usize,
        buffer: &mut FrameBuffer,
    ) -> Option<Selected> {
        self.live.drop_past(now_ms, gate_is_open);
        if self.window.count() >= WINDOW_COUNT_MAX {
            return None;
        }
        let urgent = self.select_single(now_ms, Partition::Alarm, Lane::Alarm, gate_is_open, buffer);
        if urgent.is_some() || self.window.count() >= LIVE_WINDOW_COUNT {
            return urgent;
        }
        if let Some(selected) = self.select_live(now_ms, gate_is_open, buffer) {
            return Some(selected);
        }
        if let Some(selected) =
            self.select_single(now_ms, Partition::Health, Lane::Health, gate_is_open, buffer)
        {
            return Some(selected);
        }
        if self.window.count_of(Lane::Backlog) >= BACKLOG_WINDOW_COUNT {
            return None;
        }
        self.select_backlog(now_ms, gate_is_open, batch_count_max, buffer)
    }

    fn select_single(
        &mut self,
        now_ms: u64,
        partition: Partition,
        lane: Lane,
        gate_is_open: bool,
        buffer: &mut FrameBuffer,
    ) -> Option<Selected> {
        let mut entry = Entry::new();
        loop {
            let after = self.cursors[partition as usize];
            let key = self.next_entry(partition, after, &mut entry)?;
            self.cursors[partition as usize] = Some(key);
            if self.window.holds(key) {
                continue;
            }
            let len = write_entry(&entry, gate_is_open, buffer)?;
            return Some(self.note(now_ms, lane, &[key], len));
        }
    }

    fn select_live(&mut self, now_ms: u64, gate_is_open: bool, buffer: &mut FrameBuffer) -> Option<Selected> {
        let mut entry = Entry::new();
        while let Some(record) = self.live.take_first() {
            let before = record.key.0.checked_sub(1).map(Key);
            if self.next_entry(Partition::Routine, before, &mut entry) == Some(record.key) {
                let len = write_entry(&entry, gate_is_open, buffer)?;
                return Some(self.note(now_ms, Lane::Live, &[record.key], len));
            }
        }
        None
    }

    fn select_backlog(
        &mut self,
        now_ms: u64,
        gate_is_open: bool,
        batch_count_max: usize,
        buffer: &mut FrameBuffer,
    ) -> Option<Selected> {
        let mut entry = Entry::new();
        let first_key = self.next_backlog(gate_is_open, &mut entry)?;
        let first = decode(&entry)?;
        let mut keys = FrameKeys::new();
        let mut items = BatchItems::new();
        if let Some(position) = first.1 {
            self.collect_batch(
                gate_is_open,
                batch_count_max,
                (first_key, first.0, position),
                &mut keys,
                &mut items,
            );
        }
        if items.len() < 2 {
            self.freeze_draft(first_key);
            let len = write_entry(&entry, gate_is_open, buffer)?;
            return Some(self.note(now_ms, Lane::Backlog, &[first_key], len));
        }
        let mut body = [0; BODY_BYTES_MAX];
        let (count, body) = encode_batch(&items, &mut body).ok()?;
        let head = Head { class: Class::POSITION_BATCH, ..first.0 };
        let len = Envelope { head, body, trailer: None }.encode(buffer).ok()?.len();
        let keys = &keys[..count];
        self.cursors[Partition::Routine as usize] = keys.last().copied();
        Some(self.note(now_ms, Lane::Backlog, keys, len))
    }

    /// Takes the positions that follow, as long as they share boot, mode and clock and nothing else lies between.
    fn collect_batch(
        &mut self,
        gate_is_open: bool,
        batch_count_max: usize,
        first: (Key, Head, Position),
        keys: &mut FrameKeys,
        items: &mut BatchItems,
    ) {
        let (mut key, head, mut position) = first;
        let mut item_head = head;
        let mut entry = Entry::new();
        let count_max = batch_count_max.clamp(1, BATCH_ITEMS_MAX);
        loop {
            let item = BatchItem { seq: item_head.seq, time_ms: item_head.time_ms, position };
            if keys.push(key).is_err() || items.push(item).is_err() || items.len() == count_max {
                return;
            }
            let passed = self.cursors[Partition::Routine as usize];
            let next = self.next_backlog(gate_is_open, &mut entry).zip(decode(&entry));
            let Some((next_key, (next_head, Some(next_position)))) = next else {
                self.cursors[Partition::Routine as usize] = passed;
                return;
            };
            let shares = |head: &Head| (head.boot, head.mode as u8, head.clock, head.version);
            if shares(&next_head) != shares(&head) || next_head.seq <= item_head.seq {
                self.cursors[Partition::Routine as usize] = passed;
                return;
            }
            (key, item_head, position) = (next_key, next_head, next_position);
        }
    }

    /// Moves the routine cursor to the next record of the backlog that may go.
    fn next_backlog(&mut self, gate_is_open: bool, entry: &mut Entry) -> Option<Key> {
        loop {
            let after = self.cursors[Partition::Routine as usize];
            let key = self.next_entry(Partition::Routine, after, entry)?;
            self.cursors[Partition::Routine as usize] = Some(key);
            // By its class too: a position that cannot be read is one.
            let held_back = !gate_is_open
                && decode(entry)
                    .is_some_and(|(head, position)| position.is_some() || head.class == Class::POSITION);
            if !held_back && !self.window.holds(key) && !self.drop_outgrown(key, entry) {
                return Some(key);
            }
        }
    }

    /// A loss record on the air no longer grows.
    fn freeze_draft(&mut self, key: Key) {
        if self.draft.as_ref().is_some_and(|draft| draft.key == key) {
            self.draft = None;
        }
    }

    fn note(&mut self, now_ms: u64, lane: Lane, keys: &[Key], len: usize) -> Selected {
        let keys = FrameKeys::from_slice(keys).expect("a frame holds at most a batch of records");
        Selected { handle: self.window.add(lane, now_ms, keys), lane, len }
    }
}

/// The head of an entry, and its position if it is one.
fn decode(entry: &Entry) -> Option<(Head, Option<Position>)> {
    let envelope = Envelope::decode(entry).ok()?;
    match Body::decode(&envelope.head, envelope.body) {
        Ok(Body::Position(position)) => Some((envelope.head, Some(position))),
        _ => Some((envelope.head, None)),
    }
}

/// The prints that a record may have been sent with: through an open gate and a closed one.
pub(super) fn prints(envelope: &Envelope<'_>) -> [Print; 2] {
    let as_stored = Print::of(&envelope.head, envelope.body);
    if !is_padded(envelope.head.class) {
        return [as_stored; 2];
    }
    let mut buffer: FrameBuffer = [0; FRAME_BYTES_MAX];
    [true, false].map(|gate_is_open| {
        let sent = write_lone(*envelope, gate_is_open, &mut buffer);
        let sent = sent.and_then(|len| Envelope::decode(&buffer[..len]).ok());
        sent.map_or(as_stored, |sent| Print::of(&sent.head, sent.body))
    })
}

fn is_padded(class: Class) -> bool {
    class.is_alarm_family() || matches!(class, Class::STATUS | Class::HEARD)
}

fn write_entry(entry: &Entry, gate_is_open: bool, buffer: &mut FrameBuffer) -> Option<usize> {
    write_lone(Envelope::decode(entry).ok()?, gate_is_open, buffer)
}

/// Copies a stored frame; while the gate is closed an alarm loses its position. What an onlooker must not tell apart is
/// padded.
fn write_lone(envelope: Envelope<'_>, gate_is_open: bool, buffer: &mut FrameBuffer) -> Option<usize> {
    let mut gated = [0; ENTRY_BYTES_MAX];
    let body = match Body::decode(&envelope.head, envelope.body) {
        Ok(Body::Alarm(alarm)) if !gate_is_open && alarm.position.is_some() => {
            Alarm { position: None, position_age_s: 0, ..alarm }.encode(&mut gated).ok()?
        }
        _ => envelope.body,
    };
    let envelope = Envelope { body, ..envelope };
    let len = envelope.encode(buffer).ok()?.len();
    if !is_padded(envelope.head.class) || len >= PADDED_FRAME_BYTES {
        return Some(len);
    }
    let mut padded = [0; PADDED_FRAME_BYTES];
    padded.get_mut(..body.len())?.copy_from_slice(body);
    // The body's length stays one byte, so each byte of padding is one byte of frame.
    let body = padded.get(..body.len() + PADDED_FRAME_BYTES - len)?;
    Envelope { body, ..envelope }.encode(buffer).ok().map(<[u8]>::len)
}
