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
mod say;
mod task;
mod wire;

use embassy_executor::Spawner;
use fieldpost_firmware::{Device, RamStorage, Settings};
use fieldpost_protocol::{Duty, Mode};
use static_cell::StaticCell;

use crate::{
    board::{Board, Cause, Gnss, SensorBus},
    task::device::Desk,
};

type Store = &'static mut RamStorage<128>;

static STORE: StaticCell<RamStorage<128>> = StaticCell::new();
static DESK: StaticCell<Desk<Store>> = StaticCell::new();

#[cortex_m_rt::entry]
fn main() -> ! {
    let (ethernet, entropy) = begin();
    executor::run_calm(|calm| match ethernet {
        Ok((ethernet, device)) => start_network(calm, ethernet, device, entropy),
        Err(error) => say::no_controller(error),
    })
}

type Network = Result<(board::Ethernet, board::NetDevice), board::NoController>;

/// Starts everything but the network. Not inlined: what it needs of the stack it gives back, `main` keeps its own for ever.
#[inline(never)]
fn begin() -> (Network, &'static dyn entropy::Entropy) {
    let board = Board::start().expect("main runs once");
    say::start(&board.ending);
    let desk = begin_device(&board);
    let urgent = executor::start_urgent();
    urgent.spawn(guard::guard().expect("one pool slot, spawned once"));
    urgent.spawn(sense(board.bus).expect("one pool slot, spawned once"));
    urgent.spawn(device_task(desk, board.gnss).expect("one pool slot, spawned once"));
    (board.ethernet, board.entropy)
}

#[inline(never)]
fn begin_device(board: &Board) -> &'static mut Desk<Store> {
    let settings = Settings {
        duty: Duty::AVAILABLE,
        reset_reason: board.ending.cause.reason(),
        ..Settings::body_worn(Mode::Test)
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
    DESK.init_with(|| Desk::new(device, board.entropy))
}

#[inline(never)]
fn start_network(
    calm: Spawner,
    ethernet: board::Ethernet,
    device: board::NetDevice,
    entropy: &'static dyn entropy::Entropy,
) {
    let (stack, runner) = task::net::new(device, entropy);
    calm.spawn(task::net::ethernet(ethernet).expect("one pool slot, spawned once"));
    calm.spawn(task::net::stack(runner).expect("one pool slot, spawned once"));
    calm.spawn(task::net::tick().expect("one pool slot, spawned once"));
    calm.spawn(task::net::watch(stack).expect("one pool slot, spawned once"));
    calm.spawn(task::link::run().expect("one pool slot, spawned once"));
}

#[embassy_executor::task]
async fn sense(mut bus: SensorBus) -> ! {
    task::sense::run(&mut bus).await
}

#[embassy_executor::task]
async fn device_task(desk: &'static mut Desk<Store>, mut gnss: Gnss) -> ! {
    desk.run(&mut gnss).await
}
