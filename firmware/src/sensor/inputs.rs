//! Eight lines on a port expander with the register layout of PCA9538 and MAX7310.
//!
//! A driver of our own: the crate for these parts reads one pin per transfer through a `RefCell` and knows none of them at
//! 0x20. Here one transfer gives all eight levels of the same instant, which is what debouncing needs.
//!
//! Source: NXP, PCA9538, and Maxim, MAX7310: input 0, output 1, polarity 2, configuration 3 (1 = input).

use embedded_hal::i2c::I2c;

use super::{Fault, fault_of};

const INPUT: u8 = 0;
const OUTPUT: u8 = 1;
const POLARITY: u8 = 2;
const CONFIGURATION: u8 = 3;

/// Levels of the eight lines, bit 0 the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Inputs(pub u8);

impl Inputs {
    /// 1: a weapon is in the holster.
    pub const HOLSTER: u8 = 1 << 0;
    /// 1: the case is open.
    pub const CASE_OPEN: u8 = 1 << 1;
    /// 1: the wearer is on duty.
    pub const DUTY: u8 = 1 << 2;
    /// 1: the emergency button is pressed.
    pub const PANIC: u8 = 1 << 3;
    /// 1: the cancel button is pressed.
    pub const CANCEL: u8 = 1 << 4;
    /// 1: in the dock or on a charger.
    pub const DOCK: u8 = 1 << 5;
    /// 1: the CED is armed.
    pub const CED_ARMED: u8 = 1 << 6;

    /// Whether all these lines are high.
    #[must_use]
    pub fn has(self, mask: u8) -> bool {
        self.0 & mask == mask
    }
}

/// The expander. The lines of `output_mask` drive the wearer's light or buzzer; all others are inputs.
#[derive(Debug, Clone, Copy)]
pub struct Expander {
    address: u8,
    output_mask: u8,
}

impl Expander {
    /// An expander at this address. Nothing is sent yet.
    #[must_use]
    pub fn new(address: u8, output_mask: u8) -> Self {
        Self { address, output_mask }
    }

    /// Sets polarity and direction, outputs low. Also after [`Fault::NoAnswer`]: the part may have lost its supply.
    ///
    /// # Errors
    /// [`Fault::NoAnswer`] or [`Fault::Bus`]; then call it again before [`Expander::read`] is believed.
    pub fn configure<I2C: I2c>(&self, bus: &mut I2C) -> Result<(), Fault> {
        // The output register first: a line must not flash when it becomes an output. MAX7310 inverts half of its inputs
        // at power-on.
        for (register, value) in [(OUTPUT, 0), (POLARITY, 0), (CONFIGURATION, !self.output_mask)] {
            self.write(bus, register, value)?;
        }
        Ok(())
    }

    /// All levels at once.
    ///
    /// # Errors
    /// [`Fault::NoAnswer`] or [`Fault::Bus`]. The levels before then stand: a button is neither pressed nor released by
    /// a bus that fails.
    pub fn read<I2C: I2c>(&self, bus: &mut I2C) -> Result<Inputs, Fault> {
        let mut levels = [0];
        bus.write_read(self.address, &[INPUT], &mut levels).map_err(|error| fault_of(&error))?;
        Ok(Inputs(levels[0]))
    }

    /// Drives the outputs; bits that are not outputs have no effect.
    ///
    /// # Errors
    /// [`Fault::NoAnswer`] or [`Fault::Bus`].
    pub fn drive<I2C: I2c>(&self, bus: &mut I2C, levels: u8) -> Result<(), Fault> {
        self.write(bus, OUTPUT, levels & self.output_mask)
    }

    fn write<I2C: I2c>(&self, bus: &mut I2C, register: u8, value: u8) -> Result<(), Fault> {
        bus.write(self.address, &[register, value]).map_err(|error| fault_of(&error))
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
    use embedded_hal_mock::eh1::i2c::{Mock, Transaction};

    use super::*;

    const MISSING: ErrorKind = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);

    #[test]
    fn outputs_are_low_before_they_are_outputs() {
        let mut bus = Mock::new(&[
            Transaction::write(0x20, vec![1, 0]),
            Transaction::write(0x20, vec![2, 0]),
            Transaction::write(0x20, vec![3, 0x7F]),
            Transaction::write_read(0x20, vec![0], vec![0b0000_1001]),
            Transaction::write(0x20, vec![1, 0x80]),
        ]);
        let expander = Expander::new(0x20, 0x80);
        expander.configure(&mut bus).unwrap();
        let inputs = expander.read(&mut bus).unwrap();
        assert!(inputs.has(Inputs::HOLSTER | Inputs::PANIC) && !inputs.has(Inputs::CANCEL));
        expander.drive(&mut bus, 0xFF).unwrap();
        bus.done();
    }

    #[test]
    fn a_part_that_is_gone_is_a_fault_at_every_step() {
        let expander = Expander::new(0x20, 0x80);
        let mut bus = Mock::new(&[
            Transaction::write(0x20, vec![1, 0]),
            Transaction::write(0x20, vec![2, 0]).with_error(MISSING),
            Transaction::write_read(0x20, vec![0], vec![0]).with_error(MISSING),
            Transaction::write(0x20, vec![1, 0]).with_error(ErrorKind::Bus),
        ]);
        assert_eq!(expander.configure(&mut bus), Err(Fault::NoAnswer), "and nothing more is sent");
        assert_eq!(expander.read(&mut bus), Err(Fault::NoAnswer));
        assert_eq!(expander.drive(&mut bus, 0), Err(Fault::Bus));
        bus.done();
    }
}
