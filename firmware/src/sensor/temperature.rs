//! Device temperature from an LM75 or one of its many copies (TMP105, at 0x48 on the emulated target).
//!
//! Source: Texas Instruments, LM75B, SNIS153; TMP105, SBOS648: register 0, two's complement, degrees in the first byte.

use embedded_hal::i2c::I2c;
use lm75::{Address, Error, Lm75};

use super::{Fault, fault_of};

/// The parts' operating range in degrees Celsius. A floating bus reads as -1 or 0, a dead part as -128 or 127.
const RANGE_DEGC: core::ops::RangeInclusive<i8> = -55..=125;

/// Reads the temperature in whole degrees Celsius, rounded down.
///
/// # Errors
/// [`Fault::NoAnswer`], [`Fault::Bus`], or [`Fault::Implausible`] outside -55 to 125.
pub fn read_degc<I2C: I2c>(bus: &mut I2C, address: u8) -> Result<i8, Fault> {
    let mut part = Lm75::new(bus, Address::from(address));
    let degc = part.read_temperature().map_err(|error| match error {
        Error::I2C(error) => fault_of(&error),
        Error::InvalidInputData => Fault::Implausible,
    })?;
    // In half degrees between -128 and 127.5: the cast only cuts the fraction.
    let degc = libm::floorf(degc) as i8;
    if RANGE_DEGC.contains(&degc) { Ok(degc) } else { Err(Fault::Implausible) }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
    use embedded_hal_mock::eh1::i2c::{Mock, Transaction};

    use super::*;

    fn read(transaction: Transaction) -> Result<i8, Fault> {
        let mut bus = Mock::new(&[transaction]);
        let degc = read_degc(&mut bus, 0x48);
        bus.done();
        degc
    }

    fn answer(bytes: [u8; 2]) -> Transaction {
        Transaction::write_read(0x48, vec![0], bytes.to_vec())
    }

    #[test]
    fn whole_degrees_of_both_signs() {
        for (bytes, degc) in [([0x17, 0x80], 23), ([0, 0], 0), ([0xE7, 0], -25), ([0xFF, 0x80], -1)] {
            assert_eq!(read(answer(bytes)), Ok(degc));
        }
    }

    #[test]
    fn what_the_part_cannot_measure_is_a_fault() {
        for bytes in [[0x80, 0], [0x7F, 0xF0], [0x7E, 0]] {
            assert_eq!(read(answer(bytes)), Err(Fault::Implausible));
        }
    }

    #[test]
    fn a_missing_part_and_a_broken_bus_are_told_apart() {
        let missing = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);
        assert_eq!(read(answer([0, 0]).with_error(missing)), Err(Fault::NoAnswer));
        assert_eq!(read(answer([0, 0]).with_error(ErrorKind::ArbitrationLoss)), Err(Fault::Bus));
    }
}
