//! The envelope and every body but the batch.

use fieldpost_protocol::{Body, Envelope, limits};

use crate::allocation;

/// What decodes encodes and decodes to the same, and fits its limit. The protocol allocates nothing.
pub fn check(bytes: &[u8]) {
    allocation::at_most(0, || {
        let Ok(envelope) = Envelope::decode(bytes) else { return };
        assert!(bytes.len() <= limits::FRAME_BYTES_MAX, "a frame over the limit was taken");
        let mut buffer = [0; limits::FRAME_BYTES_MAX];
        let again = envelope.encode(&mut buffer).expect("what decodes fits the largest frame");
        assert_eq!(Envelope::decode(again), Ok(envelope));
        // Varints may be written longer than they need be, so ours is at most as long.
        assert!(again.len() <= bytes.len());
        body(&envelope);
    });
}

fn body(envelope: &Envelope<'_>) {
    let Ok(body) = Body::decode(&envelope.head, envelope.body) else { return };
    let mut buffer = [0; limits::BODY_BYTES_MAX];
    let again = match &body {
        Body::Position(position) => position.encode(&mut buffer),
        Body::Status(status) => status.encode(&mut buffer),
        Body::SensorEvent(event) => event.encode(&mut buffer),
        Body::Alarm(alarm) => alarm.encode(&mut buffer),
        Body::AlarmCancel(cancel) => cancel.encode(&mut buffer),
        Body::Loss(loss) => loss.encode(&mut buffer),
        Body::Health(health) => health.encode(&mut buffer),
        Body::Heard(heard) => heard.encode(&mut buffer),
        Body::PositionBatch(_) | Body::Unknown(_) => return,
    };
    let again = again.expect("what decodes fits the largest body");
    assert_eq!(Body::decode(&envelope.head, again), Ok(body));
}
