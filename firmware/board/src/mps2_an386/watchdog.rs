//! The watchdog: resets the board unless it is fed.
//!
//! Its counter runs to zero twice: the first time it warns through the NMI, where the reason is noted and the reset follows at
//! once; the second time, should the NMI not come through, it resets by itself. Nothing turns it off.
//!
//! Source: Arm DDI 0479 (CMSDK), APB watchdog.

use embassy_time::Duration;

use super::{register::Register, reset};

const fn register(offset: usize) -> Register {
    // SAFETY: the CMSDK APB watchdog of this board.
    unsafe { Register::at(0x4000_8000 + offset) }
}

const LOAD: Register = register(0);
const CONTROL: Register = register(0x8);
const INT_CLEAR: Register = register(0xC);
const LOCK: Register = register(0xC00);

const UNLOCK_KEY: u32 = 0x1ACC_E551;
const CONTROL_INTERRUPT_AND_RESET: u32 = 0b11;
const TICKS_PER_MS: u32 = 25_000;

/// The watchdog, running.
pub(crate) struct Watchdog(());

impl Watchdog {
    /// Starts it; it bites `patience` after the last [`Watchdog::feed`]. At most 171 s.
    pub(crate) fn start(patience: Duration) -> Self {
        let ticks = u32::try_from(patience.as_millis()).unwrap_or(u32::MAX).saturating_mul(TICKS_PER_MS);
        LOCK.write(UNLOCK_KEY);
        LOAD.write(ticks);
        CONTROL.write(CONTROL_INTERRUPT_AND_RESET);
        LOCK.write(0);
        Self(())
    }

    /// Begins the wait anew.
    pub(crate) fn feed(&mut self) {
        LOCK.write(UNLOCK_KEY);
        INT_CLEAR.write(1);
        LOCK.write(0);
    }
}

/// The last warning. It is routed to the NMI, so that a task which hangs with interrupts off is caught too.
#[cortex_m_rt::exception]
unsafe fn NonMaskableInt() {
    reset::now(reset::Cause::Watchdog);
}
