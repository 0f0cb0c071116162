//! The vector table and who may interrupt whom.
//!
//! ```text
//!  urgent  NMI       watchdog's last warning
//!    |     GNSS_RX   one byte of buffer in the UART: it must not wait
//!    |     TIMER, ETHERNET   wake tasks
//!    |     URGENT    the executor of sensors, device logic and flash
//!  calm    CALM      the executor of network, TLS and MQTT
//!          (thread)  sleep
//! ```

use cortex_m::{interrupt::InterruptNumber, peripheral::NVIC};

use super::{clock, ethernet, gnss};
use crate::executor;

/// The interrupts in use. Source: Arm AN386, interrupt map; QEMU `hw/arm/mps2.c`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Interrupt {
    /// UART1 has received.
    GnssRx = 2,
    /// TIMER1 has reached zero.
    Timer = 9,
    /// The LAN9118 wants something.
    Ethernet = 13,
    /// No device's line: pended by software to run the urgent tasks.
    Urgent = 31,
    /// No device's line: pended by software to run the calm tasks.
    Calm = 30,
}

// SAFETY: the numbers are lines of this part's NVIC, and the mapping never changes.
unsafe impl InterruptNumber for Interrupt {
    fn number(self) -> u16 {
        self as u16
    }
}

const INTERRUPT_COUNT: usize = 32;

type Handler = unsafe extern "C" fn();

unsafe extern "C" {
    fn DefaultHandler();
}

/// Read by the processor behind the sixteen system vectors.
#[unsafe(link_section = ".vector_table.interrupts")]
#[unsafe(no_mangle)]
#[used]
static __INTERRUPTS: [Handler; INTERRUPT_COUNT] = {
    let mut table: [Handler; INTERRUPT_COUNT] = [DefaultHandler; INTERRUPT_COUNT];
    table[Interrupt::GnssRx as usize] = gnss_rx;
    table[Interrupt::Timer as usize] = timer;
    table[Interrupt::Ethernet as usize] = ethernet_wants;
    table[Interrupt::Urgent as usize] = urgent;
    table[Interrupt::Calm as usize] = calm;
    table
};

extern "C" fn gnss_rx() {
    gnss::on_interrupt();
}

extern "C" fn timer() {
    clock::on_interrupt();
}

extern "C" fn ethernet_wants() {
    ethernet::on_interrupt();
}

extern "C" fn urgent() {
    // SAFETY: this is the handler of the interrupt that the executor was started with.
    unsafe { executor::on_urgent() }
}

extern "C" fn calm() {
    // SAFETY: this is the handler of the interrupt that the executor was started with.
    unsafe { executor::on_calm() }
}

/// Sets who may interrupt whom, and lets the interrupts of clock and receiver through. Executors unmask their own.
pub(super) fn enable(nvic: &mut NVIC) {
    // Three bits of priority at least: the upper bits of the byte; smaller is more urgent.
    for (interrupt, priority) in [
        (Interrupt::GnssRx, 0x20),
        (Interrupt::Timer, 0x40),
        (Interrupt::Ethernet, 0x40),
        (Interrupt::Urgent, 0x80),
        (Interrupt::Calm, 0xE0),
    ] {
        // SAFETY: no critical section relies on priorities; ours masks every interrupt.
        unsafe { nvic.set_priority(interrupt, priority) }
    }
    for interrupt in [Interrupt::GnssRx, Interrupt::Timer] {
        unmask(interrupt);
    }
}

/// Lets a device's interrupt through; call it when the device is set up.
pub(super) fn unmask(interrupt: Interrupt) {
    // SAFETY: the handler is in the table, and no critical section relies on this mask.
    unsafe { NVIC::unmask(interrupt) }
}
