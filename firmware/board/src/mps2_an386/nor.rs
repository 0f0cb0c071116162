//! The NOR flash, as `embedded_storage::nor_flash::NorFlash` and its async twin.
//!
//! A stand-in: 16 MiB of memory that the rig keeps in a file. It behaves as NOR flash where that matters to the storage code:
//! **a write only clears bits, only an erase sets them**, erase units of 4 KiB, write units of 4 bytes. What it does not show
//! (time, wear, a half-erased sector) `docs/FIRMWARE.md` says. Nothing waits, so the async twin completes at its first poll.

use core::ptr;

use embedded_storage::nor_flash::{
    ErrorType, MultiwriteNorFlash, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read,
    check_write,
};

const BASE: usize = 0x2100_0000;
/// 16 MiB.
pub(crate) const FLASH_BYTES: usize = 16 << 20;
const WRITE_BYTES: usize = 4;
const ERASE_BYTES: usize = 4096;
const ERASED: u32 = u32::MAX;

/// The flash. There is one.
pub(crate) struct Nor {
    /// What lies below is lent out and not written any more.
    lent_to: u32,
}

/// A write or an erase of what is lent out.
const LENT: NorFlashErrorKind = NorFlashErrorKind::Other;

impl Nor {
    pub(super) fn start() -> Self {
        Self { lent_to: 0 }
    }

    /// The first `bytes` of the flash as memory, for ever. **From now on they are neither written nor erased.**
    pub(crate) fn lend(&mut self, bytes: usize) -> &'static [u8] {
        assert!(bytes <= FLASH_BYTES, "the flash map lies inside the flash");
        self.lent_to = self.lent_to.max(u32::try_from(bytes).expect("the flash is 16 MiB"));
        // SAFETY: inside the flash; `write` and `erase` leave it alone from now on, and nothing else writes there.
        unsafe { core::slice::from_raw_parts(BASE as *const u8, bytes) }
    }

    fn guard(&self, offset: u32) -> Result<(), NorFlashErrorKind> {
        if offset < self.lent_to { Err(LENT) } else { Ok(()) }
    }

    fn word(offset: usize) -> *mut u32 {
        debug_assert!(offset + WRITE_BYTES <= FLASH_BYTES && offset.is_multiple_of(WRITE_BYTES));
        (BASE + offset) as *mut u32
    }
}

impl ErrorType for Nor {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Nor {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, offset, bytes.len())?;
        for (index, byte) in bytes.iter_mut().enumerate() {
            // SAFETY: inside the flash by `check_read`; memory of no Rust object.
            *byte = unsafe { ptr::read_volatile((BASE + offset as usize + index) as *const u8) };
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        FLASH_BYTES
    }
}

impl NorFlash for Nor {
    const WRITE_SIZE: usize = WRITE_BYTES;
    const ERASE_SIZE: usize = ERASE_BYTES;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        check_erase(self, from, to)?;
        self.guard(from)?;
        for offset in (from as usize..to as usize).step_by(WRITE_BYTES) {
            // SAFETY: inside the flash and aligned by `check_erase`; memory of no Rust object.
            unsafe { ptr::write_volatile(Self::word(offset), ERASED) }
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, offset, bytes.len())?;
        self.guard(offset)?;
        let (words, _) = bytes.as_chunks::<WRITE_BYTES>();
        for (index, word) in words.iter().enumerate() {
            let cell = Self::word(offset as usize + index * WRITE_BYTES);
            // SAFETY: inside the flash and aligned by `check_write`; memory of no Rust object.
            unsafe { ptr::write_volatile(cell, ptr::read_volatile(cell) & u32::from_le_bytes(*word)) }
        }
        Ok(())
    }
}

/// A word may be written again as long as only bits are cleared.
impl MultiwriteNorFlash for Nor {}

impl embedded_storage_async::nor_flash::ReadNorFlash for Nor {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        ReadNorFlash::read(self, offset, bytes)
    }

    fn capacity(&self) -> usize {
        FLASH_BYTES
    }
}

impl embedded_storage_async::nor_flash::NorFlash for Nor {
    const WRITE_SIZE: usize = WRITE_BYTES;
    const ERASE_SIZE: usize = ERASE_BYTES;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        NorFlash::erase(self, from, to)
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        NorFlash::write(self, offset, bytes)
    }
}

impl embedded_storage_async::nor_flash::MultiwriteNorFlash for Nor {}
