//! What happens when: a queue ordered by time and, within a millisecond, by arrangement.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::{
    broker::{Asked, Message},
    net::ConnId,
    plan::Fault,
};

/// Something that happens.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// A device's sensors have news.
    Sense { device: usize, life: u32 },
    /// A device asked to be polled.
    Poll { device: usize, life: u32 },
    /// A device has power again.
    PowerOn { device: usize },
    /// A connection reaches the gateway, or nobody there.
    Arrive { conn: ConnId },
    /// The device hears that it is connected and may speak.
    Open { conn: ConnId },
    /// Bytes reach the gateway.
    Up { conn: ConnId, bytes: Vec<u8> },
    /// The gateway learns that the device is gone.
    UpEnd { conn: ConnId, is_lost: bool },
    /// Bytes reach the device.
    Down { conn: ConnId, bytes: Vec<u8> },
    /// The device learns that the connection is over.
    DownEnd { conn: ConnId },
    /// It is time to show that the device is alive.
    Ping { conn: ConnId },
    /// The spool's writer may go on.
    Write { life: u32 },
    /// The operator looks at the page.
    Look { life: u32 },
    /// The keeper's round is due.
    Tend { life: u32 },
    /// The gateway starts.
    GatewayStarts { life: u32 },
    /// A hold of the plan is placed.
    Hold(usize),
    /// It is released.
    Release(usize),
    /// The auditor looks.
    Audit,
    /// A fault of the plan begins.
    Fault(FaultAt),
    /// A fault that lasts is over.
    Over(Over),
    /// The gateway connects to the broker.
    Connect { life: u32 },
    /// A message reaches the gateway on its connection `carrier` to the broker.
    Carry { carrier: u64, packet_id: u16, message: Message },
    /// What the gateway asks on it reaches the broker.
    Ask { carrier: u64, asked: Asked },
    /// What the broker held back, or says again.
    Requeue(Message),
    /// Everything is healed.
    Heal,
}

/// A fault of the plan, by its place there: faults are not ordered.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FaultAt(pub(super) usize);

/// What ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Over {
    /// A partition; of everybody if no device is named.
    Partition(Option<usize>),
    DiskFull,
    SlowDisk,
    SinkDown,
    DeviceClock(usize),
    BrokerDown,
    BrokerUnfaithful,
}

/// The queue.
#[derive(Default)]
pub(super) struct Events {
    heap: BinaryHeap<Reverse<(u64, u64, Event)>>,
    arranged: u64,
}

impl Events {
    pub(super) fn add(&mut self, at_ms: u64, event: Event) {
        self.arranged += 1;
        self.heap.push(Reverse((at_ms, self.arranged, event)));
    }

    pub(super) fn next_at(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at_ms, ..))| *at_ms)
    }

    /// The next event, if it is due.
    pub(super) fn due(&mut self, now_ms: u64) -> Option<Event> {
        if self.next_at()? > now_ms {
            return None;
        }
        self.heap.pop().map(|Reverse((_, _, event))| event)
    }
}

impl Fault {
    /// What ends it, if it lasts.
    pub(super) fn over(self, device: usize) -> Option<(u64, Over)> {
        match self {
            Self::Partition { everybody, lasts_ms } => {
                Some((lasts_ms, Over::Partition((!everybody).then_some(device))))
            }
            Self::DiskFull { lasts_ms } => Some((lasts_ms, Over::DiskFull)),
            Self::SlowDisk { lasts_ms } => Some((lasts_ms, Over::SlowDisk)),
            Self::SinkDown { lasts_ms } => Some((lasts_ms, Over::SinkDown)),
            Self::BrokerKilled { lasts_ms } => Some((lasts_ms, Over::BrokerDown)),
            Self::BrokerUnfaithful { lasts_ms } => Some((lasts_ms, Over::BrokerUnfaithful)),
            Self::DeviceClock { .. } => Some((20_000, Over::DeviceClock(device))),
            _ => None,
        }
    }
}
