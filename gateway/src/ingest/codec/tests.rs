//! Our PUBLISH against the library's, and arbitrary bytes against both.

use mqtt_protocol_core::mqtt::packet::{TopicAlias, UserProperty};
use proptest::prelude::{Strategy, any, prop, prop_assert_eq, proptest};
use proptest::{collection, option, prop_oneof};

use super::claims::theirs;
use super::*;

type LibraryV5 = v5_0::GenericPublish<u16>;

/// Bodies of a CONNECT of either version with everything in it, a SUBSCRIBE, an UNSUBSCRIBE and a DISCONNECT.
const VALID: [&[u8]; 7] = [
    b"\0\x04MQTT\x05\xEE\0\x3C\x1B\x11\0\0\x0E\x10\x21\0\x14\x27\0\0\x08\0\x22\0\x05\x19\x01\x17\0\x26\0\x01k\0\x01v\0\x04pc-1\x05\x18\0\0\0\x05\0\x01w\0\x01x\0\x01u\0\x01p",
    b"\0\x04MQTT\x05\x02\0\x3C\x0D\x15\0\x03abc\x16\0\x04data\0\x04pc-1",
    b"\0\x04MQTT\x04\xEE\0\x3C\0\x04pc-1\0\x01w\0\x01x\0\x01u\0\x01p",
    b"\0\x07\x09\x0B\x05\x26\0\x01k\0\x01v\0\x0Dfp1/pc-1/down\x01\0\x01a\x2D",
    b"\0\x07\0\x0Dfp1/pc-1/down\x01\0\x01a\x02",
    b"\0\x07\x07\x26\0\x01k\0\x01v\0\x0Dfp1/pc-1/down\0\x01a",
    b"\x04\x10\x11\0\0\0\x05\x1F\0\x01r\x26\0\x01k\0\x01v",
];

fn versions() -> impl Strategy<Value = Version> {
    prop_oneof![proptest::strategy::Just(Version::V3), proptest::strategy::Just(Version::V5)]
}

/// Bodies that look enough like a PUBLISH to get past its topic.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let near = ("[a-z/]{0,6}", collection::vec(any::<u8>(), 0..24)).prop_map(|(topic, rest)| {
        let mut body = vec![0, u8::try_from(topic.len()).unwrap()];
        body.extend_from_slice(topic.as_bytes());
        body.extend(rest);
        body
    });
    let properties = collection::vec(prop_oneof![0u8..0x30, any::<u8>()], 0..12).prop_map(|properties| {
        let mut body = b"\0\x01t\0\x01".to_vec();
        body.push(u8::try_from(properties.len()).unwrap());
        body.extend(properties);
        body
    });
    prop_oneof![near, properties, collection::vec(any::<u8>(), 0..32)]
}

proptest! {
    #[test]
    fn publish_agrees_with_the_library(version in versions(), flags in 0u8..16, body in bodies()) {
        claims::publish_agrees_with_the_library(version, flags, &body);
    }

    #[test]
    fn a_publish_of_the_library_is_read_as_it_was_built(
        topic in "[a-z0-9/]{1,40}", packet_id in option::of(1u16..), alias in option::of(1u16..),
        retain in any::<bool>(), payload in collection::vec(any::<u8>(), 0..300),
    ) {
        let mut properties = vec![Property::UserProperty(UserProperty::new("k", "v").unwrap())];
        properties.extend(alias.map(|alias| Property::TopicAlias(TopicAlias::new(alias).unwrap())));
        let mut builder = LibraryV5::builder().topic_name(&topic).unwrap().retain(retain).props(properties);
        builder = match packet_id {
            Some(id) => builder.qos(Qos::AtLeastOnce).packet_id(id),
            None => builder.qos(Qos::AtMostOnce),
        };
        let bytes = builder.payload(payload.clone()).build().unwrap().to_continuous_buffer();
        let packet = split(&bytes, 4096).unwrap().unwrap();
        prop_assert_eq!((packet.kind, packet.size), (Kind::Publish, bytes.len()));
        let publish = read_publish(Version::V5, &packet).unwrap();
        prop_assert_eq!(publish.alias.map(NonZeroU16::get), alias);
        prop_assert_eq!(
            (publish.topic, publish.packet_id.map(NonZeroU16::get), publish.retain, publish.payload),
            (topic.as_str(), packet_id, retain, &payload[..])
        );
    }

    #[test]
    fn the_library_reads_our_publish(
        version in versions(), topic in "[a-z0-9/]{1,76}", packet_id in option::of(1u16..), dup in any::<bool>(),
        payload in collection::vec(any::<u8>(), 0..256),
    ) {
        let mut bytes = Vec::new();
        let id = packet_id.and_then(NonZeroU16::new);
        write_publish(version, &topic, id, dup && id.is_some(), &payload, &mut bytes);
        prop_assert_eq!(bytes.len(), publish_size(version, &topic, &payload, id.is_some()));
        let packet = split(&bytes, 4096).unwrap().unwrap();
        prop_assert_eq!(theirs(version, packet.flags, packet.body), Some((topic, packet_id, false, payload)));
    }

    #[test]
    fn no_bytes_panic_and_none_pass_the_size_limit(
        version in versions(), bytes in collection::vec(any::<u8>(), 0..64),
    ) {
        claims::any_stream(version, &bytes, 32);
        claims::any_varint(&bytes);
    }

    /// Valid packets with some bytes changed and the end cut off: these get far into the library.
    #[test]
    fn no_damaged_control_packet_panics(
        which in 0..VALID.len(), changes in collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        kept in any::<prop::sample::Index>(),
    ) {
        let mut body = VALID[which].to_vec();
        for (at, byte) in changes {
            let at = at.index(body.len());
            body[at] = byte;
        }
        for body in [&body[..], &body[..kept.index(body.len() + 1)]] {
            let packet = Packet { kind: Kind::Foreign, flags: 0, body, size: body.len() + 2 };
            _ = read_connect(&packet);
            for version in [Version::V3, Version::V5] {
                _ = read_subscribe(version, &packet);
                _ = read_unsubscribe(version, &packet);
                _ = read_disconnect(version, &packet);
            }
        }
    }

    #[test]
    fn no_connect_panics(mut body in collection::vec(any::<u8>(), 0..60), level in 4u8..=5) {
        body.splice(0..0, [b"\0\x04MQTT".as_slice(), &[level]].concat());
        _ = read_connect(&Packet { kind: Kind::Connect, flags: 0, body: &body, size: body.len() + 2 });
    }
}

#[test]
fn what_the_damage_starts_from_is_valid() {
    let packet = |body| Packet { kind: Kind::Foreign, flags: 0, body, size: body.len() + 2 };
    for body in &VALID[..3] {
        assert!(read_connect(&packet(body)).is_ok(), "{body:02x?}");
    }
    assert!(read_subscribe(Version::V5, &packet(VALID[3])).is_ok());
    assert!(read_subscribe(Version::V3, &packet(VALID[4])).is_ok());
    assert!(read_unsubscribe(Version::V5, &packet(VALID[5])).is_ok());
    assert!(read_disconnect(Version::V5, &packet(VALID[6])).is_ok());
}

#[test]
fn the_size_is_refused_before_the_body_is_there() {
    // 100 bytes of body, of which none has come.
    assert_eq!(split(&[0x30, 100], 101), Err(Reason::TooLarge));
    assert_eq!(split(&[0x30, 100], 102), Ok(None));
    assert_eq!(split(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F], 8192), Err(Reason::TooLarge));
    assert_eq!(split(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF], 8192), Err(Reason::Malformed));
    assert_eq!(split(&[0x30, 0xFF, 0xFF, 0xFF], 8192), Ok(None));
}

#[test]
fn a_puback_is_the_librarys() {
    let id = NonZeroU16::new(0x1234).unwrap();
    let (mut accepted, mut refused) = (Vec::new(), Vec::new());
    write_puback(id, &mut accepted);
    write_puback_refused(id, Reason::TopicForeign, &mut refused);
    type Puback = v5_0::GenericPuback<u16>;
    let plain = Puback::builder().packet_id(0x1234).build().unwrap();
    assert_eq!(accepted, plain.to_continuous_buffer());
    let (read, _) = Puback::parse(&refused[2..]).unwrap();
    assert_eq!(read.packet_id(), 0x1234);
    assert_eq!(read.reason_code().map(|code| code as u8), Some(0x87));
}
