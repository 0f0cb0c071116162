//! The emulated board: QEMU's `mps2-an386`, a Cortex-M4F at 25 MHz.
//!
//! A second board is a second folder beside this one with the same names: [`Board`] and what its fields are. Everything in
//! `crate::task` sees the fields only through the traits named here.
//!
//! | field | trait | here |
//! |---|---|---|
//! | `ending` | - | [`reset`]: why the last life ended |
//! | `gnss` | `embedded_io_async::Read` | UART1 |
//! | `bus` | `embedded_hal::i2c::I2c`, `embedded_hal_async::i2c::I2c` | bit-banged SBCon |
//! | `flash` | `embedded_storage(_async)::nor_flash::NorFlash` | memory kept in a file |
//! | `ethernet` | `embassy_net::driver::Driver` | LAN9118 |
//! | [`ENTROPY`] | [`fieldpost_link::Entropy`] | the host's, by semihosting |
//! | - | `embassy_time_driver::Driver` | TIMER0, TIMER1 |
//! | - | `defmt::Logger` | UART0 |
//! | [`Watchdog`] | - | CMSDK watchdog |
//! | [`parts`] | traits of `fieldpost_firmware::sensor` | what is on the bus |

mod clock;
mod entropy;
mod ethernet;
mod gnss;
mod i2c;
mod interrupt;
mod log;
mod memory;
mod nor;
pub(crate) mod parts;
mod register;
mod reset;
mod uart;
mod watchdog;

pub(crate) use self::{
    entropy::HOST_ENTROPY as ENTROPY,
    ethernet::{Ethernet, EthernetPort, NetDevice, NoController},
    gnss::Gnss,
    i2c::SensorBus,
    interrupt::Interrupt,
    log::asked,
    memory::{HEAP_BYTES, Usage, stack_bytes, usage},
    nor::Nor,
    reset::{Cause, Ending, now as reset_now},
    watchdog::Watchdog,
};

/// A read where nothing is: a fault.
#[cfg(feature = "drills")]
pub(crate) fn read_nothing() {
    // SAFETY: it ends in a fault and in nothing else, which is the purpose.
    let _ = unsafe { core::ptr::read_volatile(0xF000_0000 as *const u32) };
}

/// What the firmware is given at start.
pub(crate) struct Board {
    pub(crate) ending: Ending,
    pub(crate) gnss: Gnss,
    pub(crate) bus: SensorBus,
    pub(crate) flash: Nor,
    pub(crate) ethernet: EthernetPort,
}

impl Board {
    /// Starts everything. `None` at the second call.
    pub(crate) fn start() -> Option<Self> {
        let mut core = cortex_m::Peripherals::take()?;
        let ending = reset::take();
        memory::start(&mut core.MPU);
        log::start();
        clock::start();
        let board = Self {
            ending,
            gnss: Gnss::start(),
            bus: SensorBus::start(),
            flash: Nor::start(),
            ethernet: EthernetPort::new(),
        };
        interrupt::enable(&mut core.NVIC);
        Some(board)
    }
}
