//! # The flashable image
//!
//! ```text
//!  urgent executor (interrupt):  sense -> device (logic, flash)      guard -> watchdog
//!                                           |  ^
//!                                    ORDERS v  | NEWS
//!  calm executor (thread):       net (Ethernet, DHCP, TCP) <-> link (TLS, MQTT)
//! ```
//!
//! `main` is the life of the device in one page: start the board, read the slot, start the device, start the tasks. The board's
//! own files are in `mps2_an386`; the only `unsafe` of the product is there and in `executor`.
#![no_std]
#![no_main]

#[path = "mps2_an386/mod.rs"]
mod board;
mod entropy;
mod executor;
mod guard;
mod release;
mod say;
mod task;
mod wire;

use embassy_executor::Spawner;
use fieldpost_firmware::{
    Device, RamStorage, Settings,
    slot::{self, Provision},
    storage::{FlashMap, Region},
};
use fieldpost_protocol::Duty;
use static_cell::StaticCell;

use crate::{
    board::{Board, Cause, Ending, Ethernet, Gnss, NetDevice, NoController, Nor, SensorBus},
    task::device::Desk,
};

type Store = &'static mut RamStorage<64>;
type Network = Result<(Ethernet, NetDevice), NoController>;

static STORE: StaticCell<RamStorage<64>> = StaticCell::new();
static DESK: StaticCell<Desk<Store>> = StaticCell::new();
static PROVISION: StaticCell<Provision<'static>> = StaticCell::new();

#[cortex_m_rt::entry]
fn main() -> ! {
    let (network, provision) = begin();
    executor::run_calm(|calm| match (network, provision) {
        (Ok((ethernet, device)), Some(provision)) => start_network(calm, ethernet, device, provision),
        (Err(error), _) => say::no_controller(error),
        (_, None) => {}
    })
}

/// Starts everything but the network. Not inlined: what it needs of the stack it gives back; `main` keeps its own for ever.
#[inline(never)]
fn begin() -> (Network, Option<&'static Provision<'static>>) {
    let mut board = Board::start().expect("main runs once");
    say::start(&board.ending);
    let provision = read_slots(&mut board.flash);
    let urgent = executor::start_urgent();
    if let Some(provision) = provision {
        let desk = begin_device(provision, &board.ending);
        urgent.spawn(device_task(desk, board.gnss).expect(ONCE));
    }
    urgent.spawn(sense(board.bus).expect(ONCE));
    urgent.spawn(guard::guard().expect(ONCE));
    (board.ethernet, provision)
}

#[inline(never)]
fn read_slots(flash: &mut Nor) -> Option<&'static Provision<'static>> {
    let FlashMap { slot_a, slot_b, .. } = FlashMap::STANDARD;
    let image = flash.lend(slot_b.range().end as usize);
    let region = |region: Region| &image[region.start as usize..region.range().end as usize];
    match slot::newest(region(slot_a), region(slot_b)) {
        Ok((name, provision, other)) => {
            say::slot(name, &provision, other);
            Some(PROVISION.init(provision))
        }
        Err(error) => {
            say::no_slot(&error);
            None
        }
    }
}

#[inline(never)]
fn begin_device(provision: &Provision<'_>, ending: &Ending) -> &'static mut Desk<Store> {
    let settings = Settings {
        duty: Duty::AVAILABLE,
        firmware: release::VERSION,
        reset_reason: ending.cause.reason(),
        ..provision.settings()
    };
    let store = STORE.init_with(RamStorage::new);
    let device = match Device::start(settings, store) {
        Ok(device) => device,
        Err(error) => {
            say::no_device(&error);
            board::reset_now(Cause::Requested)
        }
    };
    say::boot(&device.ledger());
    DESK.init_with(|| Desk::new(device))
}

#[inline(never)]
fn start_network(
    calm: Spawner,
    ethernet: Ethernet,
    device: NetDevice,
    provision: &'static Provision<'static>,
) {
    let (stack, runner) = task::net::new(device);
    calm.spawn(task::net::ethernet(ethernet).expect(ONCE));
    calm.spawn(task::net::stack(runner).expect(ONCE));
    calm.spawn(task::net::tick().expect(ONCE));
    calm.spawn(task::net::watch(stack).expect(ONCE));
    calm.spawn(task::link::run(stack, provision).expect(ONCE));
}

/// Why spawning does not fail.
const ONCE: &str = "a task has one place and is spawned once";

#[embassy_executor::task]
async fn sense(mut bus: SensorBus) -> ! {
    task::sense::run(&mut bus).await
}

#[embassy_executor::task]
async fn device_task(desk: &'static mut Desk<Store>, mut gnss: Gnss) -> ! {
    desk.run(&mut gnss).await
}
