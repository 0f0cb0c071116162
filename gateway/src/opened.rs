//! A record with its envelope read.
//!
//! **Read once, whoever reads it**: page, loss ledger and history go by the same head and the same position. The spool keeps
//! an [`Outline`] beside each record that it holds decoded; of a record that comes alone it is made on the spot.

use fieldpost_protocol::{Body, Class, DecodeError, Envelope, Head, Position};

use crate::record::Record;

/// What a record's envelope says: head, where the body lies, and the position if it is one. 48 bytes, of nearly every record. It
/// holds a position: it has no `Debug`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Outline {
    head: Head,
    body_start: u16,
    body_end: u16,
    position: Option<Position>,
}

impl Outline {
    /// `None` if the record is no envelope, or one with a tag: such a one is read anew by everybody.
    #[must_use]
    pub fn of(record: &Record) -> Option<Self> {
        let Envelope { head, body, trailer: None } = record.envelope()? else { return None };
        // Without a tag the body is the end of the frame, which is far below 64 KiB.
        let body_end = u16::try_from(record.payload.len()).ok()?;
        let body_start = body_end - u16::try_from(body.len()).ok()?;
        let position = match Body::decode(&head, body) {
            Ok(Body::Position(position)) if head.class == Class::POSITION => Some(position),
            _ => None,
        };
        Some(Self { head, body_start, body_end, position })
    }
}

/// A record, and its outline if it has one.
#[derive(Clone, Copy)]
pub struct Opened<'r> {
    /// The record.
    pub record: &'r Record,
    outline: Option<Outline>,
}

impl<'r> Opened<'r> {
    pub(crate) fn new(record: &'r Record, outline: Option<Outline>) -> Self {
        Self { record, outline }
    }

    /// The envelope, if the record is one.
    #[must_use]
    pub fn envelope(&self) -> Option<Envelope<'r>> {
        let Some(Outline { head, body_start, body_end, .. }) = self.outline else {
            return self.record.envelope();
        };
        let body = &self.record.payload[usize::from(body_start)..usize::from(body_end)];
        Some(Envelope { head, body, trailer: None })
    }

    /// The body of `envelope`, which is this record's.
    ///
    /// # Errors
    /// [`DecodeError`], like [`Body::decode`].
    pub fn body(&self, envelope: &Envelope<'r>) -> Result<Body<'r>, DecodeError> {
        match self.outline.and_then(|outline| outline.position) {
            Some(position) => Ok(Body::Position(position)),
            None => Body::decode(&envelope.head, envelope.body),
        }
    }
}

impl<'r> From<&'r Record> for Opened<'r> {
    fn from(record: &'r Record) -> Self {
        Self::new(record, Outline::of(record))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use fieldpost_protocol::{DeviceId, ForceId, Lane, Mode};
    use proptest::prelude::*;

    use super::*;
    use crate::record::RecordKind;
    use crate::spool::Lsn;

    fn frame() -> impl Strategy<Value = Vec<u8>> {
        let class = prop_oneof![Just(1_u8), any::<u8>()];
        let built =
            (class, 0..16_u8, any::<u32>(), any::<bool>(), proptest::collection::vec(any::<u8>(), 0..60));
        let built = built.prop_map(|(class, flags, seq, has_tag, body)| {
            let mut buffer = [0; 256];
            let head = Head {
                version: 1,
                class: Class(class),
                mode: Mode::from_bits(flags & 3).unwrap_or(Mode::Test),
                clock: fieldpost_protocol::ClockQuality::from_bits(flags >> 2),
                boot: fieldpost_protocol::BootId(seq / 7),
                seq: fieldpost_protocol::Seq(seq),
                time_ms: u64::from(seq) * 1000,
            };
            let algorithm = fieldpost_protocol::AuthAlgorithm::HMAC_SHA256_128;
            let trailer = has_tag.then_some(fieldpost_protocol::Trailer { algorithm, tag: &[7; 16] });
            Envelope { head, body: &body, trailer }.encode(&mut buffer).unwrap().to_vec()
        });
        prop_oneof![built, proptest::collection::vec(any::<u8>(), 0..80)]
    }

    proptest! {
        #[test]
        fn an_outline_says_what_the_bytes_say(frame in frame(), is_repeated: bool) {
            let record = Record {
                lsn: Lsn(1),
                received_at_ms: 0,
                force: ForceId::try_new("sim").unwrap(),
                device: DeviceId::try_new("pc-0001").unwrap(),
                ceiling: Mode::Test,
                lane: Lane::Live,
                kind: if is_repeated { RecordKind::Repeated } else { RecordKind::Envelope },
                payload: Bytes::from(frame),
            };
            let opened = Opened::from(&record);
            let plain = Envelope::decode(&record.payload).ok();
            prop_assert_eq!(opened.envelope(), plain);
            if let Some(envelope) = plain {
                prop_assert_eq!(opened.body(&envelope), Body::decode(&envelope.head, envelope.body));
            }
        }
    }
}
