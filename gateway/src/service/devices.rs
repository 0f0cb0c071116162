//! The registry of downlink sessions as the live half sees it: who is connected, and receipts to them.

use std::collections::BTreeSet;

use fieldpost_protocol::{Downlink as Frame, Receipt, Receipts, SeqRange};
use futures_util::stream;
use tokio::sync::broadcast::error::RecvError;

use crate::alarms::AlarmId;
use crate::broker::{Brokers, ERRAND_KEPT};
use crate::downlink::{ConnectionEvent, Delivery, Downlink};
use crate::live::devices::{Confirmation, Connection, Connections, Devices};
use crate::live::unit::UnitId;

/// Adapts [`Downlink`], and [`Brokers`] for devices that have no session here.
#[derive(Debug)]
pub struct ConnectedDevices(pub Downlink, pub Option<Brokers>);

impl Devices for ConnectedDevices {
    fn connected(&self) -> BTreeSet<UnitId> {
        self.0.connected().into_iter().map(|(force, device)| UnitId { force, device }).collect()
    }

    fn connections(&self) -> Connections {
        let events = self.0.events();
        Box::pin(stream::unfold(events, |mut events| async move {
            let news = match events.recv().await {
                Ok(ConnectionEvent { force, device, is_connected }) => {
                    let unit = UnitId { force, device };
                    if is_connected { Connection::Opened(unit) } else { Connection::Closed(unit) }
                }
                Err(RecvError::Lagged(_)) => Connection::Missed,
                Err(RecvError::Closed) => return None,
            };
            Some((news, events))
        }))
    }

    fn send_receipt(&self, alarm: &AlarmId, receipt: Receipt) -> Confirmation {
        let range = SeqRange { first: alarm.seq, more: 0 };
        let ranges = std::iter::once(range).collect();
        let frame = Frame::Receipts(Receipts { receipt, boot: alarm.boot, ranges });
        let sending = self.0.send(&alarm.unit.force, &alarm.unit.device, &frame);
        let through_broker = self.1.as_ref();
        let through_broker =
            through_broker.is_some_and(|brokers| brokers.send(&alarm.unit.force, &alarm.unit.device, &frame));
        Box::pin(async move {
            let is_confirmed = sending.settled().await == Delivery::Delivered;
            if !is_confirmed && through_broker {
                // A broker's PUBACK is not the device's: nobody confirms. Said again when the broker has let it go.
                tokio::time::sleep(ERRAND_KEPT).await;
            }
            is_confirmed
        })
    }
}
