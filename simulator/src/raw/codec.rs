//! The five MQTT 3.1.1 packets a bare device needs (OASIS MQTT 3.1.1, sections 3.1 to 3.4 and 3.14).

use fieldpost_protocol::{
    Alarm, AlarmCause, BatchItem, BootId, Class, ClockQuality, Envelope, FixSource, Head, Mode, Position,
    ReportReason, Seq, encode_batch, limits,
};

const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;
const PUBLISH_QOS1: u8 = 0x32;
const PUBACK: u8 = 0x40;
const SUBSCRIBE: u8 = 0x82;
const SUBACK: u8 = 0x90;
const PUBLISH: u8 = 0x30;

/// Where positions begin, in micro-degrees of latitude. Each sequence lies one further north, so that a force system that is not told
/// the sequence can be asked for it.
pub(crate) const POSITIONS_FROM_UDEG: i32 = 52_200_000;
/// After so many sequences they begin anew.
pub(crate) const SEQS_TOLD_APART: u32 = 1_000_000;

/// What the server said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer<'a> {
    /// CONNACK with its return code.
    Connected(u8),
    /// PUBACK for a packet id.
    Acknowledged(u16),
    /// SUBACK with the granted quality.
    Subscribed(u8),
    /// PUBLISH: its packet id if it has one, and its payload.
    Told(Option<u16>, &'a [u8]),
    /// Anything else.
    Other,
}

/// Appends a CONNECT with a clean session.
pub(super) fn connect(client_id: &str, keep_alive_s: u16, out: &mut Vec<u8>) {
    let id_len = u16::try_from(client_id.len()).expect("an identity has at most 64 characters");
    out.push(CONNECT);
    out.push(u8::try_from(12 + client_id.len()).expect("12 + 64 fit one length byte"));
    out.extend([0, 4, b'M', b'Q', b'T', b'T', 4, 0b10]);
    out.extend(keep_alive_s.to_be_bytes());
    out.extend(id_len.to_be_bytes());
    out.extend(client_id.as_bytes());
}

/// Appends a QoS 1 PUBLISH.
pub(super) fn publish(topic: &str, packet_id: u16, payload: &[u8], out: &mut Vec<u8>) {
    out.push(PUBLISH_QOS1);
    push_length(2 + topic.len() + 2 + payload.len(), out);
    out.extend(u16::try_from(topic.len()).expect("a topic is short").to_be_bytes());
    out.extend(topic.as_bytes());
    out.extend(packet_id.to_be_bytes());
    out.extend(payload);
}

/// Appends a SUBSCRIBE to one topic at QoS 1.
pub(super) fn subscribe(topic: &str, packet_id: u16, out: &mut Vec<u8>) {
    out.push(SUBSCRIBE);
    push_length(2 + 2 + topic.len() + 1, out);
    out.extend(packet_id.to_be_bytes());
    out.extend(u16::try_from(topic.len()).expect("a topic is short").to_be_bytes());
    out.extend(topic.as_bytes());
    out.push(1);
}

/// Appends a PUBACK.
pub(super) fn puback(packet_id: u16, out: &mut Vec<u8>) {
    out.extend([PUBACK, 2]);
    out.extend(packet_id.to_be_bytes());
}

fn push_length(mut length: usize, out: &mut Vec<u8>) {
    while length > 0x7F {
        out.push((length & 0x7F) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

/// Takes one packet from the front of `bytes`: its meaning and its length, or `None` if it is not complete.
pub(super) fn take(bytes: &[u8]) -> Option<(Answer<'_>, usize)> {
    let (&kind, rest) = bytes.split_first()?;
    let mut length = 0;
    let mut header = 1;
    for (at, byte) in rest.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * at);
        header += 1;
        if byte & 0x80 == 0 {
            let body = bytes.get(header..header + length)?;
            let answer = match (kind & 0xF0, body) {
                (CONNACK, [_, code, ..]) => Answer::Connected(*code),
                (PUBACK, [high, low, ..]) => Answer::Acknowledged(u16::from_be_bytes([*high, *low])),
                (SUBACK, [_, _, granted, ..]) => Answer::Subscribed(*granted),
                (PUBLISH, _) => told(kind, body).unwrap_or(Answer::Other),
                _ => Answer::Other,
            };
            return Some((answer, header + length));
        }
    }
    None
}

/// A PUBLISH of the server (3.3.2): with a packet id unless its quality is 0.
fn told(kind: u8, body: &[u8]) -> Option<Answer<'_>> {
    let (topic_len, rest) = body.split_first_chunk()?;
    let rest = rest.get(usize::from(u16::from_be_bytes(*topic_len))..)?;
    if kind & 0b110 == 0 {
        return Some(Answer::Told(None, rest));
    }
    let (packet_id, payload) = rest.split_first_chunk()?;
    Some(Answer::Told(Some(u16::from_be_bytes(*packet_id)), payload))
}

/// A frame of exactly `frame_bytes`: a position of mode `test`, padded as the protocol allows.
pub(crate) fn position(
    boot: BootId,
    seq: Seq,
    time_ms: u64,
    frame_bytes: usize,
    out: &mut [u8; limits::FRAME_BYTES_MAX],
) -> usize {
    let position = Position {
        latitude_udeg: POSITIONS_FROM_UDEG + i32::try_from(seq.0 % SEQS_TOLD_APART).expect("below a million"),
        ..somewhere()
    };
    let mut body = [0; limits::BODY_BYTES_MAX];
    let body_len = position.encode(&mut body).expect("the buffer is the largest").len();
    let head = head(Class::POSITION, boot, seq, time_ms);
    let mut encode = |length: usize| {
        let envelope = Envelope { head, body: &body[..length], trailer: None };
        envelope.encode(out).expect("the buffer is the largest").len()
    };
    let bare = encode(body_len);
    encode(body_len + frame_bytes.saturating_sub(bare))
}

/// A frame with an alarm of mode `test`; at place number `place`, a kilometre from the next, or without one.
pub(crate) fn alarm(
    boot: BootId,
    seq: Seq,
    time_ms: u64,
    place: Option<u32>,
    out: &mut [u8; limits::FRAME_BYTES_MAX],
) -> usize {
    let position = place.map(|place| Position {
        // 0.01 degrees of latitude are 1.1 km: further than alarms that are one incident.
        latitude_udeg: 50_000_000 + 10_000 * i32::try_from(place % 500).expect("below 500"),
        ..somewhere()
    });
    let alarm = Alarm { cause: AlarmCause::BUTTON, silent: false, position, position_age_s: 0 };
    let mut body = [0; limits::BODY_BYTES_MAX];
    let body = alarm.encode(&mut body).expect("the buffer is the largest");
    let envelope = Envelope { head: head(Class::ALARM, boot, seq, time_ms), body, trailer: None };
    envelope.encode(out).expect("the buffer is the largest").len()
}

/// A frame with `count` positions, ten seconds apart, the first at `time_ms`: how many went in, and its length.
pub(crate) fn batch(
    boot: BootId,
    first: Seq,
    time_ms: u64,
    count: u32,
    out: &mut [u8; limits::FRAME_BYTES_MAX],
) -> (u32, usize) {
    let item = |n: u32| BatchItem {
        seq: Seq(first.0 + n),
        time_ms: time_ms + u64::from(n) * 10_000,
        position: Position {
            latitude_udeg: POSITIONS_FROM_UDEG + i32::try_from(n).expect("a batch is short"),
            ..somewhere()
        },
    };
    let items: Vec<BatchItem> = (0..count).map(item).collect();
    let mut body = [0; limits::BODY_BYTES_MAX];
    let (taken, body) = encode_batch(&items, &mut body).expect("in order, and the buffer is the largest");
    let envelope = Envelope { head: head(Class::POSITION_BATCH, boot, first, time_ms), body, trailer: None };
    let len = envelope.encode(out).expect("the buffer is the largest").len();
    (u32::try_from(taken).expect("a batch is short"), len)
}

fn somewhere() -> Position {
    Position {
        latitude_udeg: POSITIONS_FROM_UDEG,
        longitude_udeg: -1_500_000,
        speed_cmps: Some(140),
        course_turn256: Some(64),
        accuracy_m: 5,
        source: FixSource::GNSS,
        reason: ReportReason::INTERVAL,
    }
}

fn head(class: Class, boot: BootId, seq: Seq, time_ms: u64) -> Head {
    Head { version: 1, class, mode: Mode::Test, clock: ClockQuality::Network, boot, seq, time_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_padded_position_is_as_long_as_asked_and_decodes() {
        let mut frame = [0; limits::FRAME_BYTES_MAX];
        let len = position(BootId(1), Seq(7), 1_790_000_000_000, 64, &mut frame);
        assert_eq!(len, 64);
        let envelope = Envelope::decode(&frame[..len]).expect("it is an envelope");
        assert!(fieldpost_protocol::Body::decode(&envelope.head, envelope.body).is_ok());
    }

    #[test]
    fn what_the_server_publishes_is_taken_with_its_packet_id() {
        let bytes = [PUBLISH | 2, 7, 0, 1, b'd', 0, 9, 1, 2, PUBLISH, 4, 0, 1, b'd', 3, SUBACK, 3, 0, 1, 1];
        assert_eq!(take(&bytes), Some((Answer::Told(Some(9), &[1, 2]), 9)));
        assert_eq!(take(&bytes[9..]), Some((Answer::Told(None, &[3]), 6)));
        assert_eq!(take(&bytes[15..]), Some((Answer::Subscribed(1), 5)));
        assert_eq!(take(&[PUBLISH, 1, 0]), Some((Answer::Other, 3)), "a length beyond the packet");
    }

    #[test]
    fn answers_are_taken_whole_or_not_at_all() {
        let bytes = [CONNACK, 2, 0, 5, PUBACK, 2, 1, 2];
        assert_eq!(take(&bytes), Some((Answer::Connected(5), 4)));
        assert_eq!(take(&bytes[4..]), Some((Answer::Acknowledged(0x102), 4)));
        assert_eq!(take(&bytes[4..7]), None);
    }
}
