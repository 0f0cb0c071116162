//! Packets to bytes.

use std::num::NonZeroU16;

use mqtt_protocol_core::mqtt::packet::{
    MaximumPacketSize, MaximumQos, Properties, Property, ReceiveMaximum, RetainAvailable, ServerKeepAlive,
    SessionExpiryInterval, SharedSubscriptionAvailable, SubscriptionIdentifierAvailable, TopicAliasMaximum,
    WildcardSubscriptionAvailable, v3_1_1, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{
    ConnectReasonCode, ConnectReturnCode, MqttError, SubackReasonCode, SubackReturnCode, UnsubackReasonCode,
};

use super::{Announcement, Version};
use crate::ingest::reason::Reason;

/// A positive CONNACK with everything the gateway limits.
pub(in crate::ingest) fn write_connack(version: Version, announcement: &Announcement, out: &mut Vec<u8>) {
    let bytes = match version {
        Version::V3 => v3_1_1::Connack::builder()
            .session_present(announcement.session_present)
            .return_code(ConnectReturnCode::Accepted)
            .build()
            .expect("a CONNACK of two constants is valid")
            .to_continuous_buffer(),
        Version::V5 => v5_0::Connack::builder()
            .session_present(announcement.session_present)
            .reason_code(ConnectReasonCode::Success)
            .props(
                announcement_properties(announcement).expect("every announced value is in its range: config"),
            )
            .build()
            .expect("each property occurs once")
            .to_continuous_buffer(),
    };
    out.extend_from_slice(&bytes);
}

fn announcement_properties(announcement: &Announcement) -> Result<Properties, MqttError> {
    let mut properties = vec![
        Property::ReceiveMaximum(ReceiveMaximum::new(announcement.receive_max)?),
        Property::MaximumQos(MaximumQos::new(1)?),
        Property::RetainAvailable(RetainAvailable::new(0)?),
        Property::MaximumPacketSize(MaximumPacketSize::new(announcement.packet_bytes_max)?),
        Property::TopicAliasMaximum(TopicAliasMaximum::new(announcement.topic_alias_max)?),
        Property::WildcardSubscriptionAvailable(WildcardSubscriptionAvailable::new(0)?),
        Property::SubscriptionIdentifierAvailable(SubscriptionIdentifierAvailable::new(0)?),
        Property::SharedSubscriptionAvailable(SharedSubscriptionAvailable::new(0)?),
    ];
    if let Some(keep_alive_s) = announcement.keep_alive_s {
        properties.push(Property::ServerKeepAlive(ServerKeepAlive::new(keep_alive_s)?));
    }
    if let Some(expiry_s) = announcement.session_expiry_s {
        properties.push(Property::SessionExpiryInterval(SessionExpiryInterval::new(expiry_s)?));
    }
    Ok(properties)
}

/// A refusal in CONNACK. For 3.1.1 the nearest of its five return codes.
pub(in crate::ingest) fn write_connack_refused(version: Version, reason: Reason, out: &mut Vec<u8>) {
    match version {
        Version::V3 => out.extend_from_slice(&[0x20, 2, 0, reason.connect_return_code()]),
        Version::V5 => out.extend_from_slice(&[0x20, 3, 0, reason.code(), 0]),
    }
}

/// DISCONNECT with a reason. 3.1.1 servers have none to send: they close.
pub(in crate::ingest) fn write_disconnect(version: Version, reason: Reason, out: &mut Vec<u8>) {
    if version == Version::V5 {
        out.extend_from_slice(&[0xE0, 2, reason.code(), 0]);
    }
}

/// PUBACK with success; the same four bytes in both versions.
pub(in crate::ingest) fn write_puback(packet_id: NonZeroU16, out: &mut Vec<u8>) {
    let [high, low] = packet_id.get().to_be_bytes();
    out.extend_from_slice(&[0x40, 2, high, low]);
}

/// PUBACK that refuses (MQTT 5 only).
pub(in crate::ingest) fn write_puback_refused(packet_id: NonZeroU16, reason: Reason, out: &mut Vec<u8>) {
    let [high, low] = packet_id.get().to_be_bytes();
    out.extend_from_slice(&[0x40, 3, high, low, reason.code()]);
}

/// PINGRESP.
pub(in crate::ingest) fn write_pingresp(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xD0, 0]);
}

/// SUBACK: one answer a filter: the granted quality, or refused.
pub(in crate::ingest) fn write_suback(
    version: Version,
    packet_id: NonZeroU16,
    granted: &[Option<u8>],
    out: &mut Vec<u8>,
) {
    let bytes = match version {
        Version::V3 => {
            let codes = granted.iter().map(|granted| match granted {
                Some(0) => SubackReturnCode::SuccessMaximumQos0,
                Some(_) => SubackReturnCode::SuccessMaximumQos1,
                None => SubackReturnCode::Failure,
            });
            v3_1_1::Suback::builder()
                .packet_id(packet_id.get())
                .return_codes(codes.collect())
                .build()
                .expect("one code or more: a SUBSCRIBE has a filter")
                .to_continuous_buffer()
        }
        Version::V5 => {
            let codes = granted.iter().map(|granted| match granted {
                Some(0) => SubackReasonCode::GrantedQos0,
                Some(_) => SubackReasonCode::GrantedQos1,
                None => SubackReasonCode::NotAuthorized,
            });
            v5_0::Suback::builder()
                .packet_id(packet_id.get())
                .reason_codes(codes.collect())
                .build()
                .expect("one code or more: a SUBSCRIBE has a filter")
                .to_continuous_buffer()
        }
    };
    out.extend_from_slice(&bytes);
}

/// UNSUBACK: whether each topic had been subscribed.
pub(in crate::ingest) fn write_unsuback(
    version: Version,
    packet_id: NonZeroU16,
    existed: &[bool],
    out: &mut Vec<u8>,
) {
    let bytes = match version {
        Version::V3 => v3_1_1::Unsuback::builder()
            .packet_id(packet_id.get())
            .build()
            .expect("a packet id is all it needs")
            .to_continuous_buffer(),
        Version::V5 => {
            let codes = existed.iter().map(|existed| {
                if *existed { UnsubackReasonCode::Success } else { UnsubackReasonCode::NoSubscriptionExisted }
            });
            v5_0::Unsuback::builder()
                .packet_id(packet_id.get())
                .reason_codes(codes.collect())
                .build()
                .expect("one code or more: an UNSUBSCRIBE has a topic")
                .to_continuous_buffer()
        }
    };
    out.extend_from_slice(&bytes);
}

/// Bytes a downlink PUBLISH takes: fixed header (2 to 3), topic, packet id, properties, payload.
pub(in crate::ingest) fn publish_size(
    version: Version,
    topic: &str,
    payload: &[u8],
    has_packet_id: bool,
) -> usize {
    let body = publish_body_size(version, topic, payload, has_packet_id);
    1 + varint_size(body) + body
}

fn publish_body_size(version: Version, topic: &str, payload: &[u8], has_packet_id: bool) -> usize {
    let properties = usize::from(version == Version::V5);
    2 + topic.len() + usize::from(has_packet_id) * 2 + properties + payload.len()
}

fn varint_size(value: usize) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

/// A downlink PUBLISH: quality 1 with a packet id, quality 0 without. `topic` is at most `TOPIC_BYTES_MAX`, `payload`
/// at most `DOWNLINK_BYTES_MAX` bytes.
pub(in crate::ingest) fn write_publish(
    version: Version,
    topic: &str,
    packet_id: Option<NonZeroU16>,
    is_redelivery: bool,
    payload: &[u8],
    out: &mut Vec<u8>,
) {
    let mut left = publish_body_size(version, topic, payload, packet_id.is_some());
    out.push(0x30 | u8::from(packet_id.is_some()) << 1 | u8::from(is_redelivery) << 3);
    loop {
        let low = u8::try_from(left & 0x7F).expect("seven bits");
        left >>= 7;
        out.push(low | u8::from(left > 0) << 7);
        if left == 0 {
            break;
        }
    }
    let topic_len = u16::try_from(topic.len()).expect("a topic has at most TOPIC_BYTES_MAX bytes");
    out.extend_from_slice(&topic_len.to_be_bytes());
    out.extend_from_slice(topic.as_bytes());
    if let Some(packet_id) = packet_id {
        out.extend_from_slice(&packet_id.get().to_be_bytes());
    }
    if version == Version::V5 {
        out.push(0); // no properties
    }
    out.extend_from_slice(payload);
}
