//! The two UARTs: registers and start-up. [`super::log`] writes to UART0, [`super::gnss`] reads UART1.
//!
//! Source: Arm DDI 0479 (CMSDK), APB UART.

use super::register::Register;

const STATE_TX_FULL: u32 = 1 << 0;
const STATE_RX_FULL: u32 = 1 << 1;
const CTRL_TX: u32 = 1 << 0;
const CTRL_RX: u32 = 1 << 1;
const CTRL_RX_INTERRUPT: u32 = 1 << 3;
const INT_RX: u32 = 1 << 1;
/// 25 MHz / 217 = 115,207 baud.
const DIVISOR: u32 = 217;

/// One UART.
#[derive(Debug, Clone, Copy)]
pub(super) struct Uart {
    data: Register,
    state: Register,
    ctrl: Register,
    int_status: Register,
    baud_divisor: Register,
}

// SAFETY: UART0 and UART1 of this board.
pub(super) const LOG: Uart = unsafe { Uart::at(0x4000_4000) };
// SAFETY: as above.
pub(super) const GNSS: Uart = unsafe { Uart::at(0x4000_5000) };

impl Uart {
    /// # Safety
    /// `base` is a CMSDK APB UART.
    const unsafe fn at(base: usize) -> Self {
        // SAFETY: the register map of the APB UART; promised by the caller.
        unsafe {
            Self {
                data: Register::at(base),
                state: Register::at(base + 0x4),
                ctrl: Register::at(base + 0x8),
                int_status: Register::at(base + 0xC),
                baud_divisor: Register::at(base + 0x10),
            }
        }
    }

    /// Both ways, no interrupts.
    pub(super) fn start_log(self) {
        self.baud_divisor.write(DIVISOR);
        self.ctrl.write(CTRL_TX | CTRL_RX);
    }

    /// Receives, with an interrupt for each byte.
    pub(super) fn start_rx(self) {
        self.baud_divisor.write(DIVISOR);
        self.ctrl.write(CTRL_RX | CTRL_RX_INTERRUPT);
    }

    pub(super) fn is_tx_full(self) -> bool {
        self.state.read() & STATE_TX_FULL != 0
    }

    pub(super) fn write(self, byte: u8) {
        self.data.write(u32::from(byte));
    }

    /// Must come before [`Uart::read`]: the next byte may arrive the moment the buffer is empty, and its interrupt must not be
    /// the one that is cleared.
    pub(super) fn clear_rx_interrupt(self) {
        self.int_status.write(INT_RX);
    }

    pub(super) fn read(self) -> Option<u8> {
        (self.state.read() & STATE_RX_FULL != 0).then(|| self.data.read().to_le_bytes()[0])
    }
}
