//! Where a machine's feed goes on, as text: `ALARM-LIVE-BACKLOG`, the place of each lane, and behind each `_` a range of live
//! records that newer ones have overtaken, `AFTER-THROUGH`.
//!
//! It names places of one spool and nothing of what is there. Bound: [`RANGES_MAX`] ranges; the nearest become one, so what lies
//! between them is sent twice.

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::spool::{LanePositions, Lsn};

/// Ranges in a cursor: 16 of 42 characters go into a header.
const RANGES_MAX: usize = 16;
/// Longest cursor.
pub(super) const CURSOR_BYTES_MAX: usize = 1_024;

/// Writes `places`.
pub(super) fn text(places: &LanePositions) -> String {
    let mut places = places.clone();
    places.merge_skipped(RANGES_MAX);
    let mut text = format!("{}-{}-{}", places.alarm.0, places.live.0, places.backlog.0);
    for (after, through) in &places.skipped {
        text.push_str(&format!("_{}-{}", after.0, through.0));
    }
    text
}

/// Reads what [`text`] wrote; `None` if it is no such text, or beyond what is `committed`: then it is another spool's.
pub(super) fn read(text: &str, committed: Lsn) -> Option<LanePositions> {
    if text.len() > CURSOR_BYTES_MAX {
        return None;
    }
    let mut parts = text.split('_');
    let [alarm, live, backlog] = numbers(parts.next()?)?;
    let skipped = parts.map(|part| numbers(part).map(|[after, through]| (after, through)));
    let places = LanePositions { alarm, live, backlog, skipped: skipped.collect::<Option<_>>()? };
    let mut before = Lsn(0);
    let is_apart = places.skipped.iter().all(|(after, through)| {
        let is_apart = before <= *after && after < through;
        before = *through;
        is_apart
    });
    let is_sound = is_apart && places.skipped.len() <= RANGES_MAX && before <= places.live;
    (is_sound && places.foremost() <= committed).then_some(places)
}

/// The event that says where to go on: as the stream's last id, and as data for clients that keep none.
pub(super) fn message(places: &LanePositions) -> Bytes {
    let cursor = text(places);
    let mut message = BytesMut::with_capacity(64 + 2 * cursor.len());
    message
        .put_slice(format!("event: cursor\nid: {cursor}\ndata: {{\"cursor\":\"{cursor}\"}}\n\n").as_bytes());
    message.freeze()
}

/// So many numbers, a hyphen between them.
fn numbers<const COUNT: usize>(text: &str) -> Option<[Lsn; COUNT]> {
    let numbers = text.split('-').map(|number| {
        let is_plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        number.parse().ok().filter(|_| is_plain).map(Lsn)
    });
    numbers.collect::<Option<Vec<_>>>()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn places() -> impl Strategy<Value = LanePositions> {
        let ranges = proptest::collection::btree_set(0..1_000_u64, 0..32);
        (0..2_000_u64, 1_000..2_000_u64, 0..2_000_u64, ranges).prop_map(|(alarm, live, backlog, ends)| {
            let ends: Vec<_> = ends.into_iter().map(Lsn).collect();
            let skipped = ends.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
            LanePositions { alarm: Lsn(alarm), live: Lsn(live), backlog: Lsn(backlog), skipped }
        })
    }

    proptest! {
        #[test]
        fn a_cursor_reads_back_and_is_never_beyond_what_is_committed(places in places(), committed in 0..2_000_u64) {
            let read = read(&text(&places), Lsn(committed));
            prop_assert_eq!(read.is_some(), places.foremost() <= Lsn(committed));
            if let Some(read) = read {
                prop_assert_eq!(read, places);
            }
        }

        #[test]
        fn no_text_is_taken_for_places_out_of_order(text in "[0-9_-]{0,40}") {
            if let Some(places) = read(&text, Lsn(u64::MAX)) {
                let ends: Vec<_> = places.skipped.iter().flat_map(|(after, through)| [*after, *through]).collect();
                prop_assert!(ends.is_sorted() && ends.last().is_none_or(|last| *last <= places.live));
            }
        }
    }

    #[test]
    fn too_many_ranges_are_merged_and_what_is_no_cursor_is_refused() {
        let skipped: Vec<_> = (0..100).map(|n| (Lsn(n * 10), Lsn(n * 10 + 5))).collect();
        let many = LanePositions { live: Lsn(2_000), skipped, ..LanePositions::default() };
        let read_back = read(&text(&many), Lsn(2_000)).unwrap();
        assert_eq!(read_back.skipped.len(), RANGES_MAX);
        let is_covered =
            |lsn: u64| read_back.skipped.iter().any(|(after, through)| after.0 < lsn && lsn <= through.0);
        assert!(many.skipped.iter().all(|(after, through)| is_covered(after.0 + 1) && is_covered(through.0)));
        for wrong in [
            "",
            "1",
            "1-2",
            "1-2-3-4",
            "+1-2-3",
            "1-2-3_",
            "1-2-3_5-4",
            "1-2-3_1-9",
            "a-2-3",
            " 1-2-3",
            "1-99999999999999999999-3",
        ] {
            assert_eq!(read(wrong, Lsn(u64::MAX)), None, "{wrong}");
        }
        assert_eq!(read(&format!("1-2-3{}", "_1-2".repeat(400)), Lsn(9)), None);
    }
}
