//! The position batch, and what the gateway makes of it.

use fieldpost_gateway::decode::{Decoded, LONE_POSITION_BYTES_MAX, decode, lone_position};
use fieldpost_protocol::{
    BatchDecoder, BatchItem, Body, BootId, Class, ClockQuality, Envelope, Head, Lane, Mode, Seq,
    encode_batch, limits,
};

use crate::allocation;

/// First sequence and time, then a body: as any device might send it.
pub fn check(bytes: &[u8]) {
    let Some((start, body)) = bytes.split_first_chunk::<6>() else { return };
    let [a, b, c, d, e, f] = *start;
    let head = Head {
        version: 1,
        class: Class::POSITION_BATCH,
        mode: Mode::Test,
        clock: ClockQuality::Gnss,
        boot: BootId(7),
        // Both ends of the range matter: counting up must not wrap.
        seq: Seq(u32::from_le_bytes([a, b, c, if c > 127 { 255 } else { 0 }])),
        time_ms: u64::from_le_bytes([d, e, f, 0, 0, 0, 0, if f > 127 { 255 } else { 0 }]),
    };
    allocation::at_most(0, || {
        if let Ok(Body::PositionBatch(items)) = Body::decode(&head, body) {
            each_item(&items);
            fits_again(items.clone());
        }
        stored(&head, body);
    });
}

/// Items ascend, lie on the globe, and are at most as many as the body says. After an error nothing comes.
fn each_item(items: &BatchDecoder<'_>) {
    let mut last: Option<Seq> = None;
    let mut count = 0;
    let mut items = items.clone();
    while let Some(item) = items.next() {
        let Ok(item) = item else {
            assert!(items.next().is_none(), "a batch went on after its error");
            break;
        };
        assert!(last.is_none_or(|last| last < item.seq), "sequences do not ascend");
        assert!(item.position.latitude_udeg.abs() <= 90_000_000, "beyond a pole");
        assert!(item.position.longitude_udeg.abs() <= 180_000_000, "beyond the date line");
        assert!(item.position.speed_cmps.is_none_or(|speed| speed <= limits::SPEED_CMPS_MAX));
        last = Some(item.seq);
        count += 1;
    }
    assert!(count <= limits::BATCH_ITEMS_MAX);
}

/// A batch that decodes whole is one that a device could have written: its items encode and decode to the same.
fn fits_again(batch: BatchDecoder<'_>) {
    let mut items = [None; limits::BATCH_ITEMS_MAX];
    let mut count = 0;
    for item in batch {
        let Ok(item) = item else { return };
        items[count] = Some(item);
        count += 1;
    }
    let first = items[0].expect("a batch has one item or more");
    let mut whole: [BatchItem; limits::BATCH_ITEMS_MAX] = [first; limits::BATCH_ITEMS_MAX];
    for (slot, item) in whole.iter_mut().zip(items.iter().flatten()) {
        *slot = *item;
    }
    let mut buffer = [0; limits::BODY_BYTES_MAX];
    let (taken, body) = encode_batch(&whole[..count], &mut buffer).expect("ascending items are a batch");
    assert_eq!(taken, count, "a batch that came whole does not fit");
    let head = Head {
        version: 1,
        class: Class::POSITION_BATCH,
        mode: Mode::Test,
        clock: ClockQuality::Gnss,
        boot: BootId(7),
        seq: first.seq,
        time_ms: first.time_ms,
    };
    let Ok(Body::PositionBatch(again)) = Body::decode(&head, body) else {
        panic!("our own batch is refused")
    };
    assert!(again.eq(whole[..count].iter().map(|item| Ok(*item))), "our own batch reads differently");
}

/// The gateway stores all items or keeps the bytes in quarantine, and what it writes for an item decodes.
fn stored(head: &Head, body: &[u8]) {
    let mut buffer = [0; limits::FRAME_BYTES_MAX];
    let Ok(frame) = (Envelope { head: *head, body, trailer: None }).encode(&mut buffer) else { return };
    match decode(Lane::Backlog, Mode::Actual, frame) {
        Decoded::Batch(head, items) => {
            for item in items {
                let item = item.expect("the gateway took the whole batch");
                let mut buffer = [0; LONE_POSITION_BYTES_MAX];
                let lone = lone_position(&head, &item, &mut buffer);
                let envelope = Envelope::decode(lone).expect("a stored position decodes");
                let body = Body::decode(&envelope.head, envelope.body);
                assert_eq!(body, Ok(Body::Position(item.position)));
                assert_eq!((envelope.head.seq, envelope.head.time_ms), (item.seq, item.time_ms));
            }
        }
        Decoded::Quarantine(_, head) => assert!(head.is_some(), "a readable head was thrown away"),
        Decoded::Lone(..) => panic!("a batch became a lone record"),
    }
}
