//! A position batch: up to 32 positions in one frame, at most 8 bytes each in practice.
//!
//! ```text
//! count u8 | first position, as a lone body | control | [seq step] [time step] lat lon [speed] [course] [quality] | control | ...
//! ```
//!
//! The first item's sequence and time are the envelope's. Every further item is coded against the one before it:
//! latitude and longitude as the *change of the step* (an officer who walks straight on costs one byte an axis), time as
//! a step that is left out while it stays the same.
//!
//! | control bit | set | clear |
//! |---|---|---|
//! | 0 | a sequence step follows (varint) | the step is 1 |
//! | 1 | a time step in ms follows (zigzag varint) | the same step as before; the first is 0 |
//! | 2-3 | 0 no speed, 1 the same, 2 a change in cm/s follows (zigzag varint, from 0 if there was none) | |
//! | 4-5 | 0 no course, 1 the same, 2 a course follows (one byte) | |
//! | 6 | accuracy, source and reason follow (a byte each) | the same as before |
//! | 7 | must be 0 | |
//!
//! **All items share the envelope's boot id, mode and clock quality**; a device closes a batch where one of them changes.

use crate::{
    body::Position,
    code::{FixSource, ReportReason},
    envelope::Head,
    identity::Seq,
    limits::{BATCH_ITEM_BYTES_MAX, BATCH_ITEMS_MAX},
    wire::{DecodeError, EncodeError, Reader, Writer},
};

const SEQ_STEP: u8 = 1 << 0;
const TIME_STEP: u8 = 1 << 1;
const SPEED_SHIFT: u8 = 2;
const COURSE_SHIFT: u8 = 4;
const QUALITY: u8 = 1 << 6;
const RESERVED: u8 = 1 << 7;
const ABSENT: u8 = 0;
const SAME: u8 = 1;
const FOLLOWS: u8 = 2;

/// One position of a batch with its own identity and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct BatchItem {
    /// Sequence of the record.
    pub seq: Seq,
    /// Device time of the fix in ms, on the envelope's clock.
    pub time_ms: u64,
    /// The position.
    pub position: Position,
}

/// What the coding of the next item depends on; the same on both ends.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Context {
    item: BatchItem,
    time_step_ms: i64,
    latitude_step: i32,
    longitude_step: i32,
}

impl Context {
    fn first(item: BatchItem) -> Self {
        Self { item, time_step_ms: 0, latitude_step: 0, longitude_step: 0 }
    }

    /// Moves on to `item`.
    fn advance(&mut self, item: BatchItem, time_step_ms: i64) {
        let (old, new) = (&self.item.position, &item.position);
        self.latitude_step = new.latitude_udeg.wrapping_sub(old.latitude_udeg);
        self.longitude_step = new.longitude_udeg.wrapping_sub(old.longitude_udeg);
        self.time_step_ms = time_step_ms;
        self.item = item;
    }
}

/// Writes as many of `items` as fit `buffer` and the limits, and says how many, with the body's bytes.
///
/// The envelope's sequence and time must be those of the first item. Items that do not fit belong in the next batch.
/// An item whose time step is beyond 24 days ends the batch before it.
///
/// # Errors
/// [`EncodeError::NotABatch`] if `items` is empty or not in ascending sequence; [`EncodeError::BufferTooSmall`] if not
/// even the first fits.
pub fn encode_batch<'b>(items: &[BatchItem], buffer: &'b mut [u8]) -> Result<(usize, &'b [u8]), EncodeError> {
    let first = items.first().ok_or(EncodeError::NotABatch)?;
    let mut writer = Writer::new(buffer);
    writer.value(&0u8)?;
    writer.value(&first.position)?;
    let mut context = Context::first(*first);
    let mut count = 1;
    for item in items.iter().take(BATCH_ITEMS_MAX).skip(1) {
        if item.seq <= context.item.seq {
            return Err(EncodeError::NotABatch);
        }
        // Coded aside first: an item is in the batch whole or not at all.
        let mut coded = [0; BATCH_ITEM_BYTES_MAX];
        let Some((coded, time_step_ms)) = encode_item(&context, item, &mut coded)? else { break };
        if writer.bytes(coded).is_err() {
            break;
        }
        context.advance(*item, time_step_ms);
        count += 1;
    }
    let used = writer.used();
    buffer[0] = u8::try_from(count).map_err(|_| EncodeError::TooLong)?;
    Ok((count, &buffer[..used]))
}

/// Codes one item, or `None` if its time step does not fit.
fn encode_item<'c>(
    context: &Context,
    item: &BatchItem,
    buffer: &'c mut [u8],
) -> Result<Option<(&'c [u8], i64)>, EncodeError> {
    let (old, new) = (&context.item.position, &item.position);
    let time_step_ms = item.time_ms.wrapping_sub(context.item.time_ms).cast_signed();
    let Ok(time_step) = i32::try_from(time_step_ms) else { return Ok(None) };
    let seq_step = item.seq.0 - context.item.seq.0;
    let same_quality = (old.accuracy_m, old.source, old.reason) == (new.accuracy_m, new.source, new.reason);
    let speed = choose(old.speed_cmps, new.speed_cmps);
    let course = choose(old.course_turn256, new.course_turn256);
    let control = flag(seq_step != 1, SEQ_STEP)
        | flag(time_step_ms != context.time_step_ms, TIME_STEP)
        | speed << SPEED_SHIFT
        | course << COURSE_SHIFT
        | flag(!same_quality, QUALITY);

    let mut writer = Writer::new(buffer);
    writer.value(&control)?;
    if control & SEQ_STEP != 0 {
        writer.value(&seq_step)?;
    }
    if control & TIME_STEP != 0 {
        writer.value(&time_step)?;
    }
    writer.value(&bend(old.latitude_udeg, new.latitude_udeg, context.latitude_step))?;
    writer.value(&bend(old.longitude_udeg, new.longitude_udeg, context.longitude_step))?;
    if let (FOLLOWS, Some(new_speed)) = (speed, new.speed_cmps) {
        writer.value(&(i32::from(new_speed) - i32::from(old.speed_cmps.unwrap_or(0))))?;
    }
    if let (FOLLOWS, Some(new_course)) = (course, new.course_turn256) {
        writer.value(&new_course)?;
    }
    if !same_quality {
        writer.value(&(new.accuracy_m, new.source, new.reason))?;
    }
    Ok(Some((writer.finish(), time_step_ms)))
}

/// The change of the step: how far the track bends.
fn bend(old: i32, new: i32, step: i32) -> i32 {
    new.wrapping_sub(old).wrapping_sub(step)
}

fn flag(set: bool, bit: u8) -> u8 {
    if set { bit } else { 0 }
}

fn choose<T: PartialEq + Copy>(old: Option<T>, new: Option<T>) -> u8 {
    match new {
        None => ABSENT,
        Some(_) if old == new => SAME,
        Some(_) => FOLLOWS,
    }
}

/// Reads a batch item by item. After an error it yields nothing more.
#[derive(Debug, Clone)]
pub struct BatchDecoder<'a> {
    reader: Reader<'a>,
    left: u8,
    context: Context,
    first_is_due: bool,
}

impl PartialEq for BatchDecoder<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.left == other.left && self.context == other.context && self.reader.rest() == other.reader.rest()
    }
}

impl<'a> BatchDecoder<'a> {
    pub(crate) fn try_new(head: &Head, body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let count: u8 = reader.value()?;
        if count == 0 || usize::from(count) > BATCH_ITEMS_MAX {
            return Err(DecodeError::OutOfRange);
        }
        let position = reader.value::<Position>()?.checked()?;
        let item = BatchItem { seq: head.seq, time_ms: head.time_ms, position };
        Ok(Self { reader, left: count, context: Context::first(item), first_is_due: true })
    }

    fn decode_item(&mut self) -> Result<BatchItem, DecodeError> {
        let old = self.context.item;
        let control: u8 = self.reader.value()?;
        if control & RESERVED != 0 {
            return Err(DecodeError::Malformed);
        }
        let seq_step: u32 = if control & SEQ_STEP != 0 { self.reader.value()? } else { 1 };
        let time_step_ms = if control & TIME_STEP != 0 {
            i64::from(self.reader.value::<i32>()?)
        } else {
            self.context.time_step_ms
        };
        let latitude_bend: i32 = self.reader.value()?;
        let longitude_bend: i32 = self.reader.value()?;
        let mut position = old.position;
        position.latitude_udeg = unbend(position.latitude_udeg, self.context.latitude_step, latitude_bend);
        position.longitude_udeg =
            unbend(position.longitude_udeg, self.context.longitude_step, longitude_bend);
        position.speed_cmps = self.decode_speed(control >> SPEED_SHIFT & 3)?;
        position.course_turn256 = self.decode_course(control >> COURSE_SHIFT & 3)?;
        if control & QUALITY != 0 {
            let quality: (u8, FixSource, ReportReason) = self.reader.value()?;
            (position.accuracy_m, position.source, position.reason) = quality;
        }
        let seq = match seq_step {
            0 => None,
            step => old.seq.0.checked_add(step).map(Seq),
        };
        let time_ms = old.time_ms.wrapping_add_signed(time_step_ms);
        #[cfg(feature = "planted-bugs")]
        if crate::planted::is_awake() && control & QUALITY != 0 {
            // Planted: an item that restates its quality is not checked.
            let item = BatchItem { seq: seq.ok_or(DecodeError::OutOfRange)?, time_ms, position };
            self.context.advance(item, time_step_ms);
            return Ok(item);
        }
        let item =
            BatchItem { seq: seq.ok_or(DecodeError::OutOfRange)?, time_ms, position: position.checked()? };
        self.context.advance(item, time_step_ms);
        Ok(item)
    }

    fn decode_speed(&mut self, coding: u8) -> Result<Option<u16>, DecodeError> {
        let old = self.context.item.position.speed_cmps;
        match coding {
            ABSENT => Ok(None),
            SAME => Ok(old),
            FOLLOWS => {
                let change: i32 = self.reader.value()?;
                let speed = i32::from(old.unwrap_or(0)).checked_add(change);
                speed.and_then(|speed| u16::try_from(speed).ok()).ok_or(DecodeError::OutOfRange).map(Some)
            }
            _ => Err(DecodeError::Malformed),
        }
    }

    fn decode_course(&mut self, coding: u8) -> Result<Option<u8>, DecodeError> {
        match coding {
            ABSENT => Ok(None),
            SAME => Ok(self.context.item.position.course_turn256),
            FOLLOWS => self.reader.value().map(Some),
            _ => Err(DecodeError::Malformed),
        }
    }
}

fn unbend(old: i32, step: i32, bend: i32) -> i32 {
    old.wrapping_add(step).wrapping_add(bend)
}

impl Iterator for BatchDecoder<'_> {
    type Item = Result<BatchItem, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        if core::mem::take(&mut self.first_is_due) {
            return Some(Ok(self.context.item));
        }
        let item = self.decode_item();
        if item.is_err() {
            self.left = 0;
        }
        Some(item)
    }
}
