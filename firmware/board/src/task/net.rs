//! The network below TCP: Ethernet, DHCP, and what is said of them.
//!
//! **DHCP lost**: the address is given up when its lease ends or the cable is cut, asking goes on for ever (at most every
//! minute by itself), connections end by their own deadlines, and records are kept. Nothing else happens.

use core::pin::pin;

use embassy_futures::select::{Either, select};
use embassy_net::{Config, Runner, Stack, StackResources};
use embassy_time::{Duration, Ticker, Timer};
use static_cell::StaticCell;

use crate::{
    board::{Ethernet, NetDevice},
    entropy::draw,
    guard::{self, Watched},
    say,
};

/// TCP, DHCP, DNS.
const SOCKETS: usize = 3;
/// QEMU's user network answers a new connection up to a second late unless the guest wakes this often.
const TICK: Duration = Duration::from_millis(5);

/// How long DHCP may take before its silence is said.
const PATIENCE: Duration = Duration::from_secs(5);

static RESOURCES: StaticCell<StackResources<SOCKETS>> = StaticCell::new();

/// The stack, asking for an address by DHCP.
pub(crate) fn new(device: NetDevice) -> (Stack<'static>, Runner<'static, NetDevice>) {
    let seed = u64::from(draw()) << 32 | u64::from(draw());
    embassy_net::new(
        device,
        Config::dhcpv4(Default::default()),
        RESOURCES.init_with(StackResources::new),
        seed,
    )
}

#[embassy_executor::task]
pub(crate) async fn ethernet(ethernet: Ethernet) -> ! {
    ethernet.run().await
}

#[embassy_executor::task]
pub(crate) async fn stack(mut runner: Runner<'static, NetDevice>) -> ! {
    runner.run().await
}

/// Shows the guard that the calm executor turns.
#[embassy_executor::task]
pub(crate) async fn tick() -> ! {
    let mut ticker = Ticker::every(TICK);
    loop {
        ticker.next().await;
        guard::report(Watched::Network);
        #[cfg(feature = "drills")]
        crate::drill::perform_calm();
    }
}

/// Says what cable and address do.
#[embassy_executor::task]
pub(crate) async fn watch(stack: Stack<'static>) -> ! {
    loop {
        stack.wait_link_up().await;
        say::cable(true);
        watch_address(stack).await;
        say::cable(false);
    }
}

/// Until the cable is cut. A server that is slower than [`PATIENCE`] is said to be missing.
async fn watch_address(stack: Stack<'static>) {
    loop {
        let mut configured = pin!(select(stack.wait_link_down(), stack.wait_config_up()));
        let found = match select(&mut configured, Timer::after(PATIENCE)).await {
            Either::First(found) => found,
            Either::Second(()) => {
                say::no_address();
                configured.await
            }
        };
        if let Either::First(()) = found {
            return;
        }
        if let Some(config) = stack.config_v4() {
            say::address(config.address.address().octets());
        }
        let lost = select(stack.wait_link_down(), stack.wait_config_down()).await;
        say::no_address();
        if let Either::First(()) = lost {
            return;
        }
    }
}
