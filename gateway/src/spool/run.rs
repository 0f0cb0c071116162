//! A run: entries that lie in one buffer.
//!
//! **Read as records once, whoever reads them**: the first reader that asks decodes the whole run, and the others find that.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::{Entry, EntryClass, Lsn};
use crate::record::{Record, RecordError};

type Decoded = Result<Record, RecordError>;

/// What an entry takes beside its bytes once its run was decoded.
const ENTRY_BYTES: usize = size_of::<Slot>() + size_of::<Decoded>();

/// Entries in ascending order, and their bytes.
pub(super) struct Run {
    bytes: Bytes,
    slots: Box<[Slot]>,
    records: OnceLock<Box<[Decoded]>>,
}

/// One entry, and where its payload lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub(super) lsn: u64,
    pub(super) class: EntryClass,
    start: u32,
    end: u32,
}

impl Slot {
    /// `payload` lies in a buffer of one window or batch, which are far below 4 GiB.
    pub(super) fn new(lsn: u64, class: EntryClass, payload: Range<usize>) -> Self {
        Self { lsn, class, start: payload.start as u32, end: payload.end as u32 }
    }

    /// Where the payload lies.
    pub(super) fn payload(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl Run {
    pub(super) fn new(bytes: Bytes, slots: Vec<Slot>) -> Self {
        Self { bytes, slots: slots.into(), records: OnceLock::new() }
    }

    pub(super) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The memory it takes at most.
    pub(super) fn bytes_max(&self) -> usize {
        size_of::<Self>() + self.bytes.len() + self.slots.len() * ENTRY_BYTES
    }

    fn entry(&self, at: usize) -> Entry {
        let slot = &self.slots[at];
        Entry { lsn: Lsn(slot.lsn), class: slot.class, payload: self.bytes.slice(slot.payload()) }
    }

    fn record(&self, at: usize) -> &Decoded {
        let decode = |slot: &Slot| Record::decode_owned(Lsn(slot.lsn), self.bytes.slice(slot.payload()));
        &self.records.get_or_init(|| self.slots.iter().map(decode).collect())[at]
    }
}

/// Entries of one run that a reader hands over: those of `classes` within `slots`.
#[derive(Clone)]
pub(super) struct Part {
    pub(super) run: Arc<Run>,
    pub(super) slots: Range<usize>,
    pub(super) classes: Classes,
}

impl Part {
    fn wanted(&self) -> impl Iterator<Item = usize> + '_ {
        self.slots.clone().filter(|at| self.classes.has(self.run.slots[*at].class))
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        self.wanted().map(|at| self.run.entry(at))
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &Decoded> + '_ {
        self.wanted().map(|at| self.run.record(at))
    }
}

/// A set of classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Classes(u8);

impl Classes {
    pub(super) const ALL: Self = Self(u8::MAX);

    pub(super) fn has(self, class: EntryClass) -> bool {
        self.0 & (1 << class.index()) != 0
    }
}

impl From<&[EntryClass]> for Classes {
    fn from(classes: &[EntryClass]) -> Self {
        Self(classes.iter().fold(0, |bits, class| bits | (1 << class.index())))
    }
}
