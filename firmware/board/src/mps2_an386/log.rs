//! defmt's logger on UART0, rzCOBS-framed.
//!
//! Interrupts are off while a line is written: lines do not mix. **A reader that does not read never stops the device**: after
//! a bounded wait the rest of the line is dropped; the decoder finds the next one by its framing.

use core::{
    cell::UnsafeCell,
    sync::atomic::{AtomicBool, Ordering},
};

use critical_section::RestoreState;
use embassy_time::Instant;

use super::uart;

/// Polls of a full transmitter before a line is given up: some milliseconds.
const TX_POLLS_MAX: u32 = 20_000;

struct Line {
    encoder: defmt::Encoder,
    restore: RestoreState,
}

struct Shared(UnsafeCell<Line>);

// SAFETY: touched only between `acquire` and `release`, with interrupts off on the only core.
unsafe impl Sync for Shared {}

static TAKEN: AtomicBool = AtomicBool::new(false);
static GIVEN_UP: AtomicBool = AtomicBool::new(false);
static LINE: Shared =
    Shared(UnsafeCell::new(Line { encoder: defmt::Encoder::new(), restore: RestoreState::invalid() }));

#[defmt::global_logger]
struct UartLogger;

// SAFETY: `acquire` masks interrupts until `release`, so a line has one writer; the encoder frames it.
unsafe impl defmt::Logger for UartLogger {
    fn acquire() {
        // SAFETY: released in `release` with the state returned here.
        let restore = unsafe { critical_section::acquire() };
        assert!(!TAKEN.swap(true, Ordering::Relaxed), "defmt: a line within a line");
        // SAFETY: taken above.
        let line = unsafe { &mut *LINE.0.get() };
        line.restore = restore;
        GIVEN_UP.store(false, Ordering::Relaxed);
        line.encoder.start_frame(send);
    }

    unsafe fn flush() {}

    unsafe fn release() {
        // SAFETY: called between `acquire` and the end of the critical section.
        let line = unsafe { &mut *LINE.0.get() };
        line.encoder.end_frame(send);
        let restore = line.restore;
        TAKEN.store(false, Ordering::Relaxed);
        // SAFETY: the state that `acquire` got.
        unsafe { critical_section::release(restore) }
    }

    unsafe fn write(bytes: &[u8]) {
        // SAFETY: called between `acquire` and `release`.
        let line = unsafe { &mut *LINE.0.get() };
        line.encoder.write(bytes, send);
    }
}

fn send(bytes: &[u8]) {
    for byte in bytes {
        if GIVEN_UP.load(Ordering::Relaxed) {
            return;
        }
        if (0..TX_POLLS_MAX).all(|_| uart::LOG.is_tx_full()) {
            GIVEN_UP.store(true, Ordering::Relaxed);
            return;
        }
        uart::LOG.write(*byte);
    }
}

/// What somebody sent since the last call: a line of usage is wanted now.
pub(crate) fn asked() -> Option<u8> {
    uart::LOG.read()
}

pub(super) fn start() {
    uart::LOG.start_log();
}

defmt::timestamp!("{=u64:us}", Instant::now().as_micros());
