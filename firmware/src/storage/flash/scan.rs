//! The start: what is in the sectors, whatever happened to them.
//!
//! | found | means | said as |
//! |---|---|---|
//! | noise with erased words in it | a write that a cut tore; nobody was told it was done | `writes_torn` |
//! | noise in the sector named by the newest record | an erase that a cut interrupted | `erases_resumed` |
//! | more noise than a record, and no erased word | something destroyed a sector | `sectors_unreadable`: a loss |
//! | a record whose CRC is wrong by one bit | moved to a good place | `records_repaired` |
//! | a record whose CRC is wrong | | `records_damaged`: a loss |
//! | the same key twice | a cut during a move | the older copy is dropped |
//! | no header and no record anywhere | never formatted, or garbage | `partitions_formatted`: a loss |

use embedded_storage_async::nor_flash::NorFlash;

use super::{
    log::{ENTRY_RECORD_BYTES_MAX, Log, SECTOR_COUNT_MAX, SectorState, place_of, word_of},
    medium::Medium,
    record::{Found, HEAD_BYTES, Kind, MARK_OFFSET, RECORD_BYTES_MAX, REMOVED, record_bytes},
    sector::{HEADER_BYTES, SectorHeader},
};
use crate::storage::StorageError;

/// Records with a flipped bit that one start moves; more of them are only read as they are.
const REPAIR_COUNT_MAX: usize = 16;

/// Sectors of a partition, oldest first.
type Order = heapless::Vec<usize, SECTOR_COUNT_MAX>;

/// What a start has learned so far.
#[derive(Default)]
struct Survey {
    /// Anything is written beyond a sector's header, which a cut may have torn while the sector was opened.
    is_written: bool,
    /// A header or a record could be read.
    is_readable: bool,
    /// Places of records to be moved, with the sector's own order.
    repairs: heapless::Vec<u32, REPAIR_COUNT_MAX>,
}

/// How a walk over a sector ended.
#[derive(Default)]
struct Walk {
    /// The sector that the last record says is about to be erased.
    erasing: Option<usize>,
    /// Longest stretch of noise without an erased word in it, in bytes. A torn record has one at most every 88 bytes: its
    /// word 3 is erased, and word 0 unless the cut came there.
    solid_noise_bytes_max: u32,
    /// Runs of noise.
    torn: u32,
    /// End of the last record, from the region's start.
    records_end: u32,
}

impl Log {
    /// Reads every sector and builds the index.
    pub(super) fn mount<F: NorFlash>(&mut self, medium: &mut Medium<F>) -> Result<(), StorageError> {
        let order = self.read_headers(medium)?;
        let erasing = self.interrupted_erase(medium, &order)?;
        let mut survey = Survey { is_readable: self.sequence > 0, ..Survey::default() };
        let mut unreadable: Order = Order::new();
        for sector in order {
            if erasing == Some(sector) {
                continue;
            }
            let walk = self.survey(medium, sector, &mut survey)?;
            if walk.solid_noise_bytes_max > ENTRY_RECORD_BYTES_MAX as u32 {
                unreadable.push(sector).expect("there are as many places as sectors");
            } else {
                medium.report.writes_torn = medium.report.writes_torn.wrapping_add(walk.torn);
            }
            if sector == self.active && self.sequence > 0 {
                let used = self.start_of(sector) + self.used(medium, sector)?;
                self.write_at = used.max(walk.records_end);
            }
        }
        if survey.is_written && !survey.is_readable {
            self.format(medium);
            return Ok(());
        }
        if let Some(sector) = erasing {
            self.resume_erase(medium, sector)?;
        }
        self.relocate(medium, &survey.repairs);
        self.clear_unreadable(medium, &unreadable);
        medium.report.entries += self.index.len() as u32;
        Ok(())
    }

    /// Finds erased sectors and the youngest; the others come back in order of age.
    fn read_headers<F: NorFlash>(&mut self, medium: &mut Medium<F>) -> Result<Order, StorageError> {
        let mut order = Order::new();
        for sector in 0..self.sectors.len() {
            if self.used(medium, sector)? == 0 {
                self.sectors[sector].state = SectorState::Free;
                continue;
            }
            let mut header = [0; HEADER_BYTES as usize];
            medium.read(self.address(self.start_of(sector)), &mut header)?;
            if let Some(SectorHeader { sequence, boot }) = SectorHeader::decode(header) {
                self.sectors[sector].sequence = sequence;
                medium.boot = medium.boot.max(boot);
                if sequence > self.sequence {
                    (self.sequence, self.active) = (sequence, sector);
                }
            }
            order.push(sector).expect("there are as many places as sectors");
        }
        order.sort_unstable_by_key(|sector| self.sectors[*sector].sequence);
        Ok(order)
    }

    /// The sector whose erase is the last thing that the youngest sector speaks of.
    fn interrupted_erase<F: NorFlash>(
        &mut self,
        medium: &mut Medium<F>,
        order: &Order,
    ) -> Result<Option<usize>, StorageError> {
        if self.sequence == 0 {
            return Ok(None);
        }
        let walk = self.walk(medium, self.active, |_, _, _, _| Ok(()))?;
        Ok(walk.erasing.filter(|sector| *sector != self.active && order.contains(sector)))
    }

    fn resume_erase<F: NorFlash>(
        &mut self,
        medium: &mut Medium<F>,
        sector: usize,
    ) -> Result<(), StorageError> {
        medium.report.erases_resumed = medium.report.erases_resumed.wrapping_add(1);
        self.erase(medium, sector);
        Ok(())
    }

    /// Takes over what a sector holds.
    fn survey<F: NorFlash>(
        &mut self,
        medium: &mut Medium<F>,
        sector: usize,
        survey: &mut Survey,
    ) -> Result<Walk, StorageError> {
        survey.is_written |= self.used(medium, sector)? > HEADER_BYTES;
        self.walk(medium, sector, |log, medium, place, found| {
            match found {
                Found::Record { kind: Kind::Entry, key, body_bytes, repaired } => {
                    survey.is_readable = true;
                    if repaired && survey.repairs.push(place).is_ok() {
                        medium.note_key(key);
                        return Ok(());
                    }
                    log.take_over(medium, key, place, record_bytes(body_bytes) as u32)?;
                }
                Found::Record { key, .. } => {
                    survey.is_readable = true;
                    medium.note_key(key);
                }
                Found::Removed { .. } => survey.is_readable = true,
                Found::Damaged { .. } => {
                    medium.report.records_damaged = medium.report.records_damaged.wrapping_add(1);
                    medium.damage.records = medium.damage.records.saturating_add(1);
                    let _ = medium.write(log.address(place) + MARK_OFFSET, &REMOVED);
                }
                Found::Nothing => {}
            }
            Ok(())
        })
    }

    /// Enters a live record into the index. Of two copies the one seen later, in the younger sector, stays.
    fn take_over<F: NorFlash>(
        &mut self,
        medium: &mut Medium<F>,
        key: u32,
        place: u32,
        bytes: u32,
    ) -> Result<(), StorageError> {
        medium.note_key(key);
        let newest = match self.index.last() {
            Some(word) => Some(self.key_at(medium, place_of(*word))?),
            None => None,
        };
        // Almost always: records lie in the order of their keys, but for those that were moved.
        let at = if newest < Some(key) {
            self.index.len()
        } else {
            self.index_after(medium, key.saturating_sub(1))?
        };
        if let Some(older) = self.index.get(at).map(|word| place_of(*word))
            && self.key_at(medium, older)? == key
        {
            self.index[at] = word_of(place);
            self.sub_live(older, bytes);
            self.add_live(place, bytes);
            let _ = medium.write(self.address(older) + MARK_OFFSET, &REMOVED);
            return Ok(());
        }
        if self.index.insert(at, word_of(place)).is_err() {
            // More entries than this firmware has room for: an image with a larger index wrote them.
            medium.report.records_damaged = medium.report.records_damaged.wrapping_add(1);
            medium.damage.records = medium.damage.records.saturating_add(1);
            return Ok(());
        }
        self.add_live(place, bytes);
        Ok(())
    }

    /// Steps over a sector's records, and over noise word by word.
    fn walk<F: NorFlash>(
        &mut self,
        medium: &mut Medium<F>,
        sector: usize,
        mut visit: impl FnMut(&mut Self, &mut Medium<F>, u32, Found) -> Result<(), StorageError>,
    ) -> Result<Walk, StorageError> {
        let (start, end) = (self.start_of(sector), self.start_of(sector) + self.used(medium, sector)?);
        // Without a header the records may still be good; the header's own place is noise then.
        let mut place = start + HEADER_BYTES;
        let mut walk = Walk { records_end: place, ..Walk::default() };
        let mut noise = Noise::default();
        let mut bytes = [0; RECORD_BYTES_MAX];
        while place + HEAD_BYTES as u32 <= self.end_of(sector) && place < end {
            let found = self.look(medium, place, &mut bytes)?;
            let body_bytes = match found {
                Found::Record { body_bytes, .. }
                | Found::Removed { body_bytes }
                | Found::Damaged { body_bytes } => body_bytes,
                Found::Nothing => {
                    noise.add(&mut walk, bytes[..4] == [0xFF; 4]);
                    place += 4;
                    continue;
                }
            };
            noise = Noise::default();
            walk.erasing = match found {
                Found::Record { kind: Kind::Erasing, .. } => Some(usize::from(bytes[HEAD_BYTES])),
                _ => None,
            };
            visit(self, medium, place, found)?;
            place += record_bytes(body_bytes) as u32;
            walk.records_end = place;
        }
        Ok(walk)
    }

    /// Moves records with a flipped bit to a good place, with the bit put right.
    fn relocate<F: NorFlash>(&mut self, medium: &mut Medium<F>, places: &[u32]) {
        let mut bytes = [0; RECORD_BYTES_MAX];
        for place in places {
            let Ok(Some((key, body_bytes))) = self.read_live(medium, *place, &mut bytes) else { continue };
            let live = record_bytes(body_bytes) as u32;
            let body = &bytes[HEAD_BYTES..HEAD_BYTES + body_bytes];
            let moved = self
                .ensure_room(medium, live)
                .and_then(|()| self.append_here(medium, Kind::Entry, key, body))
                .and_then(|copy| self.take_over(medium, key, copy, live));
            if moved.is_ok() {
                let _ = medium.write(self.address(*place) + MARK_OFFSET, &REMOVED);
            } else {
                medium.report.records_damaged = medium.report.records_damaged.wrapping_add(1);
                medium.damage.records = medium.damage.records.saturating_add(1);
            }
        }
    }

    /// Says that sectors are lost and makes them usable again, with what could still be read of them moved out.
    fn clear_unreadable<F: NorFlash>(&mut self, medium: &mut Medium<F>, sectors: &[usize]) {
        for sector in sectors {
            medium.report.sectors_unreadable = medium.report.sectors_unreadable.wrapping_add(1);
            medium.damage.is_unknown = true;
            if *sector == self.active {
                self.write_at = self.end_of(*sector);
            }
            // If there is no room to move its entries to, it is told again at the next start.
            let _ = self.clear(medium, *sector);
        }
    }

    /// Nothing here can be read: everything is erased.
    fn format<F: NorFlash>(&mut self, medium: &mut Medium<F>) {
        medium.report.partitions_formatted = medium.report.partitions_formatted.wrapping_add(1);
        medium.damage.is_formatted = true;
        for sector in 0..self.sectors.len() {
            if self.sectors[sector].state != SectorState::Free {
                self.erase(medium, sector);
            }
        }
    }

    fn used<F: NorFlash>(&self, medium: &mut Medium<F>, sector: usize) -> Result<u32, StorageError> {
        medium.used_bytes(self.address(self.start_of(sector)))
    }
}

/// Words between records.
#[derive(Default)]
struct Noise {
    is_running: bool,
    solid_bytes: u32,
}

impl Noise {
    fn add(&mut self, walk: &mut Walk, is_erased: bool) {
        walk.torn += u32::from(!self.is_running);
        self.is_running = true;
        self.solid_bytes = if is_erased { 0 } else { self.solid_bytes + 4 };
        walk.solid_noise_bytes_max = walk.solid_noise_bytes_max.max(self.solid_bytes);
    }
}
