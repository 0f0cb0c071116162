//! MQTT 5 as a device reads it: what a hostile gateway sends once the handshake is done.

use fieldpost_firmware::Handle;
use fieldpost_link::mqtt::{Conversation, Event, PACKET_BYTES_MAX, split};
use fieldpost_protocol::{DeviceId, Lane};

use crate::allocation;

/// Our publishes under way when the first byte comes.
const PUBLISHED: u32 = 3;

/// Any stream of a gateway, read packet by packet into a conversation. Nothing is allocated, no packet is over the
/// announced size or seen before its last byte, and a publish is answered once or never.
pub fn check(bytes: &[u8]) {
    let device = DeviceId::try_new("unit-7").expect("an identity");
    allocation::at_most(0, || {
        let (mut conversation, _) = Conversation::begin(&device, bytes.len() % 2 == 0, 60, 3600, 0);
        let mut answered: u32 = 0;
        let mut has_published = false;
        let mut rest = bytes;
        while let Ok(Some((packet, size))) = split(rest) {
            assert!((2..=PACKET_BYTES_MAX.min(rest.len())).contains(&size), "a packet of {size} bytes");
            for cut in [1, size / 2, size - 1] {
                assert_eq!(split(&rest[..cut]), Ok(None), "judged by {cut} of {size} bytes");
            }
            let Ok(event) = conversation.on_packet(u64::from(answered), &packet) else { break };
            match event {
                Event::Connected { .. } => {
                    assert!(!has_published, "connected twice");
                    has_published = true;
                    for handle in 0..PUBLISHED {
                        _ = conversation.publish(Handle(handle), Lane::Live, 40);
                    }
                }
                Event::Acknowledged(Handle(handle)) | Event::Refused(Handle(handle)) => {
                    assert!(
                        handle < PUBLISHED && answered & 1 << handle == 0,
                        "answered twice, or never sent"
                    );
                    answered |= 1 << handle;
                }
                Event::Downlink { frame, .. } => {
                    assert!(conversation.is_connected() && frame.len() < size);
                    crate::downlink::decodes(frame);
                }
                Event::Nothing => {}
            }
            rest = &rest[size..];
        }
        _ = conversation.tick(20_000);
    });
}
