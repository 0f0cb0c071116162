//! Gateway to device: what a hostile gateway, or a broken one, may send.

use fieldpost_protocol::{Downlink, limits};

use crate::allocation;

/// What decodes encodes and decodes to the same; only an unknown kind cannot be sent on.
pub fn check(bytes: &[u8]) {
    allocation::at_most(0, || decodes(bytes));
}

/// The claims, for whoever has the frame from somewhere.
pub(crate) fn decodes(bytes: &[u8]) {
    let Ok(downlink) = Downlink::decode(bytes) else { return };
    assert!(bytes.len() <= limits::DOWNLINK_BYTES_MAX, "a frame over the limit was taken");
    let mut buffer = [0; limits::DOWNLINK_BYTES_MAX];
    match downlink.encode(&mut buffer) {
        Ok(again) => {
            assert!(again.len() <= bytes.len());
            assert_eq!(Downlink::decode(again), Ok(downlink));
        }
        Err(_) => assert!(matches!(downlink, Downlink::Unknown(_)), "{downlink:?} cannot be written"),
    }
}
