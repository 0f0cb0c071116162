use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::live::frames::{Change, Picture};
use crate::spool::RealDisk;

fn open(dir: &Path) -> PictureFiles {
    PictureFiles::open(Arc::new(RealDisk), dir.to_owned(), Keep::default()).unwrap()
}

fn unit(number: u64, json: String) -> (crate::live::unit::UnitId, Bytes) {
    (format!("sim/pc-{number}").parse().unwrap(), Bytes::from(json))
}

/// A change of a kind that `n` chooses.
fn change(n: u64) -> Change {
    let alarm = || format!("sim/pc-{}/1/{n}", n % 3).parse().unwrap();
    match n % 7 {
        0 => Change::Alarm {
            id: alarm(),
            json: Bytes::from(format!("{{\"n\":{n}}}")),
            remains: n.is_multiple_of(2),
        },
        1 => Change::Told { event: "gateway".into(), json: Bytes::from(n.to_string()) },
        2 => Change::UnitsGone(vec![unit(n % 3, String::new()).0]),
        3 => Change::AlarmGone(alarm()),
        _ => Change::Units((0..n % 4).map(|u| unit(u, format!("{{\"u\":{u},\"n\":{n}}}"))).collect()),
    }
}

fn read_all(dir: &Path) -> (Vec<Entry>, Vec<FileEnd>) {
    let mut all = Vec::new();
    let mut ends = Vec::new();
    for file in files(dir).unwrap() {
        let end = read(&file.path, &mut |_, entries| {
            all.extend(entries);
            Ok(())
        });
        ends.push(end.unwrap());
    }
    (all, ends)
}

#[test]
fn every_entry_comes_back_across_files_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let mut picture = Picture::default();
    let mut written = Vec::new();
    for run in 0..3 {
        let mut journal = open(dir.path()).with_file_bytes_max(600);
        assert_eq!(journal.head().n, picture.n);
        for n in picture.n + 1..=picture.n + 40 {
            let mut batch = Vec::new();
            if journal.wants_keyframe() {
                batch.push(Entry::Keyframe(picture.clone()));
            }
            let change = change(n);
            picture.apply(n, &change);
            batch.push(Entry::Change(n, change));
            written.extend(batch.clone());
            assert_eq!(journal.commit(run * 100 + n, batch.clone()).unwrap().entries(), batch);
        }
    }
    let (read, ends) = read_all(dir.path());
    assert_eq!(read, written);
    assert!(ends.len() > 6, "{} files", ends.len());
    for pair in ends.windows(2) {
        assert_eq!(pair[1].previous, pair[0].head.unwrap().hash, "one chain");
        assert_eq!((pair[0].torn_bytes, pair[0].is_broken), (0, false));
    }
}

#[test]
fn a_torn_end_is_left_out_and_a_changed_byte_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path());
    journal.commit(1, vec![Entry::Keyframe(Picture::default())]).unwrap();
    journal.commit(2, vec![Entry::Change(4, change(4))]).unwrap();
    drop(journal);
    let path = files(dir.path()).unwrap()[0].path.clone();
    let whole = std::fs::read(&path).unwrap();
    for cut in 0..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let (read, ends) = read_all(dir.path());
        assert!(read.len() < 2 && !ends[0].is_broken, "{cut}");
        assert!(open(dir.path()).head().n < 4, "{cut}");
    }
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        std::fs::write(&path, &changed).unwrap();
        let (read, ends) = read_all(dir.path());
        let is_seen =
            ends[0].is_broken || ends[0].torn_bytes > 0 || ends[0].previous != crate::audit::hash::NOTHING;
        assert!(is_seen, "byte {at}: {read:?}");
    }
}

#[test]
fn what_is_too_much_goes_oldest_first_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let keep = Keep { age_ms_max: 1_000, bytes_max: 4_000 };
    let mut journal =
        PictureFiles::open(Arc::new(RealDisk), dir.path().to_owned(), keep).unwrap().with_file_bytes_max(100);
    let mut retired = Vec::new();
    for n in 0..200 {
        let picture = Picture { n, ..Picture::default() };
        journal.commit(10, vec![Entry::Keyframe(picture)]).unwrap();
        retired.extend(journal.take_retired());
    }
    let left: u64 = files(dir.path()).unwrap().iter().map(|f| f.path.metadata().unwrap().len()).sum();
    assert!(left <= 4_000, "{left} bytes");
    assert!(retired.windows(2).all(|pair| pair[0].last.n < pair[1].last.n));
    assert_eq!(retired.len() + files(dir.path()).unwrap().len(), 200);
    journal.commit(5_000, vec![Entry::Keyframe(Picture::default())]).unwrap();
    assert_eq!(
        files(dir.path()).unwrap().len(),
        2,
        "the old ones are too old, but for the one that ended now"
    );
}
