//! The way up of one connection: PUBLISH in, PUBACK out, in custody order.
//!
//! **A PUBACK is written only when the entry it stands for is committed**, so nothing here can acknowledge early: the
//! queue holds the entry's number and [`Uplink::acknowledge`] is told what is committed.
//!
//! While there is no room, what cannot be stored is held back, up to a bound. If the next commit will make room, reading stops
//! there. **If the spool itself is full, reading goes on and what is not an alarm is let go, unacknowledged: its device still
//! has it**, and is told to come again once there is room (0x89). So an alarm never waits behind records that have to: it
//! overtakes them into the spool's reserve. Only then are PUBACKs not in the order of
//! the PUBLISHes: an alarm's receipt does not wait for a full disk.

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::time::Instant;

use fieldpost_protocol::Lane;
use fieldpost_protocol::topic;

use super::codec::{self, Packet, Publish, Version};
use super::custody::{Custody, NotStored, is_alarm};
use super::reason::Reason;
use crate::spool::Lsn;

/// Held payloads above which reading stops, or what comes is let go: 32 of the largest frames, or 140
/// batches of 30 positions. 320 MiB if 10,000 devices meet a full spool with all of that under way.
const HELD_BYTES_MAX: usize = 32 * 1024;

/// What a shorter held payload counts as, or empty ones of quality 0 would have no bound at all.
const HELD_BYTES_MIN: usize = 32;

/// Queues longer than this are given back to the allocator once they are empty: half a KiB of acknowledgements, so that a device
/// that sends its backlog does not have one made anew for each round.
const IDLE_CAPACITY_MAX: usize = 32;

/// Publishes of one connection that are not acknowledged yet.
#[derive(Debug)]
pub(super) struct Uplink {
    version: Version,
    receive_max: u16,
    aliases: Vec<Alias>,
    acks: VecDeque<Ack>,
    held: VecDeque<Held>,
    held_bytes: usize,
    /// The last thing held has no room for as long as the spool is full.
    lasts: bool,
    /// Publishes read and neither kept nor acknowledged.
    let_go_count: usize,
    /// When the oldest unacknowledged record of this round was appended.
    waiting_since: Option<Instant>,
    foreign_count: u64,
}

/// What a topic alias stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alias {
    Unset,
    Lane(Lane),
    Foreign,
}

/// A PUBACK that waits for its entry's commit.
#[derive(Debug, Clone, Copy)]
struct Ack {
    lsn: Lsn,
    packet_id: NonZeroU16,
    is_refusal: bool,
}

/// A payload that the spool had no room for.
#[derive(Debug)]
struct Held {
    lane: Lane,
    packet_id: Option<NonZeroU16>,
    payload: Box<[u8]>,
    items_done: u8,
}

impl Uplink {
    pub(super) fn new(version: Version, receive_max: u16, topic_alias_max: u16) -> Self {
        Self {
            version,
            receive_max,
            aliases: vec![Alias::Unset; usize::from(topic_alias_max)],
            acks: VecDeque::new(),
            held: VecDeque::new(),
            held_bytes: 0,
            lasts: false,
            let_go_count: 0,
            waiting_since: None,
            foreign_count: 0,
        }
    }

    /// Takes one PUBLISH.
    pub(super) fn publish(&mut self, packet: &Packet<'_>, custody: &mut Custody<'_>) -> Result<(), Reason> {
        let publish = codec::read_publish(self.version, packet)?;
        custody.counts.publishes += 1;
        custody.counts.payload_bytes += publish.payload.len() as u64;
        if self.version == Version::V5 {
            // 3.1.1 has no way to announce either, so there a retain flag is ignored and reading stops instead.
            if publish.retain {
                return Err(Reason::RetainNotSupported);
            }
            if publish.packet_id.is_some() && self.in_flight() >= usize::from(self.receive_max) {
                return Err(Reason::ReceiveMaximum);
            }
        }
        match self.lane_of(&publish, custody.device.as_str())? {
            Some(lane) => self.store(lane, publish.packet_id, publish.payload, custody),
            None => self.refuse_foreign(&publish, custody),
        }
    }

    /// The lane a topic or its alias names, `None` if it is not this device's.
    fn lane_of(&mut self, publish: &Publish<'_>, device: &str) -> Result<Option<Lane>, Reason> {
        let named = if publish.topic.is_empty() {
            Alias::Unset
        } else {
            topic::lane_of(publish.topic, device).map_or(Alias::Foreign, Alias::Lane)
        };
        let meant = match publish.alias {
            None => named,
            Some(alias) => {
                let slot = self.aliases.get_mut(usize::from(alias.get()) - 1);
                let slot = slot.ok_or(Reason::TopicAliasInvalid)?;
                if named != Alias::Unset {
                    *slot = named;
                }
                *slot
            }
        };
        match meant {
            Alias::Lane(lane) => Ok(Some(lane)),
            Alias::Foreign => Ok(None),
            Alias::Unset => Err(Reason::TopicAliasInvalid),
        }
    }

    fn refuse_foreign(&mut self, publish: &Publish<'_>, custody: &Custody<'_>) -> Result<(), Reason> {
        self.foreign_count += 1;
        custody.metrics.foreign_topics.inc();
        if self.version == Version::V3 {
            return Err(Reason::TopicForeign);
        }
        if let Some(packet_id) = publish.packet_id {
            // Behind what is already queued, so that PUBACKs keep the order of the PUBLISHes.
            let lsn = self.acks.back().map_or(Lsn(0), |ack| ack.lsn);
            self.acks.push_back(Ack { lsn, packet_id, is_refusal: true });
        }
        Ok(())
    }

    fn store(
        &mut self,
        lane: Lane,
        packet_id: Option<NonZeroU16>,
        payload: &[u8],
        custody: &mut Custody<'_>,
    ) -> Result<(), Reason> {
        // Behind held records, only alarms are tried.
        let stored = if self.held.is_empty() || is_alarm(payload) {
            custody.store(lane, payload, 0)
        } else {
            Err(NotStored::Full { items_done: 0, lasts: self.lasts })
        };
        match stored {
            Ok(lsn) => {
                self.queue_ack(packet_id, lsn);
                Ok(())
            }
            Err(NotStored::Full { lasts: true, .. }) if self.is_holding_all() && packet_id.is_some() => {
                self.let_go_count += 1;
                Ok(())
            }
            Err(NotStored::Full { items_done, lasts }) => {
                self.lasts = lasts;
                self.held_bytes += payload.len().max(HELD_BYTES_MIN);
                self.held.push_back(Held { lane, packet_id, payload: payload.into(), items_done });
                Ok(())
            }
            Err(NotStored::Failed) => Err(Reason::SpoolFailed),
            Err(NotStored::TooLarge) => Err(Reason::TooLarge),
        }
    }

    fn queue_ack(&mut self, packet_id: Option<NonZeroU16>, lsn: Lsn) {
        if let Some(packet_id) = packet_id {
            self.acks.push_back(Ack { lsn, packet_id, is_refusal: false });
            self.waiting_since.get_or_insert_with(Instant::now);
        }
    }

    /// Tries held payloads again, in order.
    pub(super) fn retry_held(&mut self, custody: &mut Custody<'_>) -> Result<(), Reason> {
        while let Some(held) = self.held.front_mut() {
            match custody.store(held.lane, &held.payload, held.items_done) {
                Ok(lsn) => {
                    let packet_id = held.packet_id;
                    self.held_bytes -= held.payload.len().max(HELD_BYTES_MIN);
                    self.held.pop_front();
                    self.queue_ack(packet_id, lsn);
                }
                Err(NotStored::Full { items_done, lasts }) => {
                    self.lasts = lasts;
                    // What was stored of a batch before stays stored.
                    held.items_done = held.items_done.max(items_done);
                    return Ok(());
                }
                Err(NotStored::Failed) => return Err(Reason::SpoolFailed),
                Err(NotStored::TooLarge) => return Err(Reason::TooLarge),
            }
        }
        if self.held.capacity() > IDLE_CAPACITY_MAX {
            self.held = VecDeque::new();
        }
        Ok(())
    }

    /// Writes every PUBACK that is due. How long the oldest waited, if any was due.
    pub(super) fn acknowledge(&mut self, committed: Lsn, out: &mut Vec<u8>) -> Option<std::time::Duration> {
        let due = self.acks.iter().take_while(|ack| ack.lsn <= committed).count();
        if due == 0 {
            return None;
        }
        for ack in self.acks.drain(..due) {
            if ack.is_refusal {
                codec::write_puback_refused(ack.packet_id, Reason::TopicForeign, out);
            } else {
                codec::write_puback(ack.packet_id, out);
            }
        }
        let waited = self.waiting_since.take().map(|since| since.elapsed());
        if !self.acks.is_empty() {
            self.waiting_since = Some(Instant::now());
        } else if self.acks.capacity() > IDLE_CAPACITY_MAX {
            self.acks = VecDeque::new();
        }
        waited
    }

    /// The entry whose commit makes the next PUBACK due.
    pub(super) fn waits_for(&self) -> Option<Lsn> {
        self.acks.front().map(|ack| ack.lsn)
    }

    /// Whether something waits for room in the spool.
    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether what was let go can come again: everything held has been stored and acknowledged.
    pub(super) fn asks_again(&self) -> bool {
        self.let_go_count > 0 && self.held.is_empty() && self.acks.is_empty()
    }

    fn is_holding_all(&self) -> bool {
        self.held_bytes >= HELD_BYTES_MAX
    }

    /// Whether nothing more may be read for now. Quality 0 would be lost if it were let go.
    pub(super) fn is_blocked(&self) -> bool {
        let may_let_go = self.lasts && self.held.back().is_none_or(|held| held.packet_id.is_some());
        (self.is_holding_all() && !may_let_go)
            || (self.version == Version::V3 && self.in_flight() >= usize::from(self.receive_max))
    }

    fn in_flight(&self) -> usize {
        self.acks.len() + self.held.len() + self.let_go_count
    }

    /// Publishes on topics that are not the device's, so far.
    pub(super) fn foreign_count(&self) -> u64 {
        self.foreign_count
    }
}
