//! Real-time clock DS1338 or DS1307 (0x68): what time it is before the first fix.
//!
//! **A clock that stopped, or digits that are none, give no time at all**; a good one is judged by [`crate::clock`] like
//! any other source and is worth less than each of them. A driver of our own: the crate for this part takes `0x1A` for 20
//! and does not look at the flag that the oscillator stopped, which is how a flat backup cell shows.
//!
//! Source: Maxim, DS1338, 19-5222: registers 0 to 6 in BCD, bit 7 of 0 = clock halted, bit 5 of 7 = oscillator stopped
//! (DS1307 has no such flag and reads 0 there). Only the 24-hour form is written and read. Years are 2000 to 2099.

use embedded_hal::i2c::I2c;

use super::{Fault, fault_of};

const HALTED: u8 = 0x80;
const TWELVE_HOURS: u8 = 0x40;
const STOPPED: u8 = 0x20;
const MS_PER_DAY: u64 = 86_400_000;
/// Days from 1970-01-01 to 2000-01-01.
const EPOCH_2000_DAYS: u64 = 10_957;

/// Reads Unix time in ms, whole seconds.
///
/// # Errors
/// [`Fault::NoAnswer`], [`Fault::Bus`], [`Fault::Stopped`] if the oscillator was or is off, [`Fault::Implausible`] if the
/// registers hold no date.
pub fn read_unix_ms<I2C: I2c>(bus: &mut I2C, address: u8) -> Result<u64, Fault> {
    let mut registers = [0; 8];
    // One transfer: the part latches the time at its start.
    bus.write_read(address, &[0], &mut registers).map_err(|error| fault_of(&error))?;
    let [second, minute, hour, _, day, month, year, control] = registers;
    if second & HALTED != 0 || control & STOPPED != 0 {
        return Err(Fault::Stopped);
    }
    if hour & TWELVE_HOURS != 0 {
        return Err(Fault::Implausible);
    }
    let (second, minute, hour) = (digits(second, 0, 59)?, digits(minute, 0, 59)?, digits(hour, 0, 23)?);
    let (month, year) = (digits(month, 1, 12)?, digits(year, 0, 99)?);
    let day = digits(day, 1, days_of(month, year))?;
    let days = EPOCH_2000_DAYS + days_before(day, month, year);
    Ok(days * MS_PER_DAY + (hour * 3600 + minute * 60 + second) * 1000)
}

/// Sets the clock and starts it. Worth doing after each hour of satellite or gateway time.
///
/// # Errors
/// [`Fault::NoAnswer`], [`Fault::Bus`], or [`Fault::Implausible`] outside 2000 to 2099; nothing was written then.
pub fn set_unix_ms<I2C: I2c>(bus: &mut I2C, address: u8, unix_ms: u64) -> Result<(), Fault> {
    let days = (unix_ms / MS_PER_DAY).checked_sub(EPOCH_2000_DAYS).ok_or(Fault::Implausible)?;
    let (day, month, year) = date_of(days).ok_or(Fault::Implausible)?;
    let second_of_day = unix_ms % MS_PER_DAY / 1000;
    let [hour, minute, second] = [second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60];
    // 2000-01-01 was a Saturday, 7 of 1 to 7. Control 0: no square wave, and the stopped flag is cleared.
    let weekday = (days + 6) % 7 + 1;
    let [second, minute, hour, day, month, year] = [second, minute, hour, day, month, year].map(bcd);
    let frame = [0, second, minute, hour, bcd(weekday), day, month, year, 0];
    bus.write(address, &frame).map_err(|error| fault_of(&error))
}

/// Two BCD digits within a range.
fn digits(register: u8, min: u64, max: u64) -> Result<u64, Fault> {
    let (tens, ones) = (register >> 4, register & 0x0F);
    let value = u64::from(tens * 10 + ones);
    if tens <= 9 && ones <= 9 && (min..=max).contains(&value) { Ok(value) } else { Err(Fault::Implausible) }
}

fn bcd(value: u64) -> u8 {
    // Callers pass at most 99.
    (value / 10 % 10 * 16 + value % 10) as u8
}

/// 2000 to 2099 holds no exception to the rule of four.
fn days_of(month: u64, year: u64) -> u64 {
    match month {
        2 if year.is_multiple_of(4) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 2000-01-01.
fn days_before(day: u64, month: u64, year: u64) -> u64 {
    let months: u64 = (1..month).map(|month| days_of(month, year)).sum();
    year * 365 + year.div_ceil(4) + months + day - 1
}

fn date_of(days: u64) -> Option<(u64, u64, u64)> {
    let mut left = days;
    let year = (0..100).find(|year| {
        let year_days = if u64::is_multiple_of(*year, 4) { 366 } else { 365 };
        let is_in = left < year_days;
        left -= if is_in { 0 } else { year_days };
        is_in
    })?;
    let month = (1..=12).find(|month| {
        let month_days = days_of(*month, year);
        let is_in = left < month_days;
        left -= if is_in { 0 } else { month_days };
        is_in
    })?;
    Some((left + 1, month, year))
}

#[cfg(test)]
mod tests {
    use std::vec;

    use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
    use embedded_hal_mock::eh1::i2c::{Mock, Transaction};
    use proptest::prelude::{any, proptest};

    use super::*;

    /// 2026-06-01 12:34:56 UTC, a Monday.
    const UNIX_MS: u64 = 1_780_317_296_000;
    const GOOD: [u8; 8] = [0x56, 0x34, 0x12, 0x02, 0x01, 0x06, 0x26, 0];

    fn read(registers: [u8; 8]) -> Result<u64, Fault> {
        let mut bus = Mock::new(&[Transaction::write_read(0x68, vec![0], registers.to_vec())]);
        let time = read_unix_ms(&mut bus, 0x68);
        bus.done();
        time
    }

    fn written(unix_ms: u64) -> [u8; 8] {
        /// A bus that remembers.
        struct Memory([u8; 8]);
        impl embedded_hal::i2c::ErrorType for Memory {
            type Error = ErrorKind;
        }
        impl I2c for Memory {
            fn transaction(
                &mut self,
                _: u8,
                operations: &mut [embedded_hal::i2c::Operation<'_>],
            ) -> Result<(), ErrorKind> {
                if let [embedded_hal::i2c::Operation::Write(frame)] = operations {
                    self.0.copy_from_slice(&frame[1..]);
                }
                Ok(())
            }
        }
        let mut memory = Memory([0; 8]);
        set_unix_ms(&mut memory, 0x68, unix_ms).unwrap();
        memory.0
    }

    #[test]
    fn a_good_clock_reads_as_its_time() {
        assert_eq!(read(GOOD), Ok(UNIX_MS));
        assert_eq!(written(UNIX_MS), GOOD);
    }

    #[test]
    fn a_stopped_clock_gives_no_time() {
        assert_eq!(read([GOOD[0] | HALTED, 0x34, 0x12, 2, 1, 6, 0x26, 0]), Err(Fault::Stopped));
        assert_eq!(read([GOOD[0], 0x34, 0x12, 2, 1, 6, 0x26, STOPPED]), Err(Fault::Stopped));
        assert_eq!(read([0xFF; 8]), Err(Fault::Stopped), "a floating bus");
    }

    #[test]
    fn digits_that_are_none_give_no_time() {
        for (register, value) in [
            (0, 0x5A),
            (0, 0x60),
            (1, 0x60),
            (2, 0x24),
            (2, 0x52),
            (4, 0),
            (4, 0x31),
            (5, 0),
            (5, 0x13),
            (6, 0xA0),
        ] {
            let mut registers = GOOD;
            registers[register] = value;
            assert_eq!(read(registers), Err(Fault::Implausible), "register {register} = {value:#x}");
        }
        assert_eq!(read([0; 8]), Err(Fault::Implausible), "month 0: a part that was never set");
        let leap = |year| read([0, 0, 0, 1, 0x29, 2, year, 0]).is_ok();
        assert_eq!((leap(0x24), leap(0x26)), (true, false));
    }

    #[test]
    fn a_silent_part_is_a_fault() {
        let missing = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);
        let mut bus = Mock::new(&[
            Transaction::write_read(0x68, vec![0], vec![0; 8]).with_error(missing),
            Transaction::write(0x68, vec![0, 0x56, 0x34, 0x12, 2, 1, 6, 0x26, 0])
                .with_error(ErrorKind::Overrun),
        ]);
        assert_eq!(read_unix_ms(&mut bus, 0x68), Err(Fault::NoAnswer));
        assert_eq!(set_unix_ms(&mut bus, 0x68, UNIX_MS), Err(Fault::Bus));
        assert_eq!(set_unix_ms(&mut bus, 0x68, 0), Err(Fault::Implausible), "1970 is not sent");
        bus.done();
    }

    proptest! {
        #[test]
        fn what_is_set_is_read_back(second in 946_684_800u64..4_102_444_800) {
            let unix_ms = second * 1000;
            assert_eq!(read(written(unix_ms)), Ok(unix_ms));
        }

        #[test]
        fn no_register_content_stops_the_reader(registers in any::<[u8; 8]>()) {
            if let Ok(unix_ms) = read(registers) {
                assert_eq!(unix_ms % 1000, 0);
                assert!((946_684_800_000..4_102_444_800_000).contains(&unix_ms));
            }
        }
    }
}
