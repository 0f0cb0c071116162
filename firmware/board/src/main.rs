//! # The flashable image
//!
//! ```text
//!  urgent executor (interrupt):  sense -> device (logic, flash)      guard -> watchdog
//!                                           |  ^
//!                                    ORDERS v  | NEWS
//!  calm executor (interrupt):    net (Ethernet, DHCP, TCP) <-> link (TLS, MQTT)
//!  thread:                       sleep
//! ```
//!
//! `main` is the life of the device in one page: start the board, read the slot, start the device, start the tasks. The board's
//! own files are in `mps2_an386`; the only `unsafe` of the product is there, in `executor`, and in one call below.
#![no_std]
#![no_main]

mod belt;
#[path = "mps2_an386/mod.rs"]
mod board;
#[cfg(feature = "broken-reuse-boot-id")]
mod broken;
#[cfg(feature = "drills")]
mod drill;
mod entropy;
mod executor;
mod guard;
mod release;
mod say;
mod task;
mod wearer;
mod wire;

use fieldpost_firmware::{
    Device, FlashStorage, Peer, Settings,
    slot::{self, Provision},
    storage::{FlashMap, Region},
};
use fieldpost_link::{ConfigError, agree_on_envelope_key};
use static_cell::StaticCell;

use crate::{
    board::{Board, Cause, Ending, EthernetPort, Gnss, Nor, SensorBus},
    task::{device::Desk, sense::Senses},
};

type Flash = FlashStorage<Nor>;
#[cfg(not(feature = "broken-reuse-boot-id"))]
type Store = &'static mut Flash;
#[cfg(feature = "broken-reuse-boot-id")]
type Store = broken::BootIdReused<&'static mut Flash>;

static FLASH: StaticCell<Flash> = StaticCell::new();
static DESK: StaticCell<Desk<Store>> = StaticCell::new();
static PROVISION: StaticCell<Provision<'static>> = StaticCell::new();

#[cortex_m_rt::entry]
fn main() -> ! {
    begin();
    executor::sleep_for_ever()
}

/// Starts everything. Not inlined: what it needs of the stack it gives back; `main` keeps its own for ever.
#[inline(never)]
fn begin() {
    let mut board = Board::start().expect("main runs once");
    say::start(&board.ending);
    #[cfg(feature = "trace")]
    play_trace();
    let provision = read_slots(&mut board.flash);
    let (urgent, calm) = (executor::start_urgent(), executor::start_calm());
    let peer = provision.map(find_peer).transpose();
    let desk = provision.map(|provision| {
        // Without a key no dial succeeds, so that nobody is believed.
        let peer = peer.ok().flatten().unwrap_or(Peer::Gateway);
        begin_device(provision, peer, &board.ending, board.flash)
    });
    urgent.spawn(guard::guard().expect(ONCE));
    if let Some(desk) = desk {
        urgent.spawn(sense_task(board.bus).expect(ONCE));
        urgent.spawn(device_task(desk, board.gnss).expect(ONCE));
    }
    if let Some(provision) = provision {
        calm.spawn(network_task(board.ethernet, provision, peer.err()).expect(ONCE));
    }
}

/// The same stimuli as on the host, on a storage of their own, which the heap has room for before TLS needs it.
#[cfg(feature = "trace")]
#[inline(never)]
fn play_trace() {
    use fieldpost_firmware::trace;
    extern crate alloc;
    for which in 0..trace::EXPECTED.len() {
        let mut store = alloc::boxed::Box::new(trace::Store::new());
        say::trace(which, trace::play(which, &mut *store));
    }
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

/// Who is at the other end: the gateway, or with an envelope key a broker.
#[inline(never)]
fn find_peer(provision: &Provision<'_>) -> Result<Peer, ConfigError> {
    let Some(gateways_key) = provision.envelope_key else { return Ok(Peer::Gateway) };
    let force = provision.force().ok_or(ConfigError::Chain)?;
    let own = provision.private_key.expose_pkcs8_der();
    agree_on_envelope_key(own, gateways_key, &force, &provision.device).map(Peer::Broker)
}

#[inline(never)]
fn begin_device(
    provision: &Provision<'_>,
    peer: Peer,
    ending: &Ending,
    flash: Nor,
) -> &'static mut Desk<Store> {
    let settings =
        Settings { firmware: release::VERSION, reset_reason: ending.cause.reason(), ..provision.settings() };
    let settings = match peer {
        Peer::Gateway => settings,
        Peer::Broker(key) => settings.behind_broker(key),
    };
    let flash = FLASH.init_with(|| FlashStorage::new(flash, &FlashMap::STANDARD));
    if let Err(error) = flash.mount() {
        say::no_storage(error);
        board::reset_now(Cause::Requested)
    }
    say::flash(flash.report());
    #[cfg(feature = "broken-reuse-boot-id")]
    let flash = broken::BootIdReused(flash);
    let device = match Device::start(settings, flash) {
        Ok(device) => device,
        Err(error) => {
            say::no_device(&error);
            board::reset_now(Cause::Requested)
        }
    };
    say::boot(&device.ledger());
    DESK.init_with(|| Desk::new(device))
}

/// Why spawning does not fail.
const ONCE: &str = "a task has one place and is spawned once";

#[embassy_executor::task]
async fn sense_task(bus: SensorBus) -> ! {
    Senses::new(bus).run().await
}

#[embassy_executor::task]
async fn device_task(desk: &'static mut Desk<Store>, mut gnss: Gnss) -> ! {
    desk.run(&mut gnss).await
}

/// Starts what must not leave the calm executor.
#[embassy_executor::task]
async fn network_task(
    port: EthernetPort,
    provision: &'static Provision<'static>,
    no_key: Option<ConfigError>,
) {
    // SAFETY: this is a task of the calm executor.
    let calm = unsafe { executor::here().await };
    let (ethernet, device) = match port.start() {
        Ok(parts) => parts,
        Err(error) => {
            say::no_controller(error);
            task::link::refuse_all().await
        }
    };
    let (stack, runner) = task::net::new(device);
    calm.spawn(task::net::ethernet(ethernet).expect(ONCE));
    calm.spawn(task::net::stack(runner).expect(ONCE));
    calm.spawn(task::net::tick().expect(ONCE));
    calm.spawn(task::net::watch(stack).expect(ONCE));
    calm.spawn(task::link::run(stack, provision, no_key).expect(ONCE));
}
