//! Time for embassy: microseconds since start from TIMER0, alarms by TIMER1.
//!
//! TIMER0 runs down freely at 25 MHz and wraps every 171 s; **somebody must ask for the time at least that often**, and the
//! network's ticker does so every 5 ms. TIMER1 is a one-shot.
//!
//! Source: Arm DDI 0479 (CMSDK), APB timer.

use core::{cell::RefCell, task::Waker};

use critical_section::{CriticalSection, Mutex};
use embassy_time_driver::Driver;
use embassy_time_queue_utils::Queue;

use super::register::Register;

/// Ticks of the 25 MHz clock in a microsecond.
const TICKS_PER_US: u64 = 25;
/// Longest alarm in one go: 100 s, well inside the 32 bits of the timer.
const ALARM_US_MAX: u64 = 100_000_000;
/// An alarm this close is rung by hand: it would pass while the timer is being set.
const ALARM_US_MIN: u64 = 2;

const CTRL_ENABLE: u32 = 1 << 0;
const CTRL_INTERRUPT: u32 = 1 << 3;

struct Timer {
    ctrl: Register,
    value: Register,
    reload: Register,
    int_clear: Register,
}

impl Timer {
    /// # Safety
    /// `base` is a CMSDK APB timer.
    const unsafe fn at(base: usize) -> Self {
        // SAFETY: the register map of the APB timer; promised by the caller.
        unsafe {
            Self {
                ctrl: Register::at(base),
                value: Register::at(base + 0x4),
                reload: Register::at(base + 0x8),
                int_clear: Register::at(base + 0xC),
            }
        }
    }
}

// SAFETY: TIMER0 and TIMER1 of this board.
const RUNNING: Timer = unsafe { Timer::at(0x4000_0000) };
// SAFETY: as above.
const ALARM: Timer = unsafe { Timer::at(0x4000_1000) };

struct Elapsed {
    ticks: u64,
    last_value: u32,
}

struct BoardClock {
    elapsed: Mutex<RefCell<Elapsed>>,
    queue: Mutex<RefCell<Queue>>,
}

embassy_time_driver::time_driver_impl!(static CLOCK: BoardClock = BoardClock {
    elapsed: Mutex::new(RefCell::new(Elapsed { ticks: 0, last_value: u32::MAX })),
    queue: Mutex::new(RefCell::new(Queue::new())),
});

impl BoardClock {
    fn now_us(&self, cs: CriticalSection<'_>) -> u64 {
        let mut elapsed = self.elapsed.borrow_ref_mut(cs);
        let value = RUNNING.value.read();
        elapsed.ticks += u64::from(elapsed.last_value.wrapping_sub(value));
        elapsed.last_value = value;
        elapsed.ticks / TICKS_PER_US
    }

    /// Wakes what is due and sets the alarm for what comes next.
    fn ring(&self, cs: CriticalSection<'_>) {
        loop {
            let now_us = self.now_us(cs);
            let next_us = self.queue.borrow_ref_mut(cs).next_expiration(now_us);
            if self.set_alarm(cs, next_us) {
                return;
            }
        }
    }

    /// False if the time is too close or has passed.
    fn set_alarm(&self, cs: CriticalSection<'_>, at_us: u64) -> bool {
        ALARM.ctrl.write(0);
        ALARM.int_clear.write(1);
        if at_us == u64::MAX {
            return true;
        }
        let delta_us = at_us.saturating_sub(self.now_us(cs)).min(ALARM_US_MAX);
        if delta_us < ALARM_US_MIN {
            return false;
        }
        let ticks = u32::try_from(delta_us * TICKS_PER_US).expect("ALARM_US_MAX fits 32 bits of ticks");
        // In this order: in QEMU, writing the reload value sets the count too.
        ALARM.reload.write(u32::MAX);
        ALARM.value.write(ticks);
        ALARM.ctrl.write(CTRL_ENABLE | CTRL_INTERRUPT);
        true
    }
}

impl Driver for BoardClock {
    fn now(&self) -> u64 {
        critical_section::with(|cs| self.now_us(cs))
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        critical_section::with(|cs| {
            let is_first = self.queue.borrow_ref_mut(cs).schedule_wake(at, waker);
            if is_first {
                self.ring(cs);
            }
        });
    }
}

/// Starts the clock at zero.
pub(super) fn start() {
    RUNNING.reload.write(u32::MAX);
    RUNNING.value.write(u32::MAX);
    RUNNING.ctrl.write(CTRL_ENABLE);
}

pub(super) fn on_interrupt() {
    critical_section::with(|cs| CLOCK.ring(cs));
}
