//! Storage on a NOR flash with every fault a real part has.

mod cuts;
mod damage;
mod device;
mod model;
mod nor;
mod wear;

use fieldpost_firmware::storage::{FlashMap, FlashStorage, Region};

use self::nor::{Faults, Nor};

/// Small sectors, so that a short load goes round the ring many times.
pub(crate) const SECTOR: usize = 512;
pub(crate) const SMALL_BYTES: usize = 52 * SECTOR;

const fn sectors(first: u32, count: u32) -> Region {
    Region { start: first * SECTOR as u32, bytes: count * SECTOR as u32 }
}

/// 52 sectors: no slots, two for the boot counter, two for notes, 8, 8 and 32 for the logs.
pub(crate) const SMALL: FlashMap = FlashMap {
    slot_a: sectors(0, 0),
    slot_b: sectors(0, 0),
    boot_counter: sectors(0, 2),
    notes: sectors(2, 2),
    alarm: sectors(4, 8),
    health: sectors(12, 8),
    routine: sectors(20, 32),
};

pub(crate) type SmallStorage = FlashStorage<Nor<SECTOR>>;

/// Mounts what is on the chip.
pub(crate) fn mount(chip: &Nor<SECTOR>) -> SmallStorage {
    let mut storage = FlashStorage::new(chip.clone(), &SMALL);
    storage.mount().unwrap();
    storage
}

pub(crate) fn new_chip() -> Nor<SECTOR> {
    let chip = Nor::erased(SMALL_BYTES);
    chip.power_on(Faults::default());
    chip
}
