//! Where everything lies in flash.

use core::ops::Range;

/// A part of the flash, in bytes from its start: whole erase blocks of 4 KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Region {
    /// First byte.
    pub start: u32,
    /// Length.
    pub bytes: u32,
}

impl Region {
    /// Its addresses.
    #[must_use]
    pub const fn range(&self) -> Range<u32> {
        self.start..self.start + self.bytes
    }
}

/// The flash map. A device maker may move regions (same order, same sizes or larger); everything else follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct FlashMap {
    /// Provisioning slot A ([`crate::slot`]).
    pub slot_a: Region,
    /// Provisioning slot B, for renewal.
    pub slot_b: Region,
    /// Boot counter: two erase blocks.
    pub boot_counter: Region,
    /// Device notes: two erase blocks.
    pub notes: Region,
    /// Alarms and their cancellations.
    pub alarm: Region,
    /// Opt-in health.
    pub health: Region,
    /// Live and backlog.
    pub routine: Region,
}

impl FlashMap {
    /// 448 KiB from the start of the flash; 32 KiB of them are spare.
    pub const STANDARD: Self = Self {
        slot_a: Region { start: 0x00_0000, bytes: 0x2000 },
        slot_b: Region { start: 0x00_2000, bytes: 0x2000 },
        boot_counter: Region { start: 0x00_4000, bytes: 0x2000 },
        notes: Region { start: 0x00_6000, bytes: 0x2000 },
        alarm: Region { start: 0x01_0000, bytes: 0x1_0000 },
        health: Region { start: 0x02_0000, bytes: 0x1_0000 },
        routine: Region { start: 0x03_0000, bytes: 0x4_0000 },
    };
}
