//! A NOR flash on the host: 4-byte words, bits only fall between erases, every fault a real part has.

use std::{cell::RefCell, rc::Rc, vec::Vec};

use embedded_storage_async::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};

/// What the flash does wrong.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// The supply fails at this word written or sector erased, counted from now. That one is done in part.
    pub(crate) cut_after: Option<u64>,
    /// Decides which part.
    pub(crate) seed: u64,
    /// Every n-th word fails to program: it stays as it was, and the driver says so or not.
    pub(crate) fail_write_every: Option<u64>,
    /// A failed word is only found by reading it back.
    pub(crate) fails_silently: bool,
    /// Every n-th erase fails.
    pub(crate) fail_erase_every: Option<u64>,
}

#[derive(Clone)]
pub(crate) struct Chip {
    pub(crate) bytes: Vec<u8>,
    /// Erases, by sector.
    pub(crate) erases: Vec<u32>,
    pub(crate) words_written: u64,
    pub(crate) reads: u64,
    pub(crate) bytes_read: u64,
    /// Words written and sectors erased.
    steps: u64,
    pub(crate) faults: Faults,
    is_dead: bool,
}

/// A handle: the chip outlives the device that was cut.
pub(crate) struct Nor<const SECTOR: usize>(pub(crate) Rc<RefCell<Chip>>);

impl<const SECTOR: usize> Clone for Nor<SECTOR> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<const SECTOR: usize> Nor<SECTOR> {
    pub(crate) fn erased(bytes: usize) -> Self {
        Self::filled(bytes, 0xFF)
    }

    pub(crate) fn filled(bytes: usize, byte: u8) -> Self {
        Self(Rc::new(RefCell::new(Chip {
            bytes: vec![byte; bytes],
            erases: vec![0; bytes / SECTOR],
            words_written: 0,
            reads: 0,
            bytes_read: 0,
            steps: 0,
            faults: Faults::default(),
            is_dead: false,
        })))
    }

    /// Another chip with the same content.
    pub(crate) fn fork(&self) -> Self {
        Self(Rc::new(RefCell::new(self.0.borrow().clone())))
    }

    /// Power is back, with these faults from now on.
    pub(crate) fn power_on(&self, faults: Faults) {
        let mut chip = self.0.borrow_mut();
        (chip.is_dead, chip.steps, chip.faults) = (false, 0, faults);
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.0.borrow().is_dead
    }

    /// Words written and sectors erased since power came.
    pub(crate) fn steps(&self) -> u64 {
        self.0.borrow().steps
    }

    pub(crate) fn flip(&self, bit: usize) {
        self.0.borrow_mut().bytes[bit / 8] ^= 1 << (bit % 8);
    }

    pub(crate) fn zero(&self, start: usize, bytes: usize) {
        self.0.borrow_mut().bytes[start..start + bytes].fill(0);
    }
}

/// What the driver says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Cut,
    Program,
    Erase,
}

impl NorFlashError for Fault {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

impl<const SECTOR: usize> ErrorType for Nor<SECTOR> {
    type Error = Fault;
}

fn mix(mut value: u64) -> u64 {
    value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB)
}

impl Chip {
    /// Counts a step; says whether the supply fails in it.
    fn step(&mut self) -> Result<bool, Fault> {
        if self.is_dead {
            return Err(Fault::Cut);
        }
        self.is_dead = self.faults.cut_after == Some(self.steps);
        self.steps += 1;
        Ok(self.is_dead)
    }

    fn write_word(&mut self, at: usize, word: [u8; 4]) -> Result<(), Fault> {
        let is_cut = self.step()?;
        if self.faults.fail_write_every.is_some_and(|every| self.steps.is_multiple_of(every)) {
            return if self.faults.fails_silently { Ok(()) } else { Err(Fault::Program) };
        }
        let torn = mix(self.faults.seed ^ self.steps).to_le_bytes();
        for (place, byte) in word.into_iter().enumerate() {
            // In a torn word only some of the bits have fallen.
            let kept = if is_cut { torn[place] } else { 0 };
            self.bytes[at + place] &= byte | kept;
        }
        self.words_written += 1;
        if is_cut { Err(Fault::Cut) } else { Ok(()) }
    }

    fn erase_sector(&mut self, start: usize, bytes: usize) -> Result<(), Fault> {
        let is_cut = self.step()?;
        self.erases[start / bytes] += 1;
        if self
            .faults
            .fail_erase_every
            .is_some_and(|every| u64::from(self.erases.iter().sum::<u32>()).is_multiple_of(every))
        {
            return Err(Fault::Erase);
        }
        // An interrupted erase has raised all bits, none, or some, differently from place to place.
        let style = mix(self.faults.seed) % 4;
        for at in start..start + bytes {
            let raised = match style {
                _ if !is_cut => 0xFF,
                0 => 0,
                1 => mix(self.faults.seed ^ at as u64).to_le_bytes()[0],
                2 if at < start + bytes / 2 => 0xFF,
                2 => 0,
                _ if at >= start + bytes / 3 => 0xFF,
                _ => mix(self.faults.seed ^ (at as u64 / 16)).to_le_bytes()[0],
            };
            self.bytes[at] |= raised;
        }
        if is_cut { Err(Fault::Cut) } else { Ok(()) }
    }
}

impl<const SECTOR: usize> ReadNorFlash for Nor<SECTOR> {
    const READ_SIZE: usize = 4;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Fault> {
        let mut chip = self.0.borrow_mut();
        assert!(offset.is_multiple_of(4) && bytes.len().is_multiple_of(4), "reads are of whole words");
        chip.reads += 1;
        chip.bytes_read += bytes.len() as u64;
        if chip.is_dead {
            return Err(Fault::Cut);
        }
        bytes.copy_from_slice(&chip.bytes[offset as usize..offset as usize + bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.borrow().bytes.len()
    }
}

impl<const SECTOR: usize> NorFlash for Nor<SECTOR> {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = SECTOR;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Fault> {
        assert!(
            (from as usize).is_multiple_of(SECTOR) && (to as usize).is_multiple_of(SECTOR),
            "erases are of whole sectors"
        );
        let mut chip = self.0.borrow_mut();
        for start in (from as usize..to as usize).step_by(SECTOR) {
            chip.erase_sector(start, SECTOR)?;
        }
        Ok(())
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Fault> {
        assert!(offset.is_multiple_of(4) && bytes.len().is_multiple_of(4), "writes are of whole words");
        let mut chip = self.0.borrow_mut();
        for (place, word) in bytes.chunks_exact(4).enumerate() {
            let at = offset as usize + place * 4;
            let is_cut_or_failed = chip.write_word(at, [word[0], word[1], word[2], word[3]]);
            is_cut_or_failed?;
        }
        Ok(())
    }
}
