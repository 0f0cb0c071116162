//! What is written reads back, and what is not ours is refused without a panic.

use fieldpost_protocol::{
    AuthAlgorithm, BatchItem, Body, BootId, Class, ClockQuality, DecodeError, Downlink, Envelope, Head, Mode,
    Seq, Trailer, encode_batch, limits,
};
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use crate::samples;

/// Encodes, decodes, and asks a batch for its items.
fn through_the_wire(items: &[BatchItem]) -> Result<(usize, Vec<BatchItem>), DecodeError> {
    let mut body = [0; limits::BODY_BYTES_MAX];
    let (count, body) = encode_batch(items, &mut body).expect("the items are a batch");
    let head = Head { seq: items[0].seq, time_ms: items[0].time_ms, ..samples::head(Class::POSITION_BATCH) };
    let mut frame = [0; limits::FRAME_BYTES_MAX];
    let frame = Envelope { head, body, trailer: None }.encode(&mut frame).expect("the buffer is the largest");
    let envelope = Envelope::decode(frame)?;
    match Body::decode(&envelope.head, envelope.body)? {
        Body::PositionBatch(batch) => Ok((count, batch.collect::<Result<_, _>>()?)),
        other => panic!("a batch decoded as {other:?}"),
    }
}

proptest! {
    #[test]
    fn an_envelope_reads_back(
        class in any::<u8>(), version in 1..=255u8, mode in 1..=3u8, clock in 0..=3u8,
        boot in any::<u32>(), seq in any::<u32>(), time_ms in any::<u64>(),
        body in proptest::collection::vec(any::<u8>(), 0..=1024),
        tag in proptest::option::of((any::<u8>(), proptest::collection::vec(any::<u8>(), 1..=64))),
    ) {
        let head = Head {
            version,
            class: Class(class),
            mode: Mode::from_bits(mode).expect("1 to 3 are modes"),
            clock: ClockQuality::from_bits(clock),
            boot: BootId(boot),
            seq: Seq(seq),
            time_ms,
        };
        let trailer = tag.as_ref().map(|(id, tag)| Trailer { algorithm: AuthAlgorithm(*id), tag });
        let envelope = Envelope { head, body: &body, trailer };
        let mut buffer = [0; limits::FRAME_BYTES_MAX];
        let frame = envelope.encode(&mut buffer).expect("FRAME_BYTES_MAX suffices");
        prop_assert_eq!(Envelope::decode(frame), Ok(envelope));
    }

    #[test]
    fn a_batch_reads_back_item_by_item(items in samples::any_batch()) {
        let (count, decoded) = through_the_wire(&items).expect("our own batch decodes");
        prop_assert_eq!(count, items.len());
        prop_assert_eq!(decoded, items);
    }

    #[test]
    fn no_bytes_panic_a_decoder(bytes in proptest::collection::vec(any::<u8>(), 0..1200), class in any::<u8>()) {
        let _ = Envelope::decode(&bytes);
        let _ = Downlink::decode(&bytes);
        if let Ok(Body::PositionBatch(batch)) = Body::decode(&samples::head(Class(class)), &bytes) {
            prop_assert!(batch.count() <= limits::BATCH_ITEMS_MAX);
        }
    }

    #[test]
    fn a_mutated_batch_never_panics_and_never_leaves_the_globe(
        items in samples::any_batch(), at in any::<proptest::sample::Index>(), bit in 0..8u32,
    ) {
        let mut body = [0; limits::BODY_BYTES_MAX];
        let (_, coded) = encode_batch(&items, &mut body).expect("the items are a batch");
        let mut coded = coded.to_vec();
        let at = at.index(coded.len());
        coded[at] ^= 1 << bit;
        if let Ok(Body::PositionBatch(batch)) = Body::decode(&samples::head(Class::POSITION_BATCH), &coded) {
            for item in batch.flatten() {
                prop_assert!(item.position.latitude_udeg.abs() <= 90_000_000);
                prop_assert!(item.position.longitude_udeg.abs() <= 180_000_000);
            }
        }
    }
}

#[test]
fn a_batch_that_does_not_fit_says_how_many_did() {
    let items: Vec<BatchItem> = (0..30)
        .map(|n| BatchItem { seq: Seq(n), time_ms: u64::from(n) * 1000, position: samples::position() })
        .collect();
    let mut small = [0; 60];
    let (count, body) = encode_batch(&items, &mut small).expect("the first item fits");
    assert!(count < 30 && count > 1, "{count} items fitted 60 bytes");
    assert!(body.len() <= 60);
    assert_eq!(usize::from(body[0]), count, "the body counts what it holds");
}

#[test]
fn a_cut_frame_is_refused_at_every_length() {
    let mut body = [0; limits::BODY_BYTES_MAX];
    let body = samples::alarm().encode(&mut body).expect("the buffer is the largest");
    let mut frame = [0; limits::FRAME_BYTES_MAX];
    let frame = Envelope { head: samples::head(Class::ALARM), body, trailer: None }
        .encode(&mut frame)
        .expect("the buffer is the largest");
    for cut in 0..frame.len() {
        assert!(Envelope::decode(&frame[..cut]).is_err(), "{cut} of {} bytes were accepted", frame.len());
    }
}

#[test]
fn bytes_after_the_known_fields_are_padding_or_the_future() {
    let mut body = [0; limits::BODY_BYTES_MAX];
    let len = samples::alarm().encode(&mut body).expect("the buffer is the largest").len();
    let padded = &body[..len + 9];
    assert_eq!(Body::decode(&samples::head(Class::ALARM), padded), Ok(Body::Alarm(samples::alarm())));
}

#[test]
fn frames_of_zeros_and_of_garbage_modes_are_refused() {
    assert_eq!(Envelope::decode(&[0; 12]), Err(DecodeError::VersionZero));
    assert_eq!(Envelope::decode(&[1, 1, 0, 0, 0, 0, 0]), Err(DecodeError::ModeMissing));
    assert_eq!(Envelope::decode(&[1, 1, 1, 0, 0, 0, 0, 9]), Err(DecodeError::TrailingBytes));
}
