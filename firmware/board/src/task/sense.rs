//! The sensors of the I2C bus, read in rounds.

use embassy_time::{Duration, Instant, Timer};
use embedded_hal::i2c::I2c;

use crate::{
    guard::{self, Watched},
    wire::{SENSED, Sensed},
};

/// The panic button is debounced over 30 ms, so it is read at least every 20.
const ROUND: Duration = Duration::from_millis(20);
const ROUNDS_PER_TEMPERATURE: u32 = 500;
const TMP105: u8 = 0x48;

/// Reads for ever.
pub(crate) async fn run(bus: &mut impl I2c) -> ! {
    let mut due = Instant::now();
    let mut round: u32 = 0;
    loop {
        Timer::at(due).await;
        guard::note_late(due.elapsed());
        guard::report(Watched::Sense);
        due = (due + ROUND).max(Instant::now());
        if round.is_multiple_of(ROUNDS_PER_TEMPERATURE) {
            let mut raw = [0; 2];
            if bus.write_read(TMP105, &[0], &mut raw).is_ok() {
                SENSED.send(Sensed::Temperature(raw[0] as i8)).await;
            }
        }
        round = round.wrapping_add(1);
    }
}
