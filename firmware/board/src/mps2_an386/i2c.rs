//! The sensors' I2C bus, bit-banged on the SBCon registers, as `embedded_hal::i2c::I2c` and its async twin.
//!
//! A master of 7-bit addresses without clock stretching, as fast as it goes: the emulated parts do not stretch and take any
//! speed, and waiting would be counted as work. It blocks: a transfer of four bytes is some hundred register accesses, well
//! below the 2 ms that a sensor may be late. So the async twin never waits either.
//!
//! Source: Arm DUI 0411 (SBCon), NXP UM10204 (I2C-bus).

use embedded_hal::i2c::{Error, ErrorKind, ErrorType, I2c, NoAcknowledgeSource, Operation};

use super::register::Register;

// SAFETY: the SBCon at which QEMU's `-device` puts a part when no bus is named.
const READ_SET: Register = unsafe { Register::at(0x4002_A000) };
// SAFETY: as above.
const CLEAR: Register = unsafe { Register::at(0x4002_A004) };

const SCL: u32 = 1 << 0;
const SDA: u32 = 1 << 1;
/// Why a transfer ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, defmt::Format)]
pub(crate) enum I2cError {
    /// No device has this address.
    NoDevice,
    /// The device took no more bytes.
    Refused,
    /// Somebody holds the data line down.
    BusStuck,
}

impl Error for I2cError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoDevice => ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address),
            Self::Refused => ErrorKind::NoAcknowledge(NoAcknowledgeSource::Data),
            Self::BusStuck => ErrorKind::Bus,
        }
    }
}

/// The bus. There is one.
pub(crate) struct SensorBus(());

impl SensorBus {
    pub(super) fn start() -> Self {
        READ_SET.write(SCL | SDA);
        Self(())
    }

    fn set(&mut self, lines: u32) {
        READ_SET.write(lines);
    }

    fn clear(&mut self, lines: u32) {
        CLEAR.write(lines);
    }

    /// Also a repeated start.
    fn start_condition(&mut self) -> Result<(), I2cError> {
        self.set(SDA);
        self.set(SCL);
        if READ_SET.read() & SDA == 0 {
            return Err(I2cError::BusStuck);
        }
        self.clear(SDA);
        self.clear(SCL);
        Ok(())
    }

    fn stop_condition(&mut self) {
        self.clear(SDA);
        self.set(SCL);
        self.set(SDA);
    }

    fn write_bit(&mut self, bit: bool) {
        if bit {
            self.set(SDA);
        } else {
            self.clear(SDA);
        }
        self.set(SCL);
        self.clear(SCL);
    }

    fn read_bit(&mut self) -> bool {
        self.set(SDA);
        self.set(SCL);
        let bit = READ_SET.read() & SDA != 0;
        self.clear(SCL);
        bit
    }

    /// True if it was acknowledged.
    fn write_byte(&mut self, byte: u8) -> bool {
        for shift in (0..8).rev() {
            self.write_bit(byte >> shift & 1 == 1);
        }
        !self.read_bit()
    }

    fn read_byte(&mut self, is_last: bool) -> u8 {
        let byte = (0..8).fold(0, |byte, _| byte << 1 | u8::from(self.read_bit()));
        self.write_bit(is_last);
        byte
    }

    fn address(&mut self, address: u8, is_read: bool) -> Result<(), I2cError> {
        self.start_condition()?;
        self.write_byte(address << 1 | u8::from(is_read)).then_some(()).ok_or(I2cError::NoDevice)
    }

    /// One operation; `is_last_of_reads`: the next one is not a read, so the device must let go of the line.
    fn operate(&mut self, operation: &mut Operation<'_>, is_last_of_reads: bool) -> Result<(), I2cError> {
        match operation {
            Operation::Write(bytes) => {
                bytes.iter().all(|byte| self.write_byte(*byte)).then_some(()).ok_or(I2cError::Refused)
            }
            Operation::Read(bytes) => {
                let last = bytes.len().saturating_sub(1);
                for (index, byte) in bytes.iter_mut().enumerate() {
                    *byte = self.read_byte(is_last_of_reads && index == last);
                }
                Ok(())
            }
        }
    }

    fn operate_all(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), I2cError> {
        let mut was_read = None;
        for index in 0..operations.len() {
            let is_read = matches!(operations[index], Operation::Read(_));
            let is_last_of_reads = !matches!(operations.get(index + 1), Some(Operation::Read(_)));
            if was_read != Some(is_read) {
                self.address(address, is_read)?;
            }
            was_read = Some(is_read);
            self.operate(&mut operations[index], is_last_of_reads)?;
        }
        Ok(())
    }
}

impl ErrorType for SensorBus {
    type Error = I2cError;
}

impl I2c for SensorBus {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), I2cError> {
        let result = self.operate_all(address, operations);
        self.stop_condition();
        result
    }
}

/// Never waits; see the module.
impl embedded_hal_async::i2c::I2c for SensorBus {
    async fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), I2cError> {
        I2c::transaction(self, address, operations)
    }
}
