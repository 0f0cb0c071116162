//! A record: one envelope after authentication and decoding, as the spool keeps it.
//!
//! **One record is one (device, boot id, sequence).** A position batch is unpacked before it gets here, so every reader
//! of the spool sees lone records. The device's own bytes are kept as they came: old bytes decode for ever.
//!
//! ```text
//! kind u8 | reason u8 | lane u8 | ceiling u8 | received_at_ms u64 LE | force len u8, bytes | device len u8, bytes | payload
//! ```

use std::fmt;

use bytes::{Buf as _, BufMut, Bytes, BytesMut};
use fieldpost_protocol::{BootId, DeviceId, Envelope, ForceId, Lane, Mode, Seq};

use crate::fingerprint::Fingerprint;
use crate::spool::Lsn;

/// What a record's payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// An envelope that decodes, body included or of an unknown class.
    Envelope,
    /// The same, under an identity (boot id, sequence) that the device had already used for something else.
    Repeated,
    /// Bytes from an authenticated device that could not be taken as a record, kept with the reason.
    Quarantine(QuarantineReason),
    /// A person acknowledged an alarm; the payload is JSON written by `alarms`.
    Acknowledged,
    /// A force system accepted an alarm; the payload is JSON written by `alarms`.
    Delivered,
    /// A person did something else to an alarm: shelved, lowered, closed it; the payload is JSON written by `alarms`.
    AlarmAction,
    /// A wearer's device confirmed a receipt; the payload is JSON written by `alarms`.
    Confirmed,
    /// The time, and who watches; the payload is JSON written by `alarms`.
    Clock,
    /// From here on another rule file is in force; the payload is JSON written by `alarms`.
    Rules,
    /// The rules raised an alarm, or graded one; the payload is JSON written by `alarms`.
    Verdict,
}

impl RecordKind {
    /// Whether the gateway itself wrote it: no device did, and no force system is sent it.
    #[must_use]
    pub fn is_gateways_own(self) -> bool {
        !matches!(self, Self::Envelope | Self::Repeated | Self::Quarantine(_))
    }
}

/// In the place of the reason: [`RecordKind::Repeated`].
const REPEATED: u8 = 1;

/// Why a payload is in quarantine. Closed, so that it can be a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum QuarantineReason {
    /// Not an envelope.
    Envelope = 1,
    /// An envelope whose body is not one of its class.
    Body = 2,
    /// The frame claims to be more real than the device's enrolment allows.
    AboveCeiling = 3,
    /// The class does not belong on the topic it came by.
    WrongLane = 4,
}

impl QuarantineReason {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::Envelope, Self::Body, Self::AboveCeiling, Self::WrongLane];

    /// The reason as a metric label and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Envelope => "envelope",
            Self::Body => "body",
            Self::AboveCeiling => "above-ceiling",
            Self::WrongLane => "wrong-lane",
        }
    }
}

/// One entry of the spool, understood.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place in the spool; 0 until appended.
    pub lsn: Lsn,
    /// When the gateway received it, Unix time in ms.
    pub received_at_ms: u64,
    /// The device's force, from its certificate.
    pub force: ForceId,
    /// The device, from its certificate.
    pub device: DeviceId,
    /// The most real mode the device is enrolled for.
    pub ceiling: Mode,
    /// The lane it came by.
    pub lane: Lane,
    /// What the payload is.
    pub kind: RecordKind,
    /// The bytes: an envelope, a quarantined payload, or JSON, by `kind`.
    pub payload: Bytes,
}

/// An entry of the spool is not a record: written by a newer version, or damaged in a way its checksum did not show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("spool entry {n} is not a record this version knows; a newer gateway may have written it", n = .0.0)]
pub struct RecordError(pub Lsn);

impl Record {
    /// Appends the record's bytes to `out`.
    pub fn encode(&self, out: &mut BytesMut) {
        let unit = (self.force.as_str(), self.device.as_str());
        Self::encode_parts(out, self.kind, self.lane, self.ceiling, self.received_at_ms, unit, &self.payload);
    }

    /// Appends a record's bytes to `out` from borrowed parts: the front door's way, which copies each payload once.
    /// `unit` is force and device, identities both.
    pub fn encode_parts(
        out: &mut BytesMut,
        kind: RecordKind,
        lane: Lane,
        ceiling: Mode,
        received_at_ms: u64,
        unit: (&str, &str),
        payload: &[u8],
    ) {
        let (kind, reason) = match kind {
            RecordKind::Envelope => (1, 0),
            // A version that does not know of this takes it for a plain envelope, as it would have stored it.
            RecordKind::Repeated => (1, REPEATED),
            RecordKind::Quarantine(reason) => (2, reason as u8),
            RecordKind::Acknowledged => (3, 0),
            RecordKind::Delivered => (4, 0),
            // An older version cannot read these: it counts them and goes on.
            RecordKind::AlarmAction => (5, 0),
            RecordKind::Confirmed => (6, 0),
            RecordKind::Clock => (7, 0),
            RecordKind::Rules => (8, 0),
            RecordKind::Verdict => (9, 0),
        };
        out.reserve(14 + unit.0.len() + unit.1.len() + payload.len());
        out.put_slice(&[kind, reason, lane_code(lane), ceiling as u8]);
        out.put_u64_le(received_at_ms);
        for id in [unit.0, unit.1] {
            out.put_u8(u8::try_from(id.len()).expect("an identity has at most 64 characters"));
            out.put_slice(id.as_bytes());
        }
        out.put_slice(payload);
    }

    /// Reads the bytes of entry `lsn`; the payload shares them.
    ///
    /// # Errors
    /// [`RecordError`] if they are not a record of a known kind.
    pub fn decode(lsn: Lsn, entry: &Bytes) -> Result<Self, RecordError> {
        Self::decode_owned(lsn, entry.clone())
    }

    /// The same of bytes that are given away: a reader of every record does not count their owners twice.
    ///
    /// # Errors
    /// [`RecordError`], like [`Record::decode`].
    pub fn decode_owned(lsn: Lsn, entry: Bytes) -> Result<Self, RecordError> {
        Self::decode_parts(lsn, entry).ok_or(RecordError(lsn))
    }

    fn decode_parts(lsn: Lsn, mut entry: Bytes) -> Option<Self> {
        let &[kind, reason, lane, ceiling] = entry.get(..4)? else { return None };
        let received_at_ms = u64::from_le_bytes(entry.get(4..12)?.try_into().ok()?);
        let (force, at) = take_id(&entry, 12)?;
        let (device, at) = take_id(&entry, at)?;
        let (force, device) = (ForceId::try_new(force).ok()?, DeviceId::try_new(device).ok()?);
        let kind = match kind {
            1 if reason == REPEATED => RecordKind::Repeated,
            1 => RecordKind::Envelope,
            2 => RecordKind::Quarantine(QuarantineReason::ALL.into_iter().find(|r| *r as u8 == reason)?),
            3 => RecordKind::Acknowledged,
            4 => RecordKind::Delivered,
            5 => RecordKind::AlarmAction,
            6 => RecordKind::Confirmed,
            7 => RecordKind::Clock,
            8 => RecordKind::Rules,
            9 => RecordKind::Verdict,
            _ => return None,
        };
        Some(Self {
            lsn,
            received_at_ms,
            force,
            device,
            ceiling: Mode::from_bits(ceiling)?,
            lane: lane_from(lane)?,
            kind,
            payload: {
                entry.advance(at);
                entry
            },
        })
    }

    /// The envelope, if the record is one.
    #[must_use]
    pub fn envelope(&self) -> Option<Envelope<'_>> {
        match self.kind {
            RecordKind::Envelope | RecordKind::Repeated => Envelope::decode(&self.payload).ok(),
            _ => None,
        }
    }

    /// The idempotency key: the same for every delivery of the same record, everywhere, and no other record's. See
    /// [`Record::key_of`]. One under a repeated identity has its fingerprint behind a `~`, so no sink takes it for the
    /// other. A record without a readable envelope has `force.device.lsn.N`.
    #[must_use]
    pub fn key(&self) -> String {
        match (self.envelope(), self.repeat()) {
            (Some(Envelope { head, .. }), None) => self.key_of(head.boot, head.seq),
            (Some(Envelope { head, .. }), Some(print)) => {
                format!("{}~{print}", self.key_of(head.boot, head.seq))
            }
            (None, _) => format!("{}.lsn.{}", self.unit_key(), self.lsn.0),
        }
    }

    /// What tells the record from the other under its identity, if it repeats one.
    #[must_use]
    pub fn repeat(&self) -> Option<Fingerprint> {
        // By kind first: one record in millions is repeated, and every reader asks.
        let envelope = (self.kind == RecordKind::Repeated).then(|| self.envelope())??;
        Some(Fingerprint::of_envelope(&envelope))
    }

    /// The key `force.device.boot.seq` of another record of the same device. A dot inside an identity is written `%2E`,
    /// or device `c` of force `a.b` and device `b.c` of force `a` would have the same keys, and a sink would drop one's
    /// records for the other's.
    #[must_use]
    pub fn key_of(&self, boot: BootId, seq: Seq) -> String {
        format!("{}.{}.{}", self.unit_key(), boot.0, seq.0)
    }

    fn unit_key(&self) -> String {
        unit_key(self.force.as_str(), self.device.as_str())
    }
}

/// How every key of a unit's records begins; a dot follows.
#[must_use]
pub fn unit_key(force: &str, device: &str) -> String {
    let [force, device] = [force, device].map(|identity| identity.replace('.', "%2E"));
    format!("{force}.{device}")
}

/// Payloads hold positions: they never reach a log.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Record({:?} {}/{} {:?} {} bytes)",
            self.lsn,
            self.force,
            self.device,
            self.kind,
            self.payload.len()
        )
    }
}

fn take_id(entry: &Bytes, at: usize) -> Option<(&str, usize)> {
    let end = at + 1 + usize::from(*entry.get(at)?);
    Some((std::str::from_utf8(entry.get(at + 1..end)?).ok()?, end))
}

fn lane_code(lane: Lane) -> u8 {
    match lane {
        Lane::Alarm => 1,
        Lane::Live => 2,
        Lane::Backlog => 3,
        Lane::Health => 4,
    }
}

fn lane_from(code: u8) -> Option<Lane> {
    [Lane::Alarm, Lane::Live, Lane::Backlog, Lane::Health].into_iter().find(|lane| lane_code(*lane) == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: RecordKind) -> Record {
        Record {
            lsn: Lsn(7),
            received_at_ms: 1_790_000_000_000,
            force: ForceId::try_new("sim").expect("an identity"),
            device: DeviceId::try_new("pc-0001").expect("an identity"),
            ceiling: Mode::Test,
            lane: Lane::Backlog,
            kind,
            payload: Bytes::from_static(b"payload"),
        }
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let kinds = [
            RecordKind::Envelope,
            RecordKind::Repeated,
            RecordKind::Quarantine(QuarantineReason::Body),
            RecordKind::Acknowledged,
            RecordKind::Delivered,
            RecordKind::AlarmAction,
            RecordKind::Confirmed,
            RecordKind::Clock,
            RecordKind::Rules,
            RecordKind::Verdict,
        ];
        for kind in kinds {
            let mut bytes = BytesMut::new();
            record(kind).encode(&mut bytes);
            assert_eq!(Record::decode(Lsn(7), &bytes.freeze()), Ok(record(kind)));
        }
    }

    #[test]
    fn no_two_records_share_a_key() {
        let key = |force: &str, device: &str| {
            let record = Record {
                force: ForceId::try_new(force).expect("an identity"),
                device: DeviceId::try_new(device).expect("an identity"),
                ..record(RecordKind::Envelope)
            };
            record.key_of(BootId(3), Seq(17))
        };
        assert_eq!(key("sim", "pc-0001"), "sim.pc-0001.3.17");
        assert_eq!(key("a.b", "c"), "a%2Eb.c.3.17");
        assert_ne!(key("a.b", "c"), key("a", "b.c"));
    }

    #[test]
    fn a_cut_or_unknown_record_is_an_error_not_a_panic() {
        let mut bytes = BytesMut::new();
        record(RecordKind::Envelope).encode(&mut bytes);
        let bytes = bytes.freeze();
        for cut in 0..24 {
            assert_eq!(Record::decode(Lsn(1), &bytes.slice(..cut)), Err(RecordError(Lsn(1))));
        }
        assert!(Record::decode(Lsn(1), &Bytes::from_static(&[99; 40])).is_err());
    }
}
