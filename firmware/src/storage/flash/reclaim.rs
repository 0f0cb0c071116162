//! Making room: sectors are opened in turn, and the one with the least in it is emptied and erased.
//!
//! **What is live is copied before anything is erased, and that the erase begins is written down first.** So after a cut
//! during the copy both copies are there (one is dropped), and after a cut during the erase the half-erased sector is known
//! to hold nothing that counts.

use embedded_storage_async::nor_flash::NorFlash;

use super::{
    log::{Log, SectorState, place_of, word_of},
    medium::Medium,
    record::{HEAD_BYTES, Kind, RECORD_BYTES_MAX, record_bytes},
    sector::{HEADER_BYTES, SectorHeader},
};
use crate::storage::StorageError;

/// Erased sectors kept to work in: one to copy into, one more because a power cut may spoil that.
const RESERVE_COUNT: usize = 2;
/// The record that says which sector is about to be erased.
const ERASING_BYTES: u32 = record_bytes(1) as u32;

impl Log {
    /// Opens sectors until the active one has room for a record, and keeps the reserve. The reserve comes first: a cut during
    /// a move leaves it short, and what is left of the active sector is what restores it.
    pub(super) fn ensure_room<F: NorFlash>(
        &mut self,
        medium: &mut Medium<F>,
        bytes: u32,
    ) -> Result<(), StorageError> {
        // Each round opens a sector or frees one: twice the ring is more than enough.
        for _ in 0..2 * self.sectors.len() {
            if self.free_count() < RESERVE_COUNT && self.reclaim_emptiest(medium)? {
                continue;
            }
            if self.room() >= bytes {
                return Ok(());
            }
            if !self.open_next(medium)? {
                self.erase_an_empty_one(medium)?;
            }
        }
        Err(StorageError::Failed)
    }

    /// Opens the next erased sector of the ring; false if there is none.
    fn open_next<F: NorFlash>(&mut self, medium: &mut Medium<F>) -> Result<bool, StorageError> {
        let count = self.sectors.len();
        let ring = (1..=count).map(|step| (self.active + step) % count);
        let Some(next) = ring.into_iter().find(|at| self.sectors[*at].state == SectorState::Free) else {
            return Ok(false);
        };
        self.sequence = self.sequence.checked_add(1).ok_or(StorageError::Failed)?;
        self.sectors[next].state = SectorState::Used;
        self.sectors[next].sequence = self.sequence;
        self.active = next;
        self.write_at = self.end_of(next);
        let header = SectorHeader { sequence: self.sequence, boot: medium.boot };
        medium.write(self.address(self.start_of(next)), &header.encode())?;
        self.write_at = self.start_of(next) + HEADER_BYTES;
        Ok(true)
    }

    /// Empties and erases the sector with the fewest live bytes, if the active one has room for them; false if not.
    fn reclaim_emptiest<F: NorFlash>(&mut self, medium: &mut Medium<F>) -> Result<bool, StorageError> {
        let Some(victim) = self.emptiest() else { return Ok(false) };
        if u32::from(self.sectors[victim].live_bytes) + ERASING_BYTES > self.room() {
            return Ok(false);
        }
        self.move_out(medium, victim)?;
        self.retire(medium, victim)?;
        Ok(true)
    }

    /// The used sector with the fewest live bytes; of several, the oldest.
    fn emptiest(&self) -> Option<usize> {
        let used = |at: &usize| *at != self.active && self.sectors[*at].state == SectorState::Used;
        (0..self.sectors.len())
            .filter(used)
            .min_by_key(|at| (self.sectors[*at].live_bytes, self.sectors[*at].sequence))
    }

    /// Copies every live record of a sector to the active one.
    pub(super) fn move_out<F: NorFlash>(
        &mut self,
        medium: &mut Medium<F>,
        victim: usize,
    ) -> Result<(), StorageError> {
        let mut bytes = [0; RECORD_BYTES_MAX];
        let mut at = 0;
        while let Some(place) = self.index.get(at).map(|word| place_of(*word)) {
            if self.sector_of(place) != victim {
                at += 1;
                continue;
            }
            let Some((key, body_bytes)) = self.read_live(medium, place, &mut bytes)? else {
                self.give_up(medium, at);
                medium.report.records_damaged = medium.report.records_damaged.wrapping_add(1);
                continue;
            };
            let body = &bytes[HEAD_BYTES..HEAD_BYTES + body_bytes];
            let copy = self.append_here(medium, Kind::Entry, key, body)?;
            let live = record_bytes(body_bytes) as u32;
            self.sub_live(place, live);
            self.add_live(copy, live);
            self.index[at] = word_of(copy);
            medium.report.entries_moved = medium.report.entries_moved.wrapping_add(1);
            at += 1;
        }
        Ok(())
    }

    /// Empties and erases a sector, opening another for its records if need be.
    pub(super) fn clear<F: NorFlash>(
        &mut self,
        medium: &mut Medium<F>,
        sector: usize,
    ) -> Result<(), StorageError> {
        if self.sectors[sector].state != SectorState::Used {
            return Ok(());
        }
        let needed = u32::from(self.sectors[sector].live_bytes) + ERASING_BYTES;
        self.ensure_room(medium, needed)?;
        // Making room may have taken it already.
        if self.sectors[sector].state == SectorState::Used && sector != self.active {
            self.move_out(medium, sector)?;
            self.retire(medium, sector)?;
        }
        Ok(())
    }

    /// Erases a sector that nothing points to any more.
    fn retire<F: NorFlash>(&mut self, medium: &mut Medium<F>, victim: usize) -> Result<(), StorageError> {
        let name = [u8::try_from(victim).expect("there are at most 64 sectors")];
        let key = medium.take_key()?;
        self.append_here(medium, Kind::Erasing, key, &name)?;
        self.erase(medium, victim);
        Ok(())
    }

    /// Erases a sector; one that cannot be erased is left alone from now on.
    pub(super) fn erase<F: NorFlash>(&mut self, medium: &mut Medium<F>, sector: usize) {
        let address = self.address(self.start_of(sector));
        let is_erased = medium.erase(address).is_ok() && medium.used_bytes(address) == Ok(0);
        let state = if is_erased { SectorState::Free } else { SectorState::Dead };
        let entry = &mut self.sectors[sector];
        (entry.state, entry.live_bytes, entry.sequence) = (state, 0, 0);
    }

    /// No erased sector, and no room to empty one into: cuts again and again in the same move, or dying flash. A sector that
    /// holds nothing owed is erased without writing that down first, so a cut now looks like a damaged sector. If there is
    /// none the log is full until something is removed.
    fn erase_an_empty_one<F: NorFlash>(&mut self, medium: &mut Medium<F>) -> Result<(), StorageError> {
        let empty = self.emptiest().filter(|sector| self.sectors[*sector].live_bytes == 0);
        self.erase(medium, empty.ok_or(StorageError::Full)?);
        Ok(())
    }

    pub(super) fn free_count(&self) -> usize {
        self.sectors.iter().filter(|sector| sector.state == SectorState::Free).count()
    }
}
