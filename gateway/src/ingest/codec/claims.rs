//! What the codec promises for any bytes, as checks that panic: the property tests and the fuzz targets share them.

use std::sync::Arc;

use super::{
    Connect, Fields, Kind, NonZeroU16, Packet, Publish, Reason, Version, read_connect, read_disconnect,
    read_puback, read_publish, read_subscribe, read_unsubscribe, read_varint, split, v3_1_1, v5_0,
    write_publish,
};

type LibraryV3 = v3_1_1::GenericPublish<u16>;
type LibraryV5 = v5_0::GenericPublish<u16>;

/// What both readers agree on about a PUBLISH: topic, packet id, retain, payload.
pub(super) type Common = (String, Option<u16>, bool, Vec<u8>);

/// Our reading of a PUBLISH.
pub(super) fn ours(version: Version, flags: u8, body: &[u8]) -> Result<Common, Reason> {
    let packet = Packet { kind: Kind::Publish, flags, body, size: body.len() + 2 };
    read_publish(version, &packet).map(|publish| common(&publish))
}

fn common(publish: &Publish<'_>) -> Common {
    let id = publish.packet_id.map(NonZeroU16::get);
    (publish.topic.to_owned(), id, publish.retain, publish.payload.to_vec())
}

/// The library's reading of a PUBLISH.
pub(super) fn theirs(version: Version, flags: u8, body: &[u8]) -> Option<Common> {
    let body: Arc<[u8]> = body.into();
    match version {
        Version::V3 => LibraryV3::parse(flags, body).ok().map(|(publish, _)| {
            let payload = publish.payload().as_slice().to_vec();
            (publish.topic_name().to_owned(), publish.packet_id(), publish.retain(), payload)
        }),
        Version::V5 => LibraryV5::parse(flags, body).ok().map(|(publish, _)| {
            let payload = publish.payload().as_slice().to_vec();
            (publish.topic_name().to_owned(), publish.packet_id(), publish.retain(), payload)
        }),
    }
}

/// What we take, the library takes with the same meaning; where we are stricter, the standard is.
pub(super) fn publish_agrees_with_the_library(version: Version, flags: u8, body: &[u8]) {
    let theirs = theirs(version, flags, body);
    match ours(version, flags, body) {
        Ok(publish) => assert_eq!(Some(publish), theirs, "ours and the library's reading of {body:02x?}"),
        // Quality 2 is valid MQTT that is not served; topics are checked by us alone.
        Err(Reason::QosNotSupported | Reason::TopicInvalid) => {}
        Err(_) => {
            if let Some((_, packet_id, _, _)) = theirs {
                let dup_of_quality_0 = flags & 0b1110 == 0b1000;
                // The library leaves these to its connection, or unchecked: a zero alias, a property cut short at the
                // end of a packet without payload, and the server's subscription identifier.
                let is_stricter = dup_of_quality_0 || packet_id == Some(0) || version == Version::V5;
                assert!(is_stricter, "refused what the library takes: {body:02x?}");
            }
        }
    }
}

/// Takes a stream apart as a connection does. No packet is over the limit or longer than what is there, none appears
/// before its last byte, and each is read under its own claims.
pub(in crate::ingest) fn any_stream(version: Version, bytes: &[u8], packet_bytes_max: usize) {
    let mut rest = bytes;
    while let Ok(Some(packet)) = split(rest, packet_bytes_max) {
        assert!(packet.size <= packet_bytes_max && packet.size <= rest.len() && packet.size >= 2);
        assert_eq!(packet.body, &rest[packet.size - packet.body.len()..packet.size]);
        for cut in [1, 2, packet.size / 2, packet.size - 1] {
            let part = split(&rest[..cut.min(packet.size - 1)], packet_bytes_max);
            assert_eq!(part, Ok(None), "a packet of {} bytes was judged by {cut}", packet.size);
        }
        any_packet(version, &packet);
        rest = &rest[packet.size..];
    }
}

fn any_packet(version: Version, packet: &Packet<'_>) {
    match packet.kind {
        Kind::Publish => any_publish(version, packet),
        Kind::Connect => any_connect(packet),
        Kind::Subscribe => {
            if let Ok((_, filters)) = read_subscribe(version, packet) {
                let bytes: usize = filters.iter().map(|filter| filter.topic.len() + 3).sum();
                assert!(bytes <= packet.body.len() && filters.iter().all(|filter| filter.qos <= 1));
            }
        }
        Kind::Unsubscribe => {
            if let Ok((_, topics)) = read_unsubscribe(version, packet) {
                let bytes: usize = topics.iter().map(|topic| topic.len() + 2).sum();
                assert!(!topics.is_empty() && bytes <= packet.body.len());
            }
        }
        Kind::Puback => _ = read_puback(packet),
        Kind::Disconnect => _ = read_disconnect(version, packet),
        Kind::Pingreq | Kind::Auth | Kind::QualityTwo | Kind::Foreign => {}
    }
}

fn any_connect(packet: &Packet<'_>) {
    let Ok(Connect { client_id, receive_max, packet_bytes_max, .. }) = read_connect(packet) else { return };
    assert!(client_id.len() <= packet.body.len());
    // Zero is a protocol error for both (MQTT 5 sections 3.1.2.11.3 and 3.1.2.11.4).
    assert!(receive_max > 0 && packet_bytes_max > 0, "a CONNECT that takes nothing was accepted");
}

/// The library agrees, and what we read, we can write and read again.
fn any_publish(version: Version, packet: &Packet<'_>) {
    publish_agrees_with_the_library(version, packet.flags, packet.body);
    let Ok(publish) = read_publish(version, packet) else { return };
    assert!(publish.topic.len() + publish.payload.len() + 2 <= packet.body.len());
    if publish.topic.is_empty() {
        return;
    }
    let mut again = Vec::new();
    write_publish(version, publish.topic, publish.packet_id, false, publish.payload, &mut again);
    let packet = split(&again, again.len()).expect("our own packet").expect("the whole of it");
    assert_eq!(packet.size, again.len());
    let (topic, id, _, payload) = common(&publish);
    assert_eq!(ours(version, packet.flags, packet.body), Ok((topic, id, false, payload)));
}

/// A variable byte integer has one meaning and at most four bytes.
pub(in crate::ingest) fn any_varint(bytes: &[u8]) {
    if let Ok(Some((value, len))) = read_varint(bytes) {
        assert!(value < 1 << 28 && (1..=4).contains(&len) && len <= bytes.len());
        assert!(Fields(bytes).take(len).is_ok());
    }
}
