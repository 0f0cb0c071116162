//! Acceleration: the seam that any three-axis part fits, and the driver of one that many body-worn devices have.

use embedded_hal::i2c::I2c;
use lis2dh12::{
    Error, ErrorKind, FifoMode, FullScale, Lis2dh12 as Driver, Mode, Odr, RawAccelerometer, SlaveAddr,
};

use super::{Fault, fault_of};

/// One sample in mg: at rest it is 1000 long and points up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Sample {
    /// Along the part's x axis.
    pub x_mg: i16,
    /// Along the part's y axis.
    pub y_mg: i16,
    /// Along the part's z axis.
    pub z_mg: i16,
}

/// Samples of one read: a full FIFO of 32.
pub const SAMPLE_COUNT_MAX: usize = 32;

/// Samples of one read, oldest first.
pub type Samples = heapless::Vec<Sample, SAMPLE_COUNT_MAX>;

/// A three-axis accelerometer that samples at a steady rate.
pub trait Accelerometer {
    /// Time between samples in ms.
    fn period_ms(&self) -> u16;

    /// What was sampled since the last read, oldest first.
    ///
    /// # Errors
    /// [`Fault`]; the samples of that time are gone, and nobody is said to be down for it.
    fn read(&mut self) -> Result<Samples, Fault>;
}

/// LIS2DH12 (ST, DS11648): +-16 g at 100 Hz through its FIFO, so that a crash is seen whole though the bus is read four
/// times a second.
///
/// 12 mg per digit: coarse for a posture, whose threshold is 60 degrees, and wide enough that 2.5 g is far from the end.
#[derive(Debug)]
pub struct Lis2dh12<I2C> {
    bus: I2C,
    address_is_high: bool,
    is_configured: bool,
}

/// The last four of sixteen bits are empty in high resolution.
const DIGIT_SHIFT: u32 = 4;
const MG_PER_DIGIT: i16 = 12;

impl<I2C: I2c> Lis2dh12<I2C> {
    /// A part at 0x18, or 0x19 if `address_is_high`. Nothing is sent yet: the first read configures it, and so does the
    /// first after a fault.
    pub fn new(bus: I2C, address_is_high: bool) -> Self {
        Self { bus, address_is_high, is_configured: false }
    }

    fn address(&self) -> SlaveAddr {
        SlaveAddr::Alternative(self.address_is_high)
    }

    fn try_configure(&mut self) -> Result<(), Error<I2C::Error>> {
        let address = self.address();
        let mut part = Driver::new(&mut self.bus, address)?;
        part.reset()?;
        part.set_fs(FullScale::G16)?;
        part.set_mode(Mode::HighResolution)?;
        part.set_bdu(true)?;
        part.enable_axis((true, true, true))?;
        part.set_fm(FifoMode::Stream)?;
        part.enable_fifo(true)?;
        part.set_odr(Odr::Hz100)
    }

    fn try_read(&mut self) -> Result<Option<Samples>, Error<I2C::Error>> {
        let address = self.address();
        // Asks for the part's identity again: one that lost its supply is found here.
        let mut part = Driver::new(&mut self.bus, address)?;
        let waiting = part.get_stored_samples()?;
        let mut samples = Samples::new();
        for _ in 0..waiting {
            let raw = part.accel_raw()?;
            let mg = |digits: i16| (digits >> DIGIT_SHIFT) * MG_PER_DIGIT;
            let sample = Sample { x_mg: mg(raw.x), y_mg: mg(raw.y), z_mg: mg(raw.z) };
            samples.push(sample).expect("the count is of five bits");
        }
        Ok(Some(samples))
    }
}

impl<I2C: I2c> Accelerometer for Lis2dh12<I2C> {
    fn period_ms(&self) -> u16 {
        10
    }

    /// Not more often than every 20 ms: no sample in that time means that the part has lost its configuration.
    fn read(&mut self) -> Result<Samples, Fault> {
        let outcome = if self.is_configured { self.try_read() } else { self.try_configure().map(|()| None) };
        let outcome = match outcome {
            Ok(Some(samples)) if samples.is_empty() => Err(Fault::Stopped),
            Ok(samples) => Ok(samples.unwrap_or_default()),
            Err(error) => Err(match (error.kind(), error.cause()) {
                (ErrorKind::Device, _) => Fault::WrongPart,
                (_, Some(cause)) => fault_of(cause),
                _ => Fault::Bus,
            }),
        };
        self.is_configured = outcome.is_ok();
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::{vec, vec::Vec};

    use embedded_hal::i2c::{ErrorKind as BusError, NoAcknowledgeSource};
    use embedded_hal_mock::eh1::i2c::{Mock, Transaction};

    use super::*;

    const ADDRESS: u8 = 0x18;
    const WHO_AM_I: u8 = 0x0F;
    const FIFO_SRC: u8 = 0x2F;

    fn identity() -> Transaction {
        Transaction::write_read(ADDRESS, vec![WHO_AM_I], vec![0x33])
    }

    fn waiting(count: u8) -> Transaction {
        Transaction::write_read(ADDRESS, vec![FIFO_SRC], vec![count])
    }

    fn sample(x: i16, y: i16, z: i16) -> Transaction {
        let bytes = [x, y, z].iter().flat_map(|digits| (digits << DIGIT_SHIFT).to_le_bytes()).collect();
        Transaction::write_read(ADDRESS, vec![0x80 | 0x28], bytes)
    }

    fn configured(script: &[Transaction]) -> (Mock, Lis2dh12<Mock>) {
        let bus = Mock::new(script);
        (bus.clone(), Lis2dh12 { is_configured: true, ..Lis2dh12::new(bus, false) })
    }

    #[test]
    fn what_waits_in_the_part_comes_in_mg_and_in_order() {
        let script = [identity(), waiting(2), sample(0, 83, 0), sample(-2048, 2047, 1)];
        let (mut bus, mut part) = configured(&script);
        let samples = part.read();
        let expected =
            [Sample { x_mg: 0, y_mg: 996, z_mg: 0 }, Sample { x_mg: -24_576, y_mg: 24_564, z_mg: 12 }];
        assert_eq!(samples.as_deref(), Ok(&expected[..]));
        bus.done();
    }

    #[test]
    fn another_part_at_the_address_is_named() {
        let script = [Transaction::write_read(ADDRESS, vec![WHO_AM_I], vec![0x32])];
        let mut bus = Mock::new(&script);
        assert_eq!(Lis2dh12::new(bus.clone(), false).read(), Err(Fault::WrongPart));
        bus.done();
    }

    #[test]
    fn a_part_that_lost_its_supply_is_configured_anew() {
        let missing = BusError::NoAcknowledge(NoAcknowledgeSource::Address);
        let script = [identity(), waiting(0), identity().with_error(missing), identity().with_error(missing)];
        let (mut bus, mut part) = configured(&script);
        assert_eq!(part.read(), Err(Fault::Stopped), "configured, and yet no sample");
        assert!(!part.is_configured);
        assert_eq!(part.read(), Err(Fault::NoAnswer));
        assert_eq!(part.read(), Err(Fault::NoAnswer));
        bus.done();
    }

    /// Registers of a part, behind a bus.
    struct Part([u8; 64]);

    impl embedded_hal::i2c::ErrorType for Part {
        type Error = BusError;
    }

    impl I2c for Part {
        fn transaction(
            &mut self,
            _: u8,
            operations: &mut [embedded_hal::i2c::Operation<'_>],
        ) -> Result<(), BusError> {
            match operations {
                [embedded_hal::i2c::Operation::Write([register, values @ ..])] => {
                    for (offset, value) in values.iter().enumerate() {
                        self.0[usize::from(register & 0x3F) + offset] = *value;
                    }
                }
                [
                    embedded_hal::i2c::Operation::Write([register]),
                    embedded_hal::i2c::Operation::Read(buffer),
                ] => {
                    let from = usize::from(register & 0x3F);
                    buffer.copy_from_slice(&self.0[from..from + buffer.len()]);
                }
                _ => return Err(BusError::Other),
            }
            Ok(())
        }
    }

    #[test]
    fn the_first_read_sets_sixteen_g_a_hundred_hertz_and_the_fifo() {
        let mut registers = [0; 64];
        registers[usize::from(WHO_AM_I)] = 0x33;
        let mut part = Lis2dh12::new(Part(registers), false);
        assert_eq!(part.read().as_deref(), Ok(&[][..]));
        let control: Vec<u8> = part.bus.0[0x20..=0x25].to_vec();
        // CTRL1: 100 Hz, three axes. CTRL4: block update, +-16 g, high resolution. CTRL5: FIFO. FIFO_CTRL: stream.
        assert_eq!((control[0], control[3], control[4], part.bus.0[0x2E]), (0x57, 0xB8, 0x40, 0x80));
    }
}
