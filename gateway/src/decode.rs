//! From payload bytes to what the spool keeps: pure, no clock, no I/O.
//!
//! **Every payload of an authenticated device has a place to go**: a lone envelope, the items of a batch, or quarantine
//! with its reason. Nothing is refused here, so poison cannot come back for ever.
//!
//! | frame | becomes |
//! |---|---|
//! | an envelope with a body of its class | one record, the device's own bytes |
//! | an envelope of a class nobody here knows | one record, the device's own bytes |
//! | a position batch | one record an item, each re-encoded as a lone position |
//! | anything else | one quarantined record |

use fieldpost_protocol::limits::{HEAD_BYTES_MAX, POSITION_BYTES_MAX};
use fieldpost_protocol::{BatchDecoder, BatchItem, Body, Class, Envelope, Head, Lane, Mode};

use crate::record::QuarantineReason;

/// Longest lone position: head, body length (1, varint), body.
pub const LONE_POSITION_BYTES_MAX: usize = HEAD_BYTES_MAX + 1 + POSITION_BYTES_MAX;

/// What a payload is.
#[derive(Debug, Clone, PartialEq)]
pub enum Decoded<'a> {
    /// One record.
    Lone(Head),
    /// Several: every item decodes, and is written by [`lone_position`].
    Batch(Head, BatchDecoder<'a>),
    /// Keep the bytes with the reason. The head is there if it could be read.
    Quarantine(QuarantineReason, Option<Head>),
}

impl Decoded<'_> {
    /// Whether it belongs to the alarm family, quarantined or not: it may use the spool's reserve.
    #[must_use]
    pub fn is_alarm(&self) -> bool {
        match self {
            Self::Lone(head) | Self::Quarantine(_, Some(head)) => head.class.is_alarm_family(),
            Self::Batch(..) | Self::Quarantine(_, None) => false,
        }
    }
}

/// Reads a payload that came by `lane` from a device enrolled up to `ceiling`.
#[must_use]
pub fn decode(lane: Lane, ceiling: Mode, payload: &[u8]) -> Decoded<'_> {
    let Ok(envelope) = Envelope::decode(payload) else {
        return Decoded::Quarantine(QuarantineReason::Envelope, None);
    };
    let head = envelope.head;
    if !ceiling.permits(head.mode) {
        return Decoded::Quarantine(QuarantineReason::AboveCeiling, Some(head));
    }
    if !lane_carries(lane, head.class) {
        return Decoded::Quarantine(QuarantineReason::WrongLane, Some(head));
    }
    match Body::decode(&head, envelope.body) {
        // All or nothing: half a batch would leave the rest without a state.
        Ok(Body::PositionBatch(items)) if items.clone().all(|item| item.is_ok()) => {
            Decoded::Batch(head, items)
        }
        Ok(Body::PositionBatch(_)) | Err(_) => Decoded::Quarantine(QuarantineReason::Body, Some(head)),
        Ok(_) => Decoded::Lone(head),
    }
}

/// Health has its own lane, both ways; the alarm lane is for the alarm family alone. An alarm is taken wherever it
/// comes: it is never quarantined for its topic.
fn lane_carries(lane: Lane, class: Class) -> bool {
    let is_health = class == Class::HEALTH;
    match lane {
        Lane::Alarm => class.is_alarm_family(),
        Lane::Health => is_health || class.is_alarm_family(),
        Lane::Live | Lane::Backlog => !is_health,
    }
}

/// Writes one item of a batch as the lone position it stands for: same version, mode, clock and boot, its own sequence
/// and time. An authentication tag of the batch is not carried over: it covers other bytes.
#[must_use]
pub fn lone_position<'b>(
    batch: &Head,
    item: &BatchItem,
    buffer: &'b mut [u8; LONE_POSITION_BYTES_MAX],
) -> &'b [u8] {
    let mut body = [0; POSITION_BYTES_MAX];
    let body = item.position.encode(&mut body).expect("a position fits POSITION_BYTES_MAX");
    let head = Head { class: Class::POSITION, seq: item.seq, time_ms: item.time_ms, ..*batch };
    Envelope { head, body, trailer: None }
        .encode(buffer)
        .expect("head, length and position fit LONE_POSITION_BYTES_MAX")
}
