//! The registry of downlink sessions as the live half sees it: who is connected, and receipts to them.

use std::collections::BTreeSet;

use fieldpost_protocol::{Downlink as Frame, NamedRecord, Proven, Receipt, Receipts, SeqRange};
use futures_util::stream;
use tokio::sync::broadcast::error::RecvError;

use crate::alarms::AlarmId;
use crate::broker::{Brokers, ERRAND_KEPT};
use crate::dedup::Dedup;
use crate::downlink::{ConnectionEvent, Delivery, Downlink};
use crate::live::devices::{Confirmation, Connection, Connections, Devices};
use crate::live::unit::UnitId;

/// Adapts [`Downlink`], and [`Brokers`] for devices that have no session here.
#[derive(Debug)]
pub struct ConnectedDevices {
    /// Sessions of the front door.
    pub downlink: Downlink,
    /// Brokers, and what each alarm said: behind a broker a receipt must say it.
    pub brokers: Option<(Brokers, Dedup)>,
}

impl Devices for ConnectedDevices {
    fn connected(&self) -> BTreeSet<UnitId> {
        self.downlink.connected().into_iter().map(|(force, device)| UnitId { force, device }).collect()
    }

    fn connections(&self) -> Connections {
        let events = self.downlink.events();
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

    fn is_behind_broker(&self, unit: &UnitId) -> bool {
        self.brokers.as_ref().is_some_and(|(brokers, _)| brokers.know(&unit.force, &unit.device))
    }

    fn send_receipt(&self, alarm: &AlarmId, receipt: Receipt) -> Confirmation {
        let range = SeqRange { first: alarm.seq, more: 0 };
        let ranges = std::iter::once(range).collect();
        let frame = Frame::Receipts(Receipts { receipt, boot: alarm.boot, ranges });
        let sending = self.downlink.send(&alarm.unit.force, &alarm.unit.device, &frame);
        let through_broker = self.brokers.as_ref().is_some_and(|(brokers, dedup)| {
            let proven = proven(dedup, alarm, receipt);
            proven.is_some_and(|frame| brokers.send(&alarm.unit.force, &alarm.unit.device, &frame))
        });
        Box::pin(async move {
            let is_confirmed = sending.settled().await == Delivery::Delivered;
            if !is_confirmed && through_broker {
                // A broker's PUBACK is not the device's: that answers by a record. Said again when the broker has let it go.
                tokio::time::sleep(ERRAND_KEPT).await;
            }
            is_confirmed
        })
    }
}

/// `None` if it is not known what the alarm said: sixteen later ones have come of that device since.
fn proven(dedup: &Dedup, alarm: &AlarmId, receipt: Receipt) -> Option<Frame> {
    let AlarmId { unit, boot, seq, repeat } = alarm;
    let print = dedup.device(&unit.force, &unit.device).lock().alarm_print(*boot, *seq, *repeat)?;
    let record = NamedRecord { seq: *seq, print: print.print() };
    let records = std::iter::once(record).collect();
    Some(Frame::Proven(Proven { receipt, boot: *boot, records }))
}
