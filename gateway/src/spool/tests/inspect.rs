//! `ls`, `verify` and `export` say what is there, beside a running spool too.

use super::super::faulty::FaultyDisk;
use super::super::{Lsn, export_on, ls_on, verify_on};
use super::{dir, open, payload, segments, small, store};

#[tokio::test]
async fn the_listing_covers_every_entry_and_cursor() {
    let disk = FaultyDisk::new();
    let (spool, _) = open(&disk, small());
    let mut cursor = spool.cursor("sink").unwrap();
    while spool.stats().segments_count < 3 {
        store(&spool, &[1; 1000]).await;
    }
    cursor.advance(Lsn(2)).await.unwrap();
    spool.tend().await;
    let listing = ls_on(&disk, &dir()).unwrap();
    assert_eq!(listing.segments.len(), 3);
    assert_eq!(listing.segments[0].first, Lsn(1));
    for pair in listing.segments.windows(2) {
        assert_eq!(pair[0].last.unwrap().next(), pair[1].first);
    }
    assert_eq!(listing.segments[2].last, None);
    assert_eq!(listing.bytes, spool.stats().bytes);
    assert_eq!(listing.cursors, spool.stats().cursors);
    assert!(serde_json::to_value(&listing).unwrap()["segments"][0]["file"].is_string());
    spool.close().await;
}

#[tokio::test]
async fn a_sound_spool_verifies_and_a_damaged_one_names_the_entry() {
    let disk = FaultyDisk::new();
    let (spool, _) = open(&disk, small());
    for number in 1..=10 {
        store(&spool, &payload(number)).await;
    }
    let sound = verify_on(&disk, &dir()).unwrap();
    assert!(sound.is_sound);
    assert_eq!((sound.entries_count, sound.last), (10, Lsn(10)));
    let path = segments(&disk).remove(0);
    let mut bytes = disk.bytes(&path).unwrap();
    let needle = payload(4);
    let at = bytes.windows(needle.len()).position(|window| window == needle);
    bytes[at.unwrap()] ^= 1;
    disk.set_bytes(&path, bytes);
    let damaged = verify_on(&disk, &dir()).unwrap();
    assert!(!damaged.is_sound);
    assert_eq!(damaged.damaged.len(), 1);
    assert_eq!((damaged.damaged[0].from, damaged.damaged[0].to), (Lsn(4), Lsn(4)));
    let mut exported = Vec::new();
    let summary = export_on(&disk, &dir(), Lsn(3), Lsn(6), &mut |entry| {
        exported.push((entry.lsn.0, entry.payload.to_vec()));
        Ok(())
    });
    let wanted: Vec<_> = [3, 5, 6].map(|number| (number, payload(number))).into();
    assert_eq!(exported, wanted);
    assert_eq!(summary.unwrap().damaged, damaged.damaged);
    spool.close().await;
}
