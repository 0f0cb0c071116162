//! One partition: a log of records over a ring of sectors, and an index in RAM of those that are live.
//!
//! ```text
//!  | used | used | used | active ->   | erased | erased | used | ...
//!     '- fewest live bytes: moved to the active sector, then erased
//! ```
//!
//! A record is found by a binary search over the index, which holds places (2 bytes each) in order of their keys. **An entry
//! is in the index exactly while it is owed**; whatever else lies in flash is noise that the next erase takes away.

use embedded_storage_async::nor_flash::NorFlash;
use heapless::VecView;

use super::{
    medium::Medium,
    record::{self, Found, HEAD_BYTES, Kind, MARK_OFFSET, RECORD_BYTES_MAX, REMOVED, record_bytes},
    sector::HEADER_BYTES,
};
use crate::storage::{ENTRY_BYTES_MAX, Entry, Key, Region, StorageError};

/// Sectors of the largest partition: 256 KiB of 4 KiB each.
pub(super) const SECTOR_COUNT_MAX: usize = 64;
/// The longest record here: notes have sectors of their own.
pub(super) const ENTRY_RECORD_BYTES_MAX: usize = record_bytes(ENTRY_BYTES_MAX);
/// A place in the index counts words, in 16 bits.
pub(super) const REGION_BYTES_MAX: u32 = (1 << 16) * 4;
/// A failed write is tried in another place so many times.
const APPEND_TRIES: usize = 4;
/// After so many failures in a row in one sector, the next try is in another sector.
const SECTOR_TRIES: usize = 2;

/// What a sector is to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SectorState {
    /// Erased.
    Free,
    /// It holds records, live or removed, or noise.
    Used,
    /// It could not be erased: not touched again in this start.
    Dead,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Sector {
    pub(super) state: SectorState,
    pub(super) live_bytes: u16,
    /// When it was opened, 0 if nobody knows.
    pub(super) sequence: u32,
}

/// A partition's log. The index comes last, so that one code serves every size of it.
pub(super) struct Log<V: ?Sized = VecView<u16>> {
    pub(super) region: Region,
    pub(super) sector_bytes: u32,
    pub(super) sectors: heapless::Vec<Sector, SECTOR_COUNT_MAX>,
    /// The sector that is written.
    pub(super) active: usize,
    /// Where in the region the next record goes; the end of the active sector if it is full.
    pub(super) write_at: u32,
    /// Of the sector opened last.
    pub(super) sequence: u32,
    pub(super) live_bytes: u32,
    /// Places of live entries, in words from the region's start, in order of their keys.
    pub(super) index: V,
}

impl<const N: usize> Log<heapless::Vec<u16, N>> {
    /// An empty log of whole sectors; what does not fit the tables is left unused.
    pub(super) fn new(region: Region, sector_bytes: u32) -> Self {
        let count = (region.bytes.min(REGION_BYTES_MAX) / sector_bytes).min(SECTOR_COUNT_MAX as u32);
        let sector = Sector { state: SectorState::Used, live_bytes: 0, sequence: 0 };
        Self {
            region: Region { bytes: count * sector_bytes, ..region },
            sector_bytes,
            sectors: (0..count).map(|_| sector).collect(),
            // The ring begins at the sector after this one.
            active: (count as usize).saturating_sub(1),
            write_at: count * sector_bytes,
            sequence: 0,
            live_bytes: 0,
            index: heapless::Vec::new(),
        }
    }
}

impl Log {
    pub(super) fn count(&self) -> usize {
        self.index.len()
    }

    /// Entries of the longest size that surely fit.
    pub(super) fn capacity(&self) -> usize {
        let longest = record_bytes(ENTRY_BYTES_MAX) as u32;
        ((self.live_bytes_max() / longest) as usize).min(self.index.capacity())
    }

    /// Nine tenths of all sectors but three (one is written, two stay erased to work in): so the emptiest of them always has
    /// something to gain.
    fn live_bytes_max(&self) -> u32 {
        let longest = record_bytes(ENTRY_BYTES_MAX) as u32;
        let per_sector = (self.sector_bytes - HEADER_BYTES) / longest * longest;
        (self.sectors.len() as u32).saturating_sub(3) * per_sector / 10 * 9
    }

    pub(super) fn push<F: NorFlash>(
        &mut self,
        medium: &mut Medium<F>,
        entry: &Entry,
    ) -> Result<Key, StorageError> {
        let bytes = record_bytes(entry.len()) as u32;
        if self.index.is_full() || self.live_bytes + bytes > self.live_bytes_max() {
            return Err(StorageError::Full);
        }
        let key = medium.take_key()?;
        let place = self.append(medium, Kind::Entry, key, entry)?;
        self.add_live(place, bytes);
        self.index.push(word_of(place)).expect("the index has room: checked above");
        Ok(Key(key))
    }

    pub(super) fn next<F: NorFlash>(
        &mut self,
        medium: &mut Medium<F>,
        after: Option<Key>,
        entry: &mut Entry,
    ) -> Result<Option<Key>, StorageError> {
        let mut at = match after {
            None => 0,
            Some(Key(after)) => self.index_after(medium, after)?,
        };
        let mut bytes = [0; RECORD_BYTES_MAX];
        while let Some(place) = self.index.get(at).map(|word| place_of(*word)) {
            if let Some((key, body_bytes)) = self.read_live(medium, place, &mut bytes)? {
                let body = &bytes[HEAD_BYTES..HEAD_BYTES + body_bytes];
                *entry = Entry::from_slice(body).map_err(|_| StorageError::Failed)?;
                return Ok(Some(Key(key)));
            }
            self.give_up(medium, at);
            medium.report.records_damaged = medium.report.records_damaged.wrapping_add(1);
            at = at.min(self.index.len());
        }
        Ok(None)
    }

    /// Removes an entry and says whether it was here.
    pub(super) fn remove<F: NorFlash>(
        &mut self,
        medium: &mut Medium<F>,
        Key(key): Key,
    ) -> Result<bool, StorageError> {
        let Some(before) = key.checked_sub(1) else { return Ok(false) };
        let at = self.index_after(medium, before)?;
        let Some(place) = self.index.get(at).map(|word| place_of(*word)) else { return Ok(false) };
        if self.key_at(medium, place)? != key {
            return Ok(false);
        }
        medium.write(self.address(place) + MARK_OFFSET, &REMOVED)?;
        self.drop_live(medium, place);
        self.index.remove(at);
        Ok(true)
    }

    /// Writes a record into the active sector, or opens the next. Returns its place.
    fn append<F: NorFlash>(
        &mut self,
        medium: &mut Medium<F>,
        kind: Kind,
        key: u32,
        body: &[u8],
    ) -> Result<u32, StorageError> {
        for attempt in 1..=APPEND_TRIES {
            self.ensure_room(medium, record_bytes(body.len()) as u32)?;
            if let Ok(place) = self.append_here(medium, kind, key, body) {
                return Ok(place);
            }
            if attempt % SECTOR_TRIES == 0 {
                self.write_at = self.end_of(self.active);
            }
        }
        Err(StorageError::Failed)
    }

    /// Writes a record into the active sector, which has room for it. A place where that failed is not used again.
    pub(super) fn append_here<F: NorFlash>(
        &mut self,
        medium: &mut Medium<F>,
        kind: Kind,
        key: u32,
        body: &[u8],
    ) -> Result<u32, StorageError> {
        let bytes = record_bytes(body.len()) as u32;
        if bytes > self.room() {
            return Err(StorageError::Failed);
        }
        let place = self.write_at;
        self.write_at += bytes;
        medium.write_record(self.address(place), kind, key, body)?;
        Ok(place)
    }

    /// Reads a live record; a single flipped bit is put right. `None` if it is beyond repair.
    pub(super) fn read_live<F: NorFlash>(
        &self,
        medium: &mut Medium<F>,
        place: u32,
        bytes: &mut [u8; RECORD_BYTES_MAX],
    ) -> Result<Option<(u32, usize)>, StorageError> {
        match self.look(medium, place, bytes)? {
            Found::Record { kind: Kind::Entry, key, body_bytes, repaired }
                if body_bytes <= ENTRY_BYTES_MAX =>
            {
                medium.report.records_repaired += u32::from(repaired);
                Ok(Some((key, body_bytes)))
            }
            _ => Ok(None),
        }
    }

    /// What lies at a place.
    pub(super) fn look<F: NorFlash>(
        &self,
        medium: &mut Medium<F>,
        place: u32,
        bytes: &mut [u8; RECORD_BYTES_MAX],
    ) -> Result<Found, StorageError> {
        let until = self.end_of(self.sector_of(place)).min(place + ENTRY_RECORD_BYTES_MAX as u32);
        let bytes = &mut bytes[..(until - place) as usize];
        medium.read(self.address(place), bytes)?;
        Ok(record::examine(bytes))
    }

    /// An owed entry is lost: out of the index, and into the books.
    pub(super) fn give_up<F: NorFlash>(&mut self, medium: &mut Medium<F>, at: usize) {
        let place = place_of(self.index[at]);
        medium.damage.records = medium.damage.records.saturating_add(1);
        self.drop_live(medium, place);
        self.index.remove(at);
        // If this fails it is found again at the next start, and told again.
        let _ = medium.write(self.address(place) + MARK_OFFSET, &REMOVED);
    }

    pub(super) fn add_live(&mut self, place: u32, bytes: u32) {
        self.live_bytes += bytes;
        let sector = self.sector_of(place);
        self.sectors[sector].live_bytes += bytes as u16;
    }

    /// Takes a live record out of the sums; its length is in flash, or else nothing is known and its sector counts as fuller
    /// than it is until the next start.
    fn drop_live<F: NorFlash>(&mut self, medium: &mut Medium<F>, place: u32) {
        let mut word = [0; 4];
        if medium.read(self.address(place), &mut word).is_err() || word[0] != !word[1] {
            return;
        }
        self.sub_live(place, record_bytes(word[0].into()) as u32);
    }

    pub(super) fn sub_live(&mut self, place: u32, bytes: u32) {
        let sector = self.sector_of(place);
        self.live_bytes = self.live_bytes.saturating_sub(bytes);
        self.sectors[sector].live_bytes = self.sectors[sector].live_bytes.saturating_sub(bytes as u16);
    }

    /// Where in the index the first key greater than `after` is.
    pub(super) fn index_after<F: NorFlash>(
        &self,
        medium: &mut Medium<F>,
        after: u32,
    ) -> Result<usize, StorageError> {
        let mut failure = None;
        let at = self.index.partition_point(|word| match self.key_at(medium, place_of(*word)) {
            Ok(key) => key <= after,
            Err(error) => {
                failure = Some(error);
                false
            }
        });
        failure.map_or(Ok(at), Err)
    }

    pub(super) fn key_at<F: NorFlash>(
        &self,
        medium: &mut Medium<F>,
        place: u32,
    ) -> Result<u32, StorageError> {
        medium.read_word(self.address(place) + 4)
    }

    pub(super) fn room(&self) -> u32 {
        self.end_of(self.active).saturating_sub(self.write_at)
    }

    pub(super) fn address(&self, place: u32) -> u32 {
        self.region.start + place
    }

    pub(super) fn sector_of(&self, place: u32) -> usize {
        (place / self.sector_bytes) as usize
    }

    pub(super) fn start_of(&self, sector: usize) -> u32 {
        sector as u32 * self.sector_bytes
    }

    pub(super) fn end_of(&self, sector: usize) -> u32 {
        self.start_of(sector) + self.sector_bytes
    }
}

pub(super) fn word_of(place: u32) -> u16 {
    u16::try_from(place / 4).expect("a region has at most 65,536 words")
}

pub(super) fn place_of(word: u16) -> u32 {
    u32::from(word) * 4
}
