//! What the live half needs of the devices' connections: who has one, and receipts back to them.
//!
//! A seam: in the gateway it is the registry of downlink sessions, in a test a page of lines.

use std::collections::BTreeSet;
use std::pin::Pin;

use fieldpost_protocol::Receipt;
use futures_util::Stream;

use super::unit::UnitId;
use crate::alarms::AlarmId;

/// News of the devices' connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connection {
    /// A device connected.
    Opened(UnitId),
    /// A device disconnected.
    Closed(UnitId),
    /// News were missed: ask [`Devices::connected`] again.
    Missed,
}

/// A stream of news; it ends with the registry.
pub type Connections = Pin<Box<dyn Stream<Item = Connection> + Send>>;

/// Whether the device confirmed a receipt; may take as long as its session lasts.
pub type Confirmation = Pin<Box<dyn Future<Output = bool> + Send>>;

/// The devices' connections.
pub trait Devices: Send + Sync + 'static {
    /// Every device connected now.
    fn connected(&self) -> BTreeSet<UnitId>;
    /// Connections from now on. Subscribe first, then read [`Devices::connected`]: nothing is missed.
    fn connections(&self) -> Connections;
    /// Whether a device can be told something although it has no connection of its own here: it is behind a broker.
    fn is_behind_broker(&self, unit: &UnitId) -> bool;
    /// Tells a device how far its alarm has come. The same receipt twice does no harm.
    fn send_receipt(&self, alarm: &AlarmId, receipt: Receipt) -> Confirmation;
}
