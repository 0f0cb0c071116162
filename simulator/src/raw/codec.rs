//! The five MQTT 3.1.1 packets a bare device needs (OASIS MQTT 3.1.1, sections 3.1 to 3.4 and 3.14).

use fieldpost_protocol::{
    Alarm, AlarmCause, Class, ClockQuality, Envelope, FixSource, Head, Mode, Position, ReportReason, Seq,
    limits,
};

const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;
const PUBLISH_QOS1: u8 = 0x32;
const PUBACK: u8 = 0x40;

/// What the server said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// CONNACK with its return code.
    Connected(u8),
    /// PUBACK for a packet id.
    Acknowledged(u16),
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

fn push_length(mut length: usize, out: &mut Vec<u8>) {
    while length > 0x7F {
        out.push((length & 0x7F) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

/// Takes one packet from the front of `bytes`: its meaning and its length, or `None` if it is not complete.
pub(super) fn take(bytes: &[u8]) -> Option<(Answer, usize)> {
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
                _ => Answer::Other,
            };
            return Some((answer, header + length));
        }
    }
    None
}

/// A frame of exactly `frame_bytes`: a position of mode `test`, padded as the protocol allows.
pub(super) fn padded_position(
    boot: fieldpost_protocol::BootId,
    seq: Seq,
    time_ms: u64,
    frame_bytes: usize,
    out: &mut [u8; limits::FRAME_BYTES_MAX],
) -> usize {
    let position = Position {
        latitude_udeg: 52_200_000 + i32::try_from(seq.0 % 1000).expect("below 1000"),
        longitude_udeg: -1_500_000,
        speed_cmps: Some(140),
        course_turn256: Some(64),
        accuracy_m: 5,
        source: FixSource::GNSS,
        reason: ReportReason::INTERVAL,
    };
    let mut body = [0; limits::BODY_BYTES_MAX];
    let body_len = position.encode(&mut body).expect("the buffer is the largest").len();
    let head = Head {
        version: 1,
        class: Class::POSITION,
        mode: Mode::Test,
        clock: ClockQuality::Network,
        boot,
        seq,
        time_ms,
    };
    let mut encode = |length: usize| {
        let envelope = Envelope { head, body: &body[..length], trailer: None };
        envelope.encode(out).expect("the buffer is the largest").len()
    };
    let bare = encode(body_len);
    encode(body_len + frame_bytes.saturating_sub(bare))
}

/// A frame with an alarm of mode `test` and without a place.
pub(super) fn alarm(
    boot: fieldpost_protocol::BootId,
    seq: Seq,
    time_ms: u64,
    out: &mut [u8; limits::FRAME_BYTES_MAX],
) -> usize {
    let alarm = Alarm { cause: AlarmCause::BUTTON, silent: false, position: None, position_age_s: 0 };
    let mut body = [0; limits::BODY_BYTES_MAX];
    let body = alarm.encode(&mut body).expect("the buffer is the largest");
    let head = Head {
        version: 1,
        class: Class::ALARM,
        mode: Mode::Test,
        clock: ClockQuality::Network,
        boot,
        seq,
        time_ms,
    };
    Envelope { head, body, trailer: None }.encode(out).expect("the buffer is the largest").len()
}

#[cfg(test)]
mod tests {
    use fieldpost_protocol::BootId;

    use super::*;

    #[test]
    fn a_padded_position_is_as_long_as_asked_and_decodes() {
        let mut frame = [0; limits::FRAME_BYTES_MAX];
        let len = padded_position(BootId(1), Seq(7), 1_790_000_000_000, 64, &mut frame);
        assert_eq!(len, 64);
        let envelope = Envelope::decode(&frame[..len]).expect("it is an envelope");
        assert!(fieldpost_protocol::Body::decode(&envelope.head, envelope.body).is_ok());
    }

    #[test]
    fn answers_are_taken_whole_or_not_at_all() {
        let bytes = [CONNACK, 2, 0, 5, PUBACK, 2, 1, 2];
        assert_eq!(take(&bytes), Some((Answer::Connected(5), 4)));
        assert_eq!(take(&bytes[4..]), Some((Answer::Acknowledged(0x102), 4)));
        assert_eq!(take(&bytes[4..7]), None);
    }
}
