//! MQTT 3.1.1 and 5 on the wire, and nothing else: bytes to packets, packets to bytes.
//!
//! **No other module sees the MQTT library.** Control packets (rare) go through `mqtt-protocol-core`. PUBLISH and PUBACK
//! (the load) are read and written here, straight from the receive buffer: no allocation, no copy, no hash set a packet.
//! `publish_agrees_with_the_library` holds the two to the same bytes.
//!
//! **A packet over the announced size is refused at its fixed header**, before a byte of its body is kept.

#[cfg(any(test, feature = "fuzz-doors"))]
pub(super) mod claims;
mod write;

use std::num::NonZeroU16;

use mqtt_protocol_core::mqtt::packet::{Property, Qos, SubEntry, v3_1_1, v5_0};

pub(super) use self::write::{
    publish_size, write_connack, write_connack_refused, write_disconnect, write_pingresp, write_puback,
    write_puback_refused, write_publish, write_suback, write_unsuback,
};
use super::reason::Reason;

/// Which MQTT a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// 3.1.1: no reason codes, no announcements.
    V3,
    /// 5.
    V5,
}

/// Packet types of the fixed header (MQTT 5 table 2-1) that a client may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Connect,
    Publish,
    Puback,
    Subscribe,
    Unsubscribe,
    Pingreq,
    Disconnect,
    Auth,
    /// PUBREC, PUBREL, PUBCOMP: quality 2, which is not served.
    QualityTwo,
    /// A server's packet, or a reserved type.
    Foreign,
}

/// One whole packet at the front of the receive buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    pub(super) kind: Kind,
    /// Low four bits of the first byte.
    pub(super) flags: u8,
    pub(super) body: &'a [u8],
    /// Bytes of the packet on the wire, fixed header included.
    pub(super) size: usize,
}

/// A PUBLISH, borrowing the receive buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Publish<'a> {
    /// Set for quality 1.
    pub(super) packet_id: Option<NonZeroU16>,
    pub(super) retain: bool,
    /// Empty if the alias alone names it.
    pub(super) topic: &'a str,
    pub(super) alias: Option<NonZeroU16>,
    pub(super) payload: &'a [u8],
}

/// What a CONNECT asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Connect {
    pub(super) version: Version,
    pub(super) client_id: String,
    pub(super) clean_start: bool,
    pub(super) keep_alive_s: u16,
    pub(super) has_will: bool,
    pub(super) has_authentication_method: bool,
    /// 0 = the session ends with the connection; `u32::MAX` = never (MQTT 5 section 3.1.2.11.2).
    pub(super) session_expiry_s: u32,
    /// How many unacknowledged downlink messages the client takes.
    pub(super) receive_max: u16,
    /// The largest packet the client takes.
    pub(super) packet_bytes_max: u32,
}

/// What the gateway announces in CONNACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Announcement {
    pub(super) session_present: bool,
    pub(super) receive_max: u16,
    pub(super) topic_alias_max: u16,
    pub(super) packet_bytes_max: u32,
    /// Only if it differs from what the client asked for.
    pub(super) keep_alive_s: Option<u16>,
    /// Only if it differs from what the client asked for.
    pub(super) session_expiry_s: Option<u32>,
}

/// One topic filter of a SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) topic: String,
    pub(super) qos: u8,
}

/// Looks at the front of `bytes`: a whole packet, `None` if more bytes are needed, or why the client is at fault.
///
/// The size is checked as soon as the fixed header is there (2 to 5 bytes), so nobody waits for an oversized body.
pub(super) fn split(bytes: &[u8], packet_bytes_max: usize) -> Result<Option<Packet<'_>>, Reason> {
    let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
    let Some((body_len, length_len)) = read_varint(rest)? else {
        return if rest.len() >= 4 { Err(Reason::Malformed) } else { Ok(None) };
    };
    let size = 1 + length_len + body_len as usize;
    if size > packet_bytes_max {
        return Err(Reason::TooLarge);
    }
    let Some(body) = bytes.get(1 + length_len..size) else { return Ok(None) };
    let (kind, flags) = (kind_of(first), first & 0x0F);
    let flags_expected = match kind {
        Kind::Publish => flags,
        Kind::Subscribe | Kind::Unsubscribe => 0b0010,
        // PUBREL alone has flags; what it has does not matter, it is refused.
        Kind::QualityTwo | Kind::Foreign => flags,
        _ => 0,
    };
    if flags != flags_expected {
        return Err(Reason::Malformed);
    }
    Ok(Some(Packet { kind, flags, body, size }))
}

fn kind_of(first: u8) -> Kind {
    match first >> 4 {
        1 => Kind::Connect,
        3 => Kind::Publish,
        4 => Kind::Puback,
        5..=7 => Kind::QualityTwo,
        8 => Kind::Subscribe,
        10 => Kind::Unsubscribe,
        12 => Kind::Pingreq,
        14 => Kind::Disconnect,
        15 => Kind::Auth,
        _ => Kind::Foreign,
    }
}

/// A variable byte integer and its length (1 to 4); `None` if it is cut short.
fn read_varint(bytes: &[u8]) -> Result<Option<(u32, usize)>, Reason> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((value, index + 1)));
        }
    }
    if bytes.len() >= 4 { Err(Reason::Malformed) } else { Ok(None) }
}

/// Reads a PUBLISH.
pub(super) fn read_publish<'a>(version: Version, packet: &Packet<'a>) -> Result<Publish<'a>, Reason> {
    let mut fields = Fields(packet.body);
    let topic = fields.text()?;
    let packet_id = match packet.flags >> 1 & 0b11 {
        // A quality-0 message cannot be a redelivery (MQTT-3.3.1-2).
        0 if packet.flags & 0b1000 != 0 => return Err(Reason::Malformed),
        0 => None,
        1 => Some(NonZeroU16::new(fields.u16()?).ok_or(Reason::Malformed)?),
        2 => return Err(Reason::QosNotSupported),
        _ => return Err(Reason::Malformed),
    };
    let alias = match version {
        Version::V3 => None,
        Version::V5 => read_publish_properties(&mut fields)?,
    };
    if topic.bytes().any(|byte| matches!(byte, b'+' | b'#' | 0)) || (topic.is_empty() && alias.is_none()) {
        return Err(Reason::TopicInvalid);
    }
    Ok(Publish { packet_id, retain: packet.flags & 1 != 0, topic, alias, payload: fields.0 })
}

/// Reads the properties of a PUBLISH (MQTT 5 section 3.3.2.3): all are checked, only the topic alias matters here.
fn read_publish_properties(fields: &mut Fields<'_>) -> Result<Option<NonZeroU16>, Reason> {
    let (len, len_len) = read_varint(fields.0)?.ok_or(Reason::Malformed)?;
    fields.take(len_len)?;
    let mut properties = Fields(fields.take(len as usize)?);
    let mut alias = None;
    let mut seen = 0u64;
    while let Ok(id) = properties.u8() {
        match id {
            0x01 if properties.u8()? <= 1 => {}
            0x01 => return Err(Reason::ProtocolError),
            0x02 => _ = properties.take(4)?,
            0x03 | 0x08 => _ = properties.text()?,
            0x09 => _ = properties.binary()?,
            0x23 => {
                alias = Some(NonZeroU16::new(properties.u16()?).ok_or(Reason::TopicAliasInvalid)?);
            }
            0x26 => {
                properties.text()?;
                #[cfg(feature = "fuzz-doors")]
                if fieldpost_protocol::planted::is_awake() {
                    // Planted: the length of a user property's value is believed.
                    let len = usize::from(properties.u16()?);
                    properties.0 = &properties.0[len..];
                    continue;
                }
                properties.text()?;
                continue; // the only one that may repeat
            }
            // 0x0B, the subscription identifier, is the server's to send (MQTT-3.3.4-6).
            0x0B => return Err(Reason::ProtocolError),
            _ => return Err(Reason::Malformed),
        }
        if seen & 1 << id != 0 {
            return Err(Reason::ProtocolError);
        }
        seen |= 1 << id;
    }
    Ok(alias)
}

/// Reads a PUBACK: the packet id, and whether the client refused the message. 3.1.1 has no way to refuse one.
pub(super) fn read_puback(packet: &Packet<'_>) -> Result<(NonZeroU16, bool), Reason> {
    let mut fields = Fields(packet.body);
    let packet_id = NonZeroU16::new(fields.u16()?).ok_or(Reason::Malformed)?;
    // Left out, the reason code is success (MQTT 5 section 3.4.2.1).
    Ok((packet_id, fields.u8().is_ok_and(|code| code >= 0x80)))
}

/// Takes fields from the front of a packet's body.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Reason> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Reason::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, Reason> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Result<u16, Reason> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn binary(&mut self) -> Result<&'a [u8], Reason> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    fn text(&mut self) -> Result<&'a str, Reason> {
        std::str::from_utf8(self.binary()?).map_err(|_| Reason::Malformed)
    }
}

/// Reads a CONNECT of either version.
///
/// # Errors
/// [`Reason::VersionUnsupported`] for any protocol name or level but 3.1.1 and 5; otherwise what is wrong with it.
pub(super) fn read_connect(packet: &Packet<'_>) -> Result<Connect, Reason> {
    let mut fields = Fields(packet.body);
    let name = fields.text()?;
    let (level, flags) = (fields.u8()?, fields.u8()?);
    if name != "MQTT" || !matches!(level, 4 | 5) {
        return Err(Reason::VersionUnsupported);
    }
    // MQTT-3.1.2-3 and the will's own bits, which the library leaves unchecked.
    let will_bits = flags & 0b0011_1100;
    if flags & 1 != 0 || (flags & 0b100 == 0 && will_bits != 0) || flags & 0b1_1000 == 0b1_1000 {
        return Err(Reason::Malformed);
    }
    let connect = if level == 4 { read_connect_v3(packet.body)? } else { read_connect_v5(packet.body)? };
    Ok(connect)
}

fn read_connect_v3(body: &[u8]) -> Result<Connect, Reason> {
    let (connect, used) = v3_1_1::Connect::parse(body).map_err(|_| Reason::Malformed)?;
    whole(used, body)?;
    Ok(Connect {
        version: Version::V3,
        client_id: connect.client_id().to_owned(),
        clean_start: connect.clean_session(),
        keep_alive_s: connect.keep_alive(),
        has_will: connect.will_flag(),
        has_authentication_method: false,
        session_expiry_s: if connect.clean_session() { 0 } else { u32::MAX },
        receive_max: u16::MAX,
        packet_bytes_max: u32::MAX,
    })
}

fn read_connect_v5(body: &[u8]) -> Result<Connect, Reason> {
    let (connect, used) = v5_0::Connect::parse(body).map_err(|_| Reason::Malformed)?;
    whole(used, body)?;
    let mut asked = Connect {
        version: Version::V5,
        client_id: connect.client_id().to_owned(),
        clean_start: connect.clean_start(),
        keep_alive_s: connect.keep_alive(),
        has_will: connect.will_flag(),
        has_authentication_method: false,
        session_expiry_s: 0,
        receive_max: u16::MAX,
        packet_bytes_max: u32::MAX,
    };
    for property in connect.props() {
        match property {
            Property::SessionExpiryInterval(value) => asked.session_expiry_s = value.val(),
            Property::ReceiveMaximum(value) => asked.receive_max = value.val(),
            Property::MaximumPacketSize(value) => asked.packet_bytes_max = value.val(),
            Property::AuthenticationMethod(_) => asked.has_authentication_method = true,
            _ => {}
        }
    }
    Ok(asked)
}

fn whole(used: usize, body: &[u8]) -> Result<(), Reason> {
    if used == body.len() { Ok(()) } else { Err(Reason::Malformed) }
}

/// Reads a SUBSCRIBE: packet id and filters, at least one.
pub(super) fn read_subscribe(
    version: Version,
    packet: &Packet<'_>,
) -> Result<(NonZeroU16, Vec<Filter>), Reason> {
    let filter = |entry: &SubEntry| Filter {
        topic: entry.topic_filter().to_owned(),
        qos: match entry.sub_opts().qos() {
            Qos::AtMostOnce => 0,
            _ => 1,
        },
    };
    let (id, filters) = match version {
        Version::V3 => {
            let (subscribe, used) = v3_1_1::Subscribe::parse(packet.body).map_err(|_| Reason::Malformed)?;
            whole(used, packet.body)?;
            (subscribe.packet_id(), subscribe.entries().iter().map(filter).collect::<Vec<_>>())
        }
        Version::V5 => {
            let (subscribe, used) = v5_0::Subscribe::parse(packet.body).map_err(|_| Reason::Malformed)?;
            whole(used, packet.body)?;
            (subscribe.packet_id(), subscribe.entries().iter().map(filter).collect())
        }
    };
    if filters.is_empty() {
        return Err(Reason::ProtocolError);
    }
    Ok((NonZeroU16::new(id).ok_or(Reason::Malformed)?, filters))
}

/// Reads an UNSUBSCRIBE: packet id and topics, at least one.
pub(super) fn read_unsubscribe(
    version: Version,
    packet: &Packet<'_>,
) -> Result<(NonZeroU16, Vec<String>), Reason> {
    let (id, topics) = match version {
        Version::V3 => {
            let (unsubscribe, used) =
                v3_1_1::Unsubscribe::parse(packet.body).map_err(|_| Reason::Malformed)?;
            whole(used, packet.body)?;
            let topics: Vec<_> =
                unsubscribe.entries().iter().map(|topic| topic.as_str().to_owned()).collect();
            (unsubscribe.packet_id(), topics)
        }
        Version::V5 => {
            let (unsubscribe, used) = v5_0::Unsubscribe::parse(packet.body).map_err(|_| Reason::Malformed)?;
            whole(used, packet.body)?;
            let topics = unsubscribe.entries().iter().map(|topic| topic.as_str().to_owned()).collect();
            (unsubscribe.packet_id(), topics)
        }
    };
    if topics.is_empty() {
        return Err(Reason::ProtocolError);
    }
    Ok((NonZeroU16::new(id).ok_or(Reason::Malformed)?, topics))
}

/// Reads a DISCONNECT: the session expiry it changes to, if any.
pub(super) fn read_disconnect(version: Version, packet: &Packet<'_>) -> Result<Option<u32>, Reason> {
    if version == Version::V3 || packet.body.is_empty() {
        return whole(0, packet.body).map(|()| None);
    }
    let (disconnect, used) = v5_0::Disconnect::parse(packet.body).map_err(|_| Reason::Malformed)?;
    whole(used, packet.body)?;
    Ok(disconnect.props().as_ref().and_then(|props| {
        props.iter().find_map(|property| match property {
            Property::SessionExpiryInterval(value) => Some(value.val()),
            _ => None,
        })
    }))
}

#[cfg(test)]
mod tests;
