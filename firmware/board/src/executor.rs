//! Two executors. **What senses and what stores never waits for what talks**: one poll of a TLS handshake takes more than a
//! second of a small processor, so it runs in thread mode and everything else interrupts it.

use embassy_executor::{Executor, InterruptExecutor, SendSpawner, Spawner};
use static_cell::StaticCell;

use crate::board::Interrupt;

static URGENT: InterruptExecutor = InterruptExecutor::new();
static CALM: StaticCell<Executor> = StaticCell::new();

/// Starts the executor of sensors, device and flash.
pub(crate) fn start_urgent() -> SendSpawner {
    URGENT.start(Interrupt::Tasks)
}

/// # Safety
/// Called from the handler of [`Interrupt::Tasks`] only, after [`start_urgent`].
pub(crate) unsafe fn on_interrupt() {
    // SAFETY: promised by the caller.
    unsafe { URGENT.on_interrupt() }
}

/// Runs the executor of the network for ever.
pub(crate) fn run_calm(begin: impl FnOnce(Spawner)) -> ! {
    CALM.init_with(Executor::new).run(begin)
}
