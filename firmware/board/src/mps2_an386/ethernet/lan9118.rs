//! The controller's registers.
//!
//! Source: SMSC LAN9118 datasheet, revision 1.5; QEMU `hw/net/lan9118.c`.

use super::{super::register::Register, NoController};

const fn register(offset: usize) -> Register {
    // SAFETY: the LAN9118 of this board; its registers and FIFO ports are plain reads and writes.
    unsafe { Register::at(0x4020_0000 + offset) }
}

const RX_DATA: Register = register(0);
const TX_DATA: Register = register(0x20);
const RX_STATUS: Register = register(0x40);
const TX_STATUS: Register = register(0x48);
const IRQ_CFG: Register = register(0x54);
const INT_STS: Register = register(0x58);
const INT_EN: Register = register(0x5C);
const BYTE_TEST: Register = register(0x64);
const FIFO_INT: Register = register(0x68);
const RX_CFG: Register = register(0x6C);
const TX_CFG: Register = register(0x70);
const HW_CFG: Register = register(0x74);
const RX_FIFO_INF: Register = register(0x7C);
const TX_FIFO_INF: Register = register(0x80);
const MAC_CMD: Register = register(0xA4);
const MAC_DATA: Register = register(0xA8);

const BYTE_TEST_ANSWER: u32 = 0x8765_4321;
const HW_CFG_SOFT_RESET: u32 = 1 << 0;
const HW_CFG_MUST_BE_ONE: u32 = 1 << 20;
const HW_CFG_TX_FIFO_KIB: u32 = 5 << 16;
/// Push-pull, active high, enabled.
const IRQ_CFG_LINE: u32 = 1 << 0 | 1 << 4 | 1 << 8;
const INT_PHY: u32 = 1 << 18;
const INT_RX_LEVEL: u32 = 1 << 3;
const TX_CFG_ON: u32 = 1 << 1;
const TX_FIRST_AND_LAST: u32 = 1 << 13 | 1 << 12;
const RX_STATUS_ERROR: u32 = 1 << 15;

const MAC_BUSY: u32 = 1 << 31;
const MAC_READ: u32 = 1 << 30;
const MAC_CR: u32 = 1;
const MAC_CR_RX_TX_FULL_DUPLEX: u32 = 1 << 2 | 1 << 3 | 1 << 20;
const MAC_ADDRESS_HIGH: u32 = 2;
const MAC_ADDRESS_LOW: u32 = 3;
const MAC_MII_ACCESS: u32 = 6;
const MAC_MII_DATA: u32 = 7;
const MII_PHY_1: u32 = 1 << 11;
const MII_WRITE: u32 = 1 << 1;

const PHY_CONTROL: u32 = 0;
const PHY_CONTROL_NEGOTIATE: u32 = 0x1200;
const PHY_STATUS: u32 = 1;
const PHY_STATUS_LINK: u32 = 1 << 2;
const PHY_INT_SOURCE: u32 = 29;
const PHY_INT_MASK: u32 = 30;
/// Link down, negotiation complete.
const PHY_INT_LINK: u32 = 1 << 4 | 1 << 6;

/// Length of the check sequence, which the controller leaves at the end of a received frame.
const FCS_BYTES: usize = 4;
/// Polls before a register that stays busy is given up.
const POLLS_MAX: u32 = 100_000;

pub(super) struct Lan9118(());

impl Lan9118 {
    pub(super) fn start() -> Result<Self, NoController> {
        if BYTE_TEST.read() != BYTE_TEST_ANSWER {
            return Err(NoController);
        }
        HW_CFG.write(HW_CFG_SOFT_RESET);
        wait(|| HW_CFG.read() & HW_CFG_SOFT_RESET == 0)?;
        HW_CFG.write(HW_CFG_MUST_BE_ONE | HW_CFG_TX_FIFO_KIB);
        // An interrupt as soon as one frame is in.
        FIFO_INT.write(0);
        RX_CFG.write(0);
        TX_CFG.write(TX_CFG_ON);
        write_mac(MAC_CR, MAC_CR_RX_TX_FULL_DUPLEX)?;
        write_phy(PHY_CONTROL, PHY_CONTROL_NEGOTIATE)?;
        write_phy(PHY_INT_MASK, PHY_INT_LINK)?;
        INT_STS.write(u32::MAX);
        IRQ_CFG.write(IRQ_CFG_LINE);
        Ok(Self(()))
    }

    /// The address from the controller's EEPROM.
    pub(super) fn address(&mut self) -> [u8; 6] {
        let [a, b, c, d] = read_mac(MAC_ADDRESS_LOW).unwrap_or(0).to_le_bytes();
        let [e, f, ..] = read_mac(MAC_ADDRESS_HIGH).unwrap_or(0).to_le_bytes();
        [a, b, c, d, e, f]
    }

    /// A PHY that does not answer counts as down.
    pub(super) fn is_link_up(&mut self) -> bool {
        read_phy(PHY_STATUS).is_ok_and(|status| status & PHY_STATUS_LINK != 0)
    }

    /// True if the link may have changed since the last call.
    pub(super) fn take_link_event(&mut self) -> bool {
        // Reading the source clears it.
        let is_event = read_phy(PHY_INT_SOURCE).is_ok_and(|source| source & PHY_INT_LINK != 0);
        INT_STS.write(INT_PHY);
        is_event
    }

    pub(super) fn has_received(&mut self) -> bool {
        RX_FIFO_INF.read() >> 16 & 0xFF != 0
    }

    /// Takes one frame out of the FIFO; `None` if it was damaged or too long, and it is gone then.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let status = RX_STATUS.read();
        let frame_bytes = (status >> 16 & 0x3FFF) as usize;
        let words = frame_bytes.div_ceil(4);
        let len = frame_bytes.saturating_sub(FCS_BYTES);
        let is_good = status & RX_STATUS_ERROR == 0 && len <= buffer.len();
        for index in 0..words {
            let word = RX_DATA.read().to_le_bytes();
            let end = len.min(index * 4 + 4);
            if is_good && index * 4 < end {
                let part = &mut buffer[index * 4..end];
                part.copy_from_slice(&word[..part.len()]);
            }
        }
        is_good.then_some(len)
    }

    /// There is room for the longest frame.
    pub(super) fn can_send(&mut self) -> bool {
        let state = TX_FIFO_INF.read();
        for _ in 0..state >> 16 & 0xFF {
            // Room for the statuses of later frames; TCP notices what was lost.
            TX_STATUS.read();
        }
        state & 0xFFFF >= 2048
    }

    pub(super) fn send(&mut self, frame: &[u8]) {
        let len = u32::try_from(frame.len()).expect("a frame is at most FRAME_BYTES_MAX long");
        TX_DATA.write(TX_FIRST_AND_LAST | len);
        TX_DATA.write(len);
        for chunk in frame.chunks(4) {
            let mut word = [0; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            TX_DATA.write(u32::from_le_bytes(word));
        }
    }

    /// Asks for an interrupt at the next frame or link event.
    pub(super) fn listen(&mut self) {
        INT_STS.write(INT_RX_LEVEL);
        INT_EN.write(INT_PHY | INT_RX_LEVEL);
    }
}

/// No interrupts until [`Lan9118::listen`].
pub(super) fn hush() {
    INT_EN.write(0);
}

fn wait(is_done: impl Fn() -> bool) -> Result<(), NoController> {
    (0..POLLS_MAX).any(|_| is_done()).then_some(()).ok_or(NoController)
}

fn command_mac(command: u32) -> Result<(), NoController> {
    MAC_CMD.write(MAC_BUSY | command);
    wait(|| MAC_CMD.read() & MAC_BUSY == 0)
}

fn read_mac(index: u32) -> Result<u32, NoController> {
    command_mac(MAC_READ | index)?;
    Ok(MAC_DATA.read())
}

fn write_mac(index: u32, value: u32) -> Result<(), NoController> {
    MAC_DATA.write(value);
    command_mac(index)
}

fn read_phy(index: u32) -> Result<u32, NoController> {
    write_mac(MAC_MII_ACCESS, MII_PHY_1 | index << 6)?;
    read_mac(MAC_MII_DATA)
}

fn write_phy(index: u32, value: u32) -> Result<(), NoController> {
    write_mac(MAC_MII_DATA, value)?;
    write_mac(MAC_MII_ACCESS, MII_PHY_1 | MII_WRITE | index << 6)
}
