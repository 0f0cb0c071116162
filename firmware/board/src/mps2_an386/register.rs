//! One memory-mapped register. **The addresses of this board's registers are written in this folder and nowhere else.**

use core::ptr::{read_volatile, write_volatile};

/// A 32-bit register. Reading or writing it may have effects in the device.
#[derive(Debug, Clone, Copy)]
pub(super) struct Register(usize);

impl Register {
    /// # Safety
    /// `address` is a register of this board, and its reads and writes do not break Rust's memory rules (no DMA).
    pub(super) const unsafe fn at(address: usize) -> Self {
        Self(address)
    }

    pub(super) fn read(self) -> u32 {
        // SAFETY: `at` promised a readable register.
        unsafe { read_volatile(self.0 as *const u32) }
    }

    pub(super) fn write(self, value: u32) {
        // SAFETY: `at` promised a writable register.
        unsafe { write_volatile(self.0 as *mut u32, value) }
    }
}
