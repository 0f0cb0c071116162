//! Tells wearers that a force system has their alarm, and that a person has it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fieldpost_protocol::Receipt;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Hub;
use super::unit::UnitId;
use crate::alarms::Owed;

/// How soon a receipt that nobody confirmed is sent again to a connected device.
const RECEIPT_RETRY_MS: u64 = 5_000;

/// Sends DELIVERED and SEEN receipts until each is confirmed.
pub(super) async fn send_receipts(hub: Arc<Hub>, shutdown: CancellationToken) {
    let mut under_way = JoinSet::new();
    // Under way, or failed since the last retry: at most two for each alarm in the queue, and those owed beside it.
    let mut sent = BTreeSet::new();
    let mut failed = Vec::new();
    let mut alarms = hub.alarms_revision.subscribe();
    let mut retry = interval(Duration::from_millis(RECEIPT_RETRY_MS));
    retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        for owed in hub.receipts_owed(&sent) {
            let confirmation = hub.devices.send_receipt(&owed.0, owed.1);
            sent.insert(owed.clone());
            let told_ms = hub.told(&owed);
            let hub = Arc::clone(&hub);
            // What the device confirmed is a record like any other; without it the receipt is sent again.
            under_way.spawn(async move {
                let is_kept = confirmation.await && hub.confirmed(&owed, told_ms).await;
                (owed, is_kept)
            });
        }
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            Some(outcome) = under_way.join_next() => match outcome {
                // Its record is folded: it is owed no more.
                Ok((owed, true)) => _ = sent.remove(&owed),
                Ok((owed, false)) => failed.push(owed),
                // A panicking confirmation: the receipt stays owed until the next start.
                Err(_) => {}
            },
            () = hub.device_connected.notified() => failed.drain(..).for_each(|owed| { sent.remove(&owed); }),
            _ = retry.tick() => failed.drain(..).for_each(|owed| { sent.remove(&owed); }),
            Ok(()) = alarms.changed() => {}
        }
    }
}

impl Hub {
    /// Receipts that a connected device still has to confirm and that are not under way.
    fn receipts_owed(&self, sent: &BTreeSet<Owed>) -> Vec<Owed> {
        let state = self.state();
        let owed = state.shown().receipts_owed();
        let is_reached = |unit: &UnitId| state.is_connected(unit) || self.devices.is_behind_broker(unit);
        owed.filter(|owed| !sent.contains(owed) && is_reached(&owed.0.unit)).collect()
    }

    /// A receipt has been handed to its device's connection, for the first time or again: when it was the first time.
    fn told(&self, owed: &Owed) -> u64 {
        let now_ms = self.now_ms();
        let mut state = self.state();
        state.told(owed, now_ms);
        self.announce_alarms(&state);
        let told_ms = state.shown().find(&owed.0).and_then(|alarm| alarm.standing.told_ms);
        told_ms.filter(|_| owed.1 == Receipt::Seen).unwrap_or(now_ms)
    }
}
