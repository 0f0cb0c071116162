//! MQTT 5 as bytes: what a body-worn device says and hears, and no more (OASIS MQTT 5.0, section 3).

/// What the gateway said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Heard {
    /// CONNACK; `accepted` or not.
    Connected { accepted: bool, session_present: bool },
    /// PUBACK; refused from reason 0x80 on.
    Acknowledged { packet_id: u16, refused: bool },
    /// PUBLISH on the downlink topic; the id is there for quality 1.
    Message { packet_id: Option<u16>, payload: Vec<u8> },
    /// SUBACK, PINGRESP.
    Nothing,
    /// DISCONNECT, or what no gateway says.
    End,
}

/// What a device said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    Connect,
    Publish {
        topic: String,
        packet_id: u16,
        payload: Vec<u8>,
    },
    /// To its downlink topic: there is no other.
    Subscribe {
        packet_id: u16,
    },
    Ping,
    /// PUBACK.
    Nothing,
}

const SESSION_EXPIRY_S: u32 = 3600;

pub(super) fn connect(client_id: &str, keep_alive_s: u16, clean_start: bool) -> Vec<u8> {
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 5, u8::from(clean_start) << 1];
    body.extend(keep_alive_s.to_be_bytes());
    body.extend([5, 0x11]);
    body.extend(SESSION_EXPIRY_S.to_be_bytes());
    push_text(client_id, &mut body);
    packet(0x10, &body)
}

pub(super) fn publish(topic: &str, packet_id: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(topic.len() + payload.len() + 5);
    push_text(topic, &mut body);
    body.extend(packet_id.to_be_bytes());
    body.push(0);
    body.extend(payload);
    packet(0x32, &body)
}

pub(super) fn subscribe(topic: &str, packet_id: u16) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    body.push(0);
    push_text(topic, &mut body);
    body.push(1);
    packet(0x82, &body)
}

pub(super) fn acknowledge(packet_id: u16) -> Vec<u8> {
    packet(0x40, &packet_id.to_be_bytes())
}

pub(super) fn ping() -> Vec<u8> {
    packet(0xC0, &[])
}

fn push_text(text: &str, out: &mut Vec<u8>) {
    out.extend(u16::try_from(text.len()).expect("identities and topics are short").to_be_bytes());
    out.extend(text.as_bytes());
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    let mut length = body.len();
    while length > 0x7F {
        out.push((length & 0x7F) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend(body);
    out
}

/// CONNACK without a session.
pub(super) fn connected() -> Vec<u8> {
    packet(0x20, &[0, 0, 0])
}

pub(super) fn subscribed(packet_id: u16) -> Vec<u8> {
    let [high, low] = packet_id.to_be_bytes();
    packet(0x90, &[high, low, 0, 1])
}

pub(super) fn pinged() -> Vec<u8> {
    packet(0xD0, &[])
}

/// Takes one packet from the front of `bytes`: its meaning and its length, or `None` if it is not complete.
pub(super) fn take(bytes: &[u8]) -> Option<(Heard, usize)> {
    let (kind, body, length) = split(bytes)?;
    Some((read(kind, body).unwrap_or(Heard::End), length))
}

/// The same of what a device says.
pub(super) fn take_said(bytes: &[u8]) -> Option<(Said, usize)> {
    let (kind, body, length) = split(bytes)?;
    Some((read_said(kind, body).unwrap_or(Said::Nothing), length))
}

/// The packet at the front: its first byte, what is in it, and its length.
fn split(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (&kind, rest) = bytes.split_first()?;
    let (length, length_bytes) = variable(rest)?;
    let body = rest.get(length_bytes..length_bytes + length)?;
    Some((kind, body, 1 + length_bytes + length))
}

fn variable(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}

fn read_said(kind: u8, body: &[u8]) -> Option<Said> {
    Some(match kind & 0xF0 {
        0x10 => Said::Connect,
        0x30 => {
            let (topic, packet_id, payload) = read_publish(kind, body)?;
            Said::Publish { topic: String::from_utf8(topic.to_vec()).ok()?, packet_id: packet_id?, payload }
        }
        0x80 => Said::Subscribe { packet_id: number(body, 0)? },
        0xC0 => Said::Ping,
        _ => Said::Nothing,
    })
}

/// Topic, packet id at quality 1, and payload.
fn read_publish(kind: u8, body: &[u8]) -> Option<(&[u8], Option<u16>, Vec<u8>)> {
    let mut at = 2 + usize::from(number(body, 0)?);
    let topic = body.get(2..at)?;
    let packet_id = if kind & 0x06 == 0 { None } else { Some(number(body, at)?) };
    at += if packet_id.is_some() { 2 } else { 0 };
    let (properties, length_bytes) = variable(body.get(at..)?)?;
    Some((topic, packet_id, body.get(at + length_bytes + properties..)?.to_vec()))
}

fn number(body: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*body.get(at)?, *body.get(at + 1)?]))
}

fn read(kind: u8, body: &[u8]) -> Option<Heard> {
    Some(match kind & 0xF0 {
        0x20 => Heard::Connected { accepted: *body.get(1)? == 0, session_present: body[0] & 1 == 1 },
        0x40 => Heard::Acknowledged {
            packet_id: number(body, 0)?,
            refused: body.get(2).is_some_and(|reason| *reason >= 0x80),
        },
        0x30 => {
            let (_, packet_id, payload) = read_publish(kind, body)?;
            Heard::Message { packet_id, payload }
        }
        0x90 | 0xD0 => Heard::Nothing,
        _ => Heard::End,
    })
}
