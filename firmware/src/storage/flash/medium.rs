//! The flash as this module sees it: synchronous, verified, and with everything that went wrong counted.

use core::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use embedded_storage_async::nor_flash::NorFlash;

use super::{
    record::{self, HEAD_BYTES, Kind, RECORD_BYTES_MAX, record_bytes},
    report::FlashReport,
};
use crate::storage::{Damage, StorageError};

/// The flash, the key that comes next, and the books.
pub(super) struct Medium<F> {
    flash: F,
    pub(super) report: FlashReport,
    pub(super) damage: Damage,
    /// The newest boot id known: it goes into every sector's header, in case the boot counter is lost.
    pub(super) boot: u32,
    /// Larger than every key in flash.
    next_key: u32,
}

impl<F: NorFlash> Medium<F> {
    pub(super) fn new(flash: F) -> Self {
        const {
            assert!(F::READ_SIZE <= 4 && 4 % F::READ_SIZE == 0, "records are read in words of 4 bytes");
            assert!(F::WRITE_SIZE <= 4 && 4 % F::WRITE_SIZE == 0, "records are written in words of 4 bytes");
            assert!(F::ERASE_SIZE >= 512 && F::ERASE_SIZE <= 0x8000, "a sector is 512 bytes to 32 KiB");
        }
        Self { flash, report: FlashReport::default(), damage: Damage::default(), boot: 0, next_key: 1 }
    }

    pub(super) fn into_flash(self) -> F {
        self.flash
    }

    /// A key larger than every one before it.
    pub(super) fn take_key(&mut self) -> Result<u32, StorageError> {
        let key = self.next_key;
        self.next_key = key.checked_add(1).ok_or(StorageError::Failed)?;
        Ok(key)
    }

    /// This key is in flash: it is not given out again.
    pub(super) fn note_key(&mut self, key: u32) {
        self.next_key = self.next_key.max(key.saturating_add(1));
    }

    pub(super) fn read(&mut self, address: u32, bytes: &mut [u8]) -> Result<(), StorageError> {
        at_once(self.flash.read(address, bytes)).map_err(|_| {
            self.report.read_failures = self.report.read_failures.wrapping_add(1);
            StorageError::Failed
        })
    }

    pub(super) fn read_word(&mut self, address: u32) -> Result<u32, StorageError> {
        let mut word = [0; 4];
        self.read(address, &mut word)?;
        Ok(u32::from_le_bytes(word))
    }

    /// Writes whole words and reads them back.
    pub(super) fn write(&mut self, address: u32, bytes: &[u8]) -> Result<(), StorageError> {
        let written = at_once(self.flash.write(address, bytes)).is_ok();
        if written && self.holds(address, bytes)? {
            return Ok(());
        }
        self.report.write_failures = self.report.write_failures.wrapping_add(1);
        Err(StorageError::Failed)
    }

    /// Erases one sector.
    pub(super) fn erase(&mut self, address: u32) -> Result<(), StorageError> {
        self.report.erases = self.report.erases.wrapping_add(1);
        let end = address + F::ERASE_SIZE as u32;
        at_once(self.flash.erase(address, end)).map_err(|_| {
            self.report.erase_failures = self.report.erase_failures.wrapping_add(1);
            StorageError::Failed
        })
    }

    /// Bytes from `start` of a sector up to and with its last word that is not erased; 0 if all of it is.
    pub(super) fn used_bytes(&mut self, start: u32) -> Result<u32, StorageError> {
        const CHUNK: u32 = 64;
        let mut end = F::ERASE_SIZE as u32;
        let mut chunk = [0; CHUNK as usize];
        while end > 0 {
            self.read(start + end - CHUNK, &mut chunk)?;
            if let Some(last) = chunk.iter().rposition(|byte| *byte != 0xFF) {
                return Ok(end - CHUNK + (last as u32 / 4 + 1) * 4);
            }
            end -= CHUNK;
        }
        Ok(0)
    }

    /// Writes a record: its content first, the word that makes it one last.
    pub(super) fn write_record(
        &mut self,
        address: u32,
        kind: Kind,
        key: u32,
        body: &[u8],
    ) -> Result<(), StorageError> {
        let mut bytes = [0xFF; RECORD_BYTES_MAX];
        record::encode(kind, key, body, &mut bytes);
        let end = record_bytes(body.len());
        if end > HEAD_BYTES {
            self.write(address + HEAD_BYTES as u32, &bytes[HEAD_BYTES..end])?;
        }
        self.write(address + 4, &bytes[4..12])?;
        self.write(address, &bytes[..4])
    }

    fn holds(&mut self, address: u32, bytes: &[u8]) -> Result<bool, StorageError> {
        let mut buffer = [0; RECORD_BYTES_MAX];
        let mut address = address;
        for part in bytes.chunks(RECORD_BYTES_MAX) {
            self.read(address, &mut buffer[..part.len()])?;
            if &buffer[..part.len()] != part {
                return Ok(false);
            }
            address += part.len() as u32;
        }
        Ok(true)
    }
}

/// Drives a future to its end in place.
///
/// The device logic is synchronous, because its caller acts on every answer at once: a record is durable on return. On a
/// memory-mapped part, and on the emulated target, a flash future never waits and this is one poll. On a part that takes its
/// time the processor spins here: as long as an erase takes (45 ms is typical of a 4 KiB sector of serial NOR), which is
/// why the sensors' interrupts buffer what they receive. A flash that never answers is the watchdog's.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        core::hint::spin_loop();
    }
}
