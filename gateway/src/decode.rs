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

use crate::fingerprint::Fingerprint;
use crate::record::QuarantineReason;

/// Longest lone position: head, body length (1, varint), body.
pub const LONE_POSITION_BYTES_MAX: usize = HEAD_BYTES_MAX + 1 + POSITION_BYTES_MAX;

/// What a payload is.
#[derive(Debug, Clone, PartialEq)]
pub enum Decoded<'a> {
    /// One record.
    Lone(Head, Fingerprint),
    /// Several: every item decodes, and is written by [`lone_position`].
    Batch(Head, BatchDecoder<'a>),
    /// Keep the bytes with the reason. The head is there if it could be read.
    Quarantine(QuarantineReason, Option<(Head, Fingerprint)>),
}

impl Decoded<'_> {
    /// Whether it belongs to the alarm family, quarantined or not: it may use the spool's reserve.
    #[must_use]
    pub fn is_alarm(&self) -> bool {
        match self {
            Self::Lone(head, _) | Self::Quarantine(_, Some((head, _))) => head.class.is_alarm_family(),
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
    let print = Fingerprint::of_envelope(&envelope);
    if !ceiling.permits(head.mode) {
        return Decoded::Quarantine(QuarantineReason::AboveCeiling, Some((head, print)));
    }
    if !lane_carries(lane, head.class) {
        return Decoded::Quarantine(QuarantineReason::WrongLane, Some((head, print)));
    }
    match Body::decode(&head, envelope.body) {
        // All or nothing: half a batch would leave the rest without a state.
        Ok(Body::PositionBatch(items)) if items.clone().all(|item| item.is_ok()) => {
            Decoded::Batch(head, items)
        }
        Ok(Body::PositionBatch(_)) | Err(_) => {
            Decoded::Quarantine(QuarantineReason::Body, Some((head, print)))
        }
        Ok(_) => Decoded::Lone(head, print),
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

#[cfg(test)]
mod tests {
    use fieldpost_protocol::{BootId, ClockQuality, Seq};

    use super::*;

    fn frame(class: u8, mode: Mode, body: &[u8]) -> Vec<u8> {
        let head = Head {
            version: 1,
            class: Class(class),
            mode,
            clock: ClockQuality::Gnss,
            boot: BootId(1),
            seq: Seq(2),
            time_ms: 3,
        };
        let mut buffer = [0; 128];
        Envelope { head, body, trailer: None }.encode(&mut buffer).unwrap().to_vec()
    }

    fn reason(decoded: &Decoded<'_>) -> Option<QuarantineReason> {
        match decoded {
            Decoded::Quarantine(reason, _) => Some(*reason),
            _ => None,
        }
    }

    #[test]
    fn an_alarm_is_taken_wherever_it_comes_even_if_nobody_here_knows_its_class() {
        for lane in [Lane::Alarm, Lane::Live, Lane::Backlog, Lane::Health] {
            let unknown_alarm = frame(0x1F, Mode::Test, b"from the future");
            let decoded = decode(lane, Mode::Test, &unknown_alarm);
            assert!(matches!(decoded, Decoded::Lone(..)) && decoded.is_alarm(), "{lane:?}");
        }
    }

    #[test]
    fn an_alarm_that_cannot_be_read_is_still_an_alarm_to_the_spool() {
        let damaged = frame(Class::ALARM.0, Mode::Test, &[]);
        let decoded = decode(Lane::Alarm, Mode::Test, &damaged);
        assert_eq!(reason(&decoded), Some(QuarantineReason::Body));
        assert!(decoded.is_alarm());
    }

    #[test]
    fn each_class_has_its_lanes() {
        let health = frame(Class::HEALTH.0, Mode::Test, &[0; 16]);
        let unknown = frame(0x66, Mode::Test, b"?");
        let wrong = Some(QuarantineReason::WrongLane);
        assert_eq!(reason(&decode(Lane::Live, Mode::Test, &health)), wrong);
        assert_eq!(reason(&decode(Lane::Health, Mode::Test, &unknown)), wrong);
        assert_eq!(reason(&decode(Lane::Alarm, Mode::Test, &unknown)), wrong);
        assert_eq!(reason(&decode(Lane::Live, Mode::Test, &unknown)), None);
        assert_eq!(reason(&decode(Lane::Backlog, Mode::Test, &unknown)), None);
    }

    #[test]
    fn nobody_speaks_above_the_ceiling_of_the_enrolment() {
        for (ceiling, mode, is_taken) in [
            (Mode::Actual, Mode::Actual, true),
            (Mode::Exercise, Mode::Actual, false),
            (Mode::Test, Mode::Exercise, false),
            (Mode::Test, Mode::Test, true),
        ] {
            let unknown = frame(0x66, mode, b"?");
            assert_eq!(reason(&decode(Lane::Live, ceiling, &unknown)).is_none(), is_taken);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_have_a_place_to_go(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            for lane in [Lane::Alarm, Lane::Live, Lane::Backlog, Lane::Health] {
                if let Decoded::Batch(head, items) = decode(lane, Mode::Actual, &bytes) {
                    for item in items {
                        let mut buffer = [0; LONE_POSITION_BYTES_MAX];
                        let item = item.unwrap();
                        let lone = lone_position(&head, &item, &mut buffer);
                        proptest::prop_assert!(matches!(decode(lane, Mode::Actual, lone), Decoded::Lone(..)));
                    }
                }
            }
        }
    }
}
