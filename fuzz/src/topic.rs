//! Topics and identities: the names a stranger may choose.

use fieldpost_protocol::{DeviceId, Lane, limits, topic};

use crate::allocation;

/// A topic that parses is the one we build for its device and lane; an identity is what its rule says.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    allocation::at_most(0, || {
        if let Ok(lane) = topic::lane_of(text, "unit-7") {
            assert!(
                text == topic::short(lane) || text.contains("/unit-7/"),
                "another device's topic was taken"
            );
        }
        if let Ok((device, lane)) = topic::parse_uplink(text)
            && let Ok(device) = DeviceId::try_new(device)
        {
            assert_eq!(topic::uplink(&device, lane), text);
            assert_eq!(topic::lane_of(text, device.as_str()), Ok(lane));
            assert!(text.len() <= limits::TOPIC_BYTES_MAX);
        }
        let Ok(device) = DeviceId::try_new(text) else { return };
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        assert!((1..=limits::ID_CHARS_MAX).contains(&text.len()) && text.bytes().all(allowed));
        for lane in [Lane::Alarm, Lane::Live, Lane::Backlog, Lane::Health] {
            assert_eq!(topic::parse_uplink(&topic::uplink(&device, lane)), Ok((text, lane)));
            assert_eq!(topic::lane_of(topic::short(lane), text), Ok(lane));
        }
    });
}
