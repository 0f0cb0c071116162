//! The device note: a few bytes that the device logic wants back after a restart. The last one written wins.
//!
//! Two sectors, appended to in turn. **The sector that is erased never holds the newest note**, so a power cut leaves the note
//! before. A damaged sector may bring an older note back, or none: what is in it must be safe to forget. A sector takes 25
//! notes or more between erases, and a note that says nothing new is not written.

use embedded_storage_async::nor_flash::NorFlash;

use super::{
    medium::Medium,
    record::{self, Found, HEAD_BYTES, Kind, RECORD_BYTES_MAX, record_bytes},
};
use crate::storage::{NOTE_BYTES_MAX, Note, Region, StorageError};

const _: () = assert!(NOTE_BYTES_MAX <= record::BODY_BYTES_MAX, "a note fits a record");

/// Where the newest note is and where the next one goes, as addresses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Notes {
    start: u32,
    sector_bytes: u32,
    /// Sector that is written: 0 or 1.
    active: u32,
    /// From the start of the active sector.
    write_at: u32,
    newest: Option<(u32, u32)>,
}

impl Notes {
    pub(super) fn new(region: Region, sector_bytes: u32) -> Self {
        Self { start: region.start, sector_bytes, active: 1, write_at: sector_bytes, newest: None }
    }

    pub(super) fn mount<F: NorFlash>(&mut self, medium: &mut Medium<F>) -> Result<(), StorageError> {
        for sector in 0..2 {
            let used = medium.used_bytes(self.sector(sector))?;
            self.search(medium, sector, used)?;
        }
        self.write_at = match self.newest {
            // What was torn after it is skipped.
            Some((_, address)) => {
                self.active = self.sector_of(address);
                let used = medium.used_bytes(self.sector(self.active))?;
                used.max(address - self.sector(self.active) + RECORD_BYTES_MAX as u32)
            }
            None => self.sector_bytes,
        };
        Ok(())
    }

    /// Copies the newest note; false if there is none.
    pub(super) fn read<F: NorFlash>(
        &mut self,
        medium: &mut Medium<F>,
        note: &mut Note,
    ) -> Result<bool, StorageError> {
        let Some((_, address)) = self.newest else { return Ok(false) };
        let mut bytes = [0; RECORD_BYTES_MAX];
        let Some((_, body_bytes)) = self.look(medium, address, &mut bytes)? else { return Ok(false) };
        *note = Note::from_slice(&bytes[HEAD_BYTES..HEAD_BYTES + body_bytes])
            .map_err(|_| StorageError::Failed)?;
        Ok(true)
    }

    /// Keeps a note, durable on return.
    pub(super) fn write<F: NorFlash>(
        &mut self,
        medium: &mut Medium<F>,
        note: &Note,
    ) -> Result<(), StorageError> {
        let mut before = Note::new();
        if self.read(medium, &mut before)? && before == *note {
            return Ok(());
        }
        let bytes = record_bytes(note.len()) as u32;
        if self.write_at + bytes <= self.sector_bytes && self.append(medium, note).is_ok() {
            return Ok(());
        }
        self.active = 1 - self.newest.map_or(self.active, |(_, address)| self.sector_of(address));
        self.write_at = self.sector_bytes;
        medium.erase(self.sector(self.active))?;
        self.write_at = 0;
        self.append(medium, note)
    }

    fn append<F: NorFlash>(&mut self, medium: &mut Medium<F>, note: &Note) -> Result<(), StorageError> {
        let address = self.sector(self.active) + self.write_at;
        self.write_at += record_bytes(note.len()) as u32;
        let version = self.newest.map_or(1, |(version, _)| version.saturating_add(1));
        medium.write_record(address, Kind::Note, version, note)?;
        self.newest = Some((version, address));
        Ok(())
    }

    /// Looks for the newest note in a sector, word by word: it holds nothing else of interest.
    fn search<F: NorFlash>(
        &mut self,
        medium: &mut Medium<F>,
        sector: u32,
        used: u32,
    ) -> Result<(), StorageError> {
        let mut bytes = [0; RECORD_BYTES_MAX];
        let mut at = 0;
        while at < used {
            let address = self.sector(sector) + at;
            let Some((version, body_bytes)) = self.look(medium, address, &mut bytes)? else {
                at += 4;
                continue;
            };
            if self.newest.is_none_or(|(newest, _)| newest < version) {
                self.newest = Some((version, address));
            }
            at += record_bytes(body_bytes) as u32;
        }
        Ok(())
    }

    fn look<F: NorFlash>(
        &self,
        medium: &mut Medium<F>,
        address: u32,
        bytes: &mut [u8; RECORD_BYTES_MAX],
    ) -> Result<Option<(u32, usize)>, StorageError> {
        let sector_end = address - (address - self.start) % self.sector_bytes + self.sector_bytes;
        let bytes = &mut bytes[..(sector_end - address).min(RECORD_BYTES_MAX as u32) as usize];
        medium.read(address, bytes)?;
        Ok(match record::examine(bytes) {
            Found::Record { kind: Kind::Note, key, body_bytes, .. } => Some((key, body_bytes)),
            _ => None,
        })
    }

    fn sector(&self, sector: u32) -> u32 {
        self.start + sector * self.sector_bytes
    }

    fn sector_of(&self, address: u32) -> u32 {
        (address - self.start) / self.sector_bytes
    }
}
