//! The link: TLS and MQTT below the device. For now it refuses every dial.

use crate::{
    guard::{self, Watched},
    wire::{NEWS, News, ORDERS, Order, What},
};

#[embassy_executor::task]
pub(crate) async fn run() -> ! {
    loop {
        let order = ORDERS.receive().await;
        guard::report(Watched::Link);
        if let Order::Connect { attempt } = order {
            NEWS.send(News { attempt, what: What::Disconnected }).await;
        }
    }
}
