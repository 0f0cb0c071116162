//! Two executors, and sleep. **What senses and what stores never waits for what talks**: one poll of a TLS handshake takes more
//! than a second of a small processor, so everything else interrupts it.
//!
//! Both run in interrupts that no device uses, pended by software; thread mode only sleeps, so the time it sleeps is the time
//! nobody needed the processor.

use core::sync::atomic::{AtomicU32, Ordering};

use embassy_executor::{InterruptExecutor, SendSpawner, Spawner};
use embassy_time::{Duration, Instant};

use crate::board::Interrupt;

static URGENT: InterruptExecutor = InterruptExecutor::new();
static CALM: InterruptExecutor = InterruptExecutor::new();

/// Two halves of a count of microseconds: this processor has no 64-bit atomics. Only thread mode writes.
static ASLEEP_US: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];

/// When the last sleep ended, in microseconds since start, the low 32 bits.
static WOKEN_US: AtomicU32 = AtomicU32::new(0);

/// Starts the executor of sensors, device and flash.
pub(crate) fn start_urgent() -> SendSpawner {
    URGENT.start(Interrupt::Urgent)
}

/// Starts the executor of the network.
pub(crate) fn start_calm() -> SendSpawner {
    CALM.start(Interrupt::Calm)
}

/// The spawner of the executor that runs the caller.
///
/// # Safety
/// Awaited in a task of an executor of this module.
pub(crate) async unsafe fn here() -> Spawner {
    // SAFETY: promised by the caller.
    unsafe { Spawner::for_current_executor() }.await
}

/// # Safety
/// Called from the handler of [`Interrupt::Urgent`] only, after [`start_urgent`].
pub(crate) unsafe fn on_urgent() {
    // SAFETY: promised by the caller.
    unsafe { URGENT.on_interrupt() }
}

/// # Safety
/// Called from the handler of [`Interrupt::Calm`] only, after [`start_calm`].
pub(crate) unsafe fn on_calm() {
    // SAFETY: promised by the caller.
    unsafe { CALM.on_interrupt() }
}

/// Sleeps whenever no interrupt has work.
pub(crate) fn sleep_for_ever() -> ! {
    let mut asleep_us: u64 = 0;
    loop {
        // Masked, so that the handlers' time is not counted: a pending interrupt ends the sleep all the same.
        critical_section::with(|_| {
            let begun = Instant::now();
            cortex_m::asm::dsb();
            cortex_m::asm::wfi();
            let woken = Instant::now();
            asleep_us += (woken - begun).as_micros();
            WOKEN_US.store(woken.as_micros() as u32, Ordering::Relaxed);
            ASLEEP_US[0].store(asleep_us as u32, Ordering::Relaxed);
            ASLEEP_US[1].store((asleep_us >> 32) as u32, Ordering::Relaxed);
        });
    }
}

/// How long something that was due has waited for the processor. **A processor that slept kept nobody waiting**: if the alarm of
/// a sleeping one rings late, its emulator's host was busy, and the time until it rang is not counted.
pub(crate) fn waited_since(due: Instant) -> Duration {
    let now = Instant::now();
    let awake_us = (now.as_micros() as u32).wrapping_sub(WOKEN_US.load(Ordering::Relaxed));
    now.saturating_duration_since(due).min(Duration::from_micros(awake_us.into()))
}

/// How long the processor has slept since start.
pub(crate) fn asleep() -> Duration {
    critical_section::with(|_| {
        let [low, high] = [&ASLEEP_US[0], &ASLEEP_US[1]].map(|half| u64::from(half.load(Ordering::Relaxed)));
        Duration::from_micros(high << 32 | low)
    })
}
