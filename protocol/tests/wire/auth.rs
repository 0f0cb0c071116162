//! Claims about tags: who made a frame, for which lane and device, and that nothing else passes.

use fieldpost_protocol::{
    AuthAlgorithm, AuthError, BootId, Class, DeviceId, Downlink, Envelope, EnvelopeKey, ForceId, Lane,
    NamedRecord, Print, Proven, Receipt, Receipts, Seq, SeqRange, auth, limits,
};
use proptest::prelude::{any, prop, proptest};

use crate::samples;

const LANES: [Lane; 4] = [Lane::Alarm, Lane::Live, Lane::Backlog, Lane::Health];

pub(crate) fn key(force: &str, device: &str) -> EnvelopeKey {
    let force = ForceId::try_new(force).expect("an identity");
    let device = DeviceId::try_new(device).expect("an identity");
    EnvelopeKey::derive(&[7; 32], &force, &device)
}

pub(crate) fn sealed(key: &EnvelopeKey, lane: Lane, class: Class, body: &[u8]) -> Vec<u8> {
    let mut frame = [0; limits::FRAME_BYTES_MAX];
    let envelope = Envelope { head: samples::head(class), body, trailer: None };
    let len = envelope.encode(&mut frame).expect("the buffer is the largest").len();
    let len = key.seal(lane, &mut frame, len).expect("a tag fits behind the longest body");
    frame[..len].to_vec()
}

pub(crate) fn receipts() -> Downlink {
    let ranges = [SeqRange { first: Seq(17), more: 3 }].into_iter().collect();
    Downlink::Receipts(Receipts { receipt: Receipt::Stored, boot: BootId(300), ranges })
}

#[test]
fn a_tag_costs_seventeen_bytes_and_decodes_as_the_trailer_it_always_was() {
    let plain = Envelope { head: samples::head(Class::STATUS), body: b"body", trailer: None };
    let mut buffer = [0; 64];
    let plain_len = plain.encode(&mut buffer).expect("fits").len();
    let frame = sealed(&key("met", "bwc-1"), Lane::Live, Class::STATUS, b"body");
    assert_eq!(frame.len(), plain_len + auth::TRAILER_BYTES);
    let read = Envelope::decode(&frame).expect("any version reads it");
    assert_eq!((read.head, read.body), (plain.head, plain.body));
    let trailer = read.trailer.expect("a tag");
    assert_eq!((trailer.algorithm, trailer.tag.len()), (AuthAlgorithm::HMAC_SHA256_128, 16));
    // What encodes a trailer writes the same bytes.
    assert_eq!(read.encode(&mut [0; 128]).expect("fits"), frame);
}

#[test]
fn the_longest_frame_and_the_longest_receipt_have_room_for_a_tag() {
    let key = key("met", "bwc-1");
    let frame = sealed(&key, Lane::Backlog, Class::POSITION_BATCH, &[0; limits::BODY_BYTES_MAX]);
    assert!(frame.len() <= limits::FRAME_BYTES_MAX);
    let range = |n: u32| SeqRange { first: Seq(0xFFFF_0000 + n), more: 0x0FFF_FFFF };
    let ranges = (0..16).map(range).collect();
    let longest = Downlink::Receipts(Receipts { receipt: Receipt::Seen, boot: BootId(u32::MAX), ranges });
    let mut buffer = [0; limits::DOWNLINK_BYTES_MAX];
    let named = |n: u32| NamedRecord { seq: Seq(u32::MAX - n), print: Print(u32::MAX) };
    let records = (0..24).map(named).collect();
    let proven = Downlink::Proven(Proven { receipt: Receipt::Seen, boot: BootId(u32::MAX), records });
    for longest in [longest, proven] {
        let frame = key.seal_down(&longest, &mut buffer).expect("fits with its tag");
        assert_eq!(key.open_down(frame), Ok(longest));
    }
}

#[test]
fn a_tag_is_of_one_lane_one_device_one_force_and_one_direction() {
    let ours = key("met", "bwc-1");
    let frame = sealed(&ours, Lane::Alarm, Class::ALARM, b"body");
    assert!(ours.open(Lane::Alarm, &frame).is_ok());
    for lane in [Lane::Live, Lane::Backlog, Lane::Health] {
        assert_eq!(ours.open(lane, &frame), Err(AuthError::Mismatch), "{lane:?}");
    }
    for (force, device) in [("met", "bwc-2"), ("kent", "bwc-1"), ("metb", "wc-1")] {
        assert_eq!(
            key(force, device).open(Lane::Alarm, &frame),
            Err(AuthError::Mismatch),
            "{force}/{device}"
        );
    }
    let mut buffer = [0; limits::DOWNLINK_BYTES_MAX];
    let down = ours.seal_down(&receipts(), &mut buffer).expect("fits");
    assert_eq!(ours.open_down(down), Ok(receipts()));
    assert_eq!(key("met", "bwc-2").open_down(down), Err(AuthError::Mismatch));
    assert!(ours.open(Lane::Alarm, down).is_err() && ours.open_down(&frame).is_err());
}

#[test]
fn what_carries_no_tag_or_another_kind_of_tag_says_so() {
    let key = key("met", "bwc-1");
    let mut frame = [0; 64];
    let plain = Envelope { head: samples::head(Class::STATUS), body: b"body", trailer: None };
    let len = plain.encode(&mut frame).expect("fits").len();
    assert_eq!(key.open(Lane::Live, &frame[..len]), Err(AuthError::Missing));
    let sealed_len = key.seal(Lane::Live, &mut frame, len).expect("fits");
    assert!(key.seal(Lane::Live, &mut frame, sealed_len).is_err(), "no second tag");
    frame[len] = AuthAlgorithm::ED25519.0;
    let other = Err(AuthError::Algorithm(AuthAlgorithm::ED25519));
    assert_eq!(key.open(Lane::Live, &frame[..sealed_len]), other);
    frame[len] = AuthAlgorithm::HMAC_SHA256_128.0;
    assert_eq!(key.open(Lane::Live, &frame[..sealed_len - 1]), Err(AuthError::Mismatch), "a shorter tag");
    let mut down = [0; limits::DOWNLINK_BYTES_MAX];
    let clear = receipts().encode(&mut down).expect("fits");
    assert_eq!(key.open_down(clear), Err(AuthError::Missing));
}

#[test]
fn a_device_without_a_key_skips_a_sealed_frame() {
    let mut buffer = [0; limits::DOWNLINK_BYTES_MAX];
    let frame = key("met", "bwc-1").seal_down(&receipts(), &mut buffer).expect("fits");
    assert_eq!(Downlink::decode(frame), Ok(Downlink::Unknown(4)));
}

#[test]
fn a_key_never_prints() {
    assert_eq!(format!("{:?}", EnvelopeKey::from_bytes([42; 32])), "EnvelopeKey(not shown)");
}

proptest! {
    #[test]
    fn what_is_sealed_opens_and_any_flipped_bit_does_not(
        body in prop::collection::vec(any::<u8>(), 0..80), lane in 0usize..4, bit in any::<prop::sample::Index>(),
    ) {
        let key = key("met", "bwc-1");
        let mut frame = sealed(&key, LANES[lane], Class::STATUS, &body);
        let opened = key.open(LANES[lane], &frame).expect("just sealed");
        assert_eq!(opened.body, body);
        let bit = bit.index(frame.len() * 8);
        frame[bit / 8] ^= 1 << (bit % 8);
        assert!(key.open(LANES[lane], &frame).is_err());
    }

    #[test]
    fn a_flipped_bit_of_a_receipt_is_noticed(bit in any::<prop::sample::Index>()) {
        let key = key("met", "bwc-1");
        let mut buffer = [0; limits::DOWNLINK_BYTES_MAX];
        let mut frame = key.seal_down(&receipts(), &mut buffer).expect("fits").to_vec();
        let bit = bit.index(frame.len() * 8);
        frame[bit / 8] ^= 1 << (bit % 8);
        // The outer version alone is not under the tag: it says how to read the frame, not what is in it.
        assert!(bit / 8 == 0 || key.open_down(&frame).is_err());
    }

    #[test]
    fn no_bytes_panic_a_key(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let key = key("met", "bwc-1");
        let _ = key.open(Lane::Live, &bytes);
        let _ = key.open_down(&bytes);
    }
}
