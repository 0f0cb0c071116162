//! What a record says, in 32 bits: tells a redelivery from another record under the same identity.
//!
//! **Every delivery of one record has the same fingerprint**, whether it came alone or in a batch, by whichever lane. It is the
//! protocol's [`print`], computed by the processor's own instruction. It is no protection against a device that wants its own
//! records to be lost.

use std::fmt;

use fieldpost_protocol::print::{self, Print};
use fieldpost_protocol::{Envelope, Head, Position};
use serde::{Deserialize, Serialize};

/// CRC-32C over time, class and body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fingerprint(pub u32);

impl Fingerprint {
    /// Of a record's head and its body's bytes.
    #[must_use]
    pub fn of(head: &Head, body: &[u8]) -> Self {
        let (start, told) = print::covered(head, body);
        Self(crc32c::crc32c_append(crc32c::crc32c(&start), told))
    }

    /// Of a position, as its body's bytes would give it.
    #[must_use]
    pub fn of_position(head: &Head, position: &Position) -> Self {
        Self::of(head, &print::place(position))
    }

    /// Of an envelope.
    #[must_use]
    pub fn of_envelope(envelope: &Envelope<'_>) -> Self {
        Self::of(&envelope.head, envelope.body)
    }

    /// As a device is told it.
    #[must_use]
    pub fn print(self) -> Print {
        Print(self.0)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use fieldpost_protocol::{BatchItem, BootId, Class, ClockQuality, FixSource, Mode, ReportReason, Seq};

    use super::*;
    use crate::decode::{LONE_POSITION_BYTES_MAX, lone_position};

    fn head(class: Class, seq: u32) -> Head {
        let (mode, clock) = (Mode::Test, ClockQuality::Gnss);
        Head { version: 1, class, mode, clock, boot: BootId(1), seq: Seq(seq), time_ms: 1_790_000_000_000 }
    }

    #[test]
    fn a_position_has_the_same_fingerprint_alone_in_a_batch_and_with_newer_fields() {
        let position = Position {
            latitude_udeg: 51_507_400,
            longitude_udeg: -127_758,
            speed_cmps: Some(134),
            course_turn256: None,
            accuracy_m: 5,
            source: FixSource::GNSS,
            reason: ReportReason::INTERVAL,
        };
        let mut body = [0; 64];
        let mut body = position.encode(&mut body).unwrap().to_vec();
        let alone = Fingerprint::of(&head(Class::POSITION, 7), &body);
        body.extend([1, 2, 3]);
        assert_eq!(Fingerprint::of(&head(Class::POSITION, 7), &body), alone);
        let item = BatchItem { seq: Seq(7), time_ms: 1_790_000_000_000, position };
        let mut buffer = [0; LONE_POSITION_BYTES_MAX];
        let unpacked = lone_position(&head(Class::POSITION_BATCH, 0), &item, &mut buffer);
        assert_eq!(Fingerprint::of_envelope(&Envelope::decode(unpacked).unwrap()), alone);
        assert_eq!(Fingerprint::of_position(&head(Class::POSITION, 7), &position), alone);
        assert_eq!(Print::of(&head(Class::POSITION, 7), &body), alone.print(), "as the device has it");
    }

    #[test]
    fn another_time_class_or_body_is_another_fingerprint() {
        let of = |class, time_ms, body: &[u8]| Fingerprint::of(&Head { time_ms, ..head(class, 7) }, body);
        let prints = [
            of(Class::ALARM, 5, b"body"),
            of(Class::ALARM, 6, b"body"),
            of(Class::STATUS, 5, b"body"),
            of(Class::ALARM, 5, b"bodz"),
        ];
        for (n, print) in prints.iter().enumerate() {
            assert!(!prints[..n].contains(print), "{n}");
        }
    }
}
