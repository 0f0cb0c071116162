//! The vector table and who may interrupt whom.
//!
//! ```text
//!  urgent  NMI       watchdog's last warning
//!    |     GNSS_RX   one byte of buffer in the UART: it must not wait
//!    |     TIMER, ETHERNET   wake tasks
//!    |     TASKS     the executor of sensors, device logic and flash
//!  calm    (thread)  the executor of network, TLS and MQTT
//! ```

use cortex_m::{interrupt::InterruptNumber, peripheral::NVIC};

use super::{clock, ethernet, gnss};
use crate::executor;

/// The interrupts in use. Source: Arm AN386, table 4-? "Interrupt assignments"; QEMU `hw/arm/mps2.c`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Interrupt {
    /// UART1 has received.
    GnssRx = 2,
    /// TIMER1 has reached zero.
    Timer = 9,
    /// The LAN9118 wants something.
    Ethernet = 13,
    /// No device's line: pended by software to run tasks.
    Tasks = 31,
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
    table[Interrupt::Tasks as usize] = tasks;
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

extern "C" fn tasks() {
    // SAFETY: this is the handler of the interrupt that the executor was started with.
    unsafe { executor::on_interrupt() }
}

/// Lets the devices' interrupts through. The executor unmasks its own.
pub(super) fn enable(nvic: &mut NVIC) {
    // Three bits of priority at least: the upper bits of the byte; smaller is more urgent.
    for (interrupt, priority) in [
        (Interrupt::GnssRx, 0x20),
        (Interrupt::Timer, 0x40),
        (Interrupt::Ethernet, 0x40),
        (Interrupt::Tasks, 0x80),
    ] {
        // SAFETY: no critical section relies on priorities; ours masks every interrupt.
        unsafe { nvic.set_priority(interrupt, priority) }
    }
    for interrupt in [Interrupt::GnssRx, Interrupt::Timer, Interrupt::Ethernet] {
        // SAFETY: the handlers are in the table and their devices are set up.
        unsafe { NVIC::unmask(interrupt) }
    }
}
