//! What the flash was like, for the log and for tests.

use crate::storage::Partition;

/// What became of the boot counter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum CounterState {
    /// Both copies are good, or a power cut left one a step behind.
    #[default]
    Good,
    /// Never written: the first start.
    First,
    /// One copy cannot be read; the other has the number.
    OneCopy,
    /// No copy can be read: the number jumps far beyond every boot known from the records.
    Jumped,
}

/// What a start found and what has happened since. Counters wrap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct FlashReport {
    /// What became of the boot counter.
    pub boot_counter: CounterState,
    /// Entries found at start.
    pub entries: u32,
    /// Partitions that held nothing readable and were erased: a flash that was never formatted, or garbage.
    pub partitions_formatted: u32,
    /// Writes that a power cut tore. They were never acknowledged to anybody: nothing is lost.
    pub writes_torn: u32,
    /// Erases that a power cut interrupted, done again.
    pub erases_resumed: u32,
    /// Records with a flipped bit, put right.
    pub records_repaired: u32,
    /// Records beyond repair: lost.
    pub records_damaged: u32,
    /// Sectors whose content cannot be read, zeroed for example: lost, nobody knows how many records.
    pub sectors_unreadable: u32,
    /// Reads that failed.
    pub read_failures: u32,
    /// Writes that failed, or read back otherwise.
    pub write_failures: u32,
    /// Erases that failed.
    pub erase_failures: u32,
    /// Erases asked for.
    pub erases: u32,
    /// Entries moved out of the way of an erase.
    pub entries_moved: u32,
}

impl FlashReport {
    /// One line for each thing that a person should know. Nothing is said of a flash in order.
    #[cfg(feature = "defmt")]
    pub(super) fn say(&self) {
        match self.boot_counter {
            CounterState::Good => {}
            CounterState::First => defmt::info!("flash: first start"),
            CounterState::OneCopy => defmt::warn!("flash: one copy of the boot counter is unreadable"),
            CounterState::Jumped => {
                defmt::error!(
                    "flash: the boot counter is unreadable: the boot id jumps, so that none repeats"
                );
            }
        }
        if self.partitions_formatted > 0 {
            defmt::warn!(
                "flash: {=u32} partitions held nothing readable and were erased",
                self.partitions_formatted
            );
        }
        if self.writes_torn > 0 || self.erases_resumed > 0 {
            defmt::info!(
                "flash: a power cut tore {=u32} writes and {=u32} erases; nothing acknowledged is lost",
                self.writes_torn,
                self.erases_resumed
            );
        }
        if self.records_repaired > 0 {
            defmt::warn!("flash: {=u32} records had a flipped bit, put right", self.records_repaired);
        }
        if self.records_damaged > 0 || self.sectors_unreadable > 0 {
            defmt::error!(
                "flash: lost {=u32} records and {=u32} unreadable sectors",
                self.records_damaged,
                self.sectors_unreadable
            );
        }
    }

    #[cfg(not(feature = "defmt"))]
    pub(super) fn say(&self) {}

    /// What must not grow while a device runs, for [`Troubles::say`].
    pub(super) fn troubles(&self) -> Troubles {
        Troubles {
            failures: [self.read_failures, self.write_failures, self.erase_failures],
            records_repaired: self.records_repaired,
            records_damaged: self.records_damaged,
        }
    }
}

/// Counters that are said again whenever one of them has grown. That is never on the way of an ordinary record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Troubles {
    /// Of reads, writes and erases.
    failures: [u32; 3],
    records_repaired: u32,
    records_damaged: u32,
}

impl Troubles {
    #[cfg(feature = "defmt")]
    pub(super) fn say(self) {
        let [reads, writes, erases] = self.failures;
        defmt::warn!(
            "flash: so far {=u32} reads, {=u32} writes and {=u32} erases failed, {=u32} records repaired, {=u32} lost",
            reads,
            writes,
            erases,
            self.records_repaired,
            self.records_damaged
        );
    }

    #[cfg(not(feature = "defmt"))]
    #[expect(clippy::unused_self, reason = "without defmt there is nobody to say it to")]
    pub(super) fn say(self) {}
}

/// No partition that is full stays unsaid, and none is said twice before it has room again.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FullSaid([bool; 3]);

impl FullSaid {
    pub(super) fn note(&mut self, partition: Partition, is_full: bool) {
        let said = &mut self.0[partition as usize];
        #[cfg(feature = "defmt")]
        if is_full && !*said {
            defmt::warn!("flash: {} is full; what comes is refused until something is removed", partition);
        }
        *said = is_full;
    }
}
