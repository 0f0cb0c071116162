//! The boot counter: two sectors with a copy each, to which every start appends.
//!
//! ```text
//!  copy A | 1 c1 | 2 c2 | 3 c3 | erased ...        a cell is the number and its check word, 8 bytes
//!  copy B | 1 c1 | 2 c2 | 3 c3 | erased ...
//! ```
//!
//! **A number is in flash before it is returned, and larger than every one returned before**, whatever power cuts and one
//! damaged sector do: each copy alone has the newest number. A cell that cannot be read may have been a number that was
//! returned, so it is counted past. If no copy can be read the number jumps by [`JUMP`] beyond the newest that the records in
//! flash speak of: no device starts a million times. A sector is erased once in 512 starts.

use embedded_storage_async::nor_flash::NorFlash;

use super::{medium::Medium, report::CounterState};
use crate::storage::{Region, StorageError};

/// Added when nothing but the records knows how often the device started.
pub(super) const JUMP: u32 = 1 << 20;
const CELL_BYTES: u32 = 8;
/// Cells tried in one copy before its sector is erased; then one more.
const CELL_TRIES: usize = 3;

/// The complement, mixed so that no cell of erased and zeroed words is a number: the largest would end the device's life.
fn check_word(number: u32) -> u32 {
    !number ^ 0xA5C3_3C5A
}

#[derive(Debug, Clone, Copy, Default)]
struct Copy {
    start: u32,
    /// Where the next cell goes, from `start`.
    write_at: u32,
    newest: Option<u32>,
    /// Cells after the newest that are written and no number.
    unreadable_after: u32,
    is_blank: bool,
}

/// The two copies and the number that was returned last.
#[derive(Debug, Clone, Copy)]
pub(super) struct BootCounter {
    copies: [Copy; 2],
    sector_bytes: u32,
    last: u32,
}

impl BootCounter {
    pub(super) fn new(region: Region, sector_bytes: u32) -> Self {
        let copy = |at: u32| Copy { start: region.start + at * sector_bytes, ..Copy::default() };
        Self { copies: [copy(0), copy(1)], sector_bytes, last: 0 }
    }

    /// Reads both copies. `medium.boot` has what the records know.
    pub(super) fn mount<F: NorFlash>(&mut self, medium: &mut Medium<F>) -> Result<(), StorageError> {
        for copy in &mut self.copies {
            copy.read(medium, self.sector_bytes)?;
        }
        let newest = self.copies.iter().filter_map(|copy| copy.newest).max();
        let is_blank = self.copies.iter().all(|copy| copy.is_blank);
        let unreadable = self.copies.iter().filter(|copy| copy.newest.is_some());
        let unreadable = unreadable.map(|copy| copy.unreadable_after).max().unwrap_or(0);
        (self.last, medium.report.boot_counter) = match newest {
            Some(newest) => {
                let one_is_gone = self.copies.iter().any(|copy| copy.newest.is_none());
                let state = if one_is_gone { CounterState::OneCopy } else { CounterState::Good };
                (newest.saturating_add(unreadable).max(medium.boot), state)
            }
            None if is_blank && medium.boot == 0 => (0, CounterState::First),
            None => (medium.boot.saturating_add(JUMP), CounterState::Jumped),
        };
        medium.boot = self.last;
        Ok(())
    }

    /// The next number, in at least one copy; in both, unless one cannot be written.
    pub(super) fn next<F: NorFlash>(&mut self, medium: &mut Medium<F>) -> Result<u32, StorageError> {
        let number = self.last.checked_add(1).ok_or(StorageError::Failed)?;
        let mut written = 0;
        for copy in &mut self.copies {
            written += usize::from(copy.append(medium, self.sector_bytes, number).is_ok());
        }
        // Whatever is in flash now, the next attempt is with a larger number.
        self.last = number;
        if written == 0 {
            return Err(StorageError::Failed);
        }
        medium.boot = number;
        Ok(number)
    }
}

impl Copy {
    fn read<F: NorFlash>(&mut self, medium: &mut Medium<F>, sector_bytes: u32) -> Result<(), StorageError> {
        let used = medium.used_bytes(self.start)?;
        self.is_blank = used == 0;
        self.write_at = used.next_multiple_of(CELL_BYTES).min(sector_bytes);
        let mut at = 0;
        while at < self.write_at {
            let number = medium.read_word(self.start + at)?;
            if medium.read_word(self.start + at + 4)? == check_word(number) {
                self.newest = self.newest.max(Some(number));
                self.unreadable_after = 0;
            } else {
                self.unreadable_after += 1;
            }
            at += CELL_BYTES;
        }
        Ok(())
    }

    fn append<F: NorFlash>(
        &mut self,
        medium: &mut Medium<F>,
        sector_bytes: u32,
        number: u32,
    ) -> Result<(), StorageError> {
        for _ in 0..CELL_TRIES {
            if self.write_at + CELL_BYTES > sector_bytes {
                break;
            }
            if self.write(medium, number).is_ok() {
                return Ok(());
            }
        }
        medium.erase(self.start)?;
        self.write_at = 0;
        self.write(medium, number)
    }

    fn write<F: NorFlash>(&mut self, medium: &mut Medium<F>, number: u32) -> Result<(), StorageError> {
        let mut cell = [0; CELL_BYTES as usize];
        cell[..4].copy_from_slice(&number.to_le_bytes());
        cell[4..].copy_from_slice(&check_word(number).to_le_bytes());
        let at = self.write_at;
        self.write_at += CELL_BYTES;
        medium.write(self.start + at, &cell)
    }
}
