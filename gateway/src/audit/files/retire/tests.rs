use std::path::Path;

use super::*;
use crate::audit::Series;
use crate::audit::files::Journal as _;
use crate::audit::verify::{Verdict, verify};
use crate::retention::Note as Why;

const START_MS: u64 = 1_795_000_000_000 / DAY_MS * DAY_MS;

struct House {
    dir: tempfile::TempDir,
    holds: Holds,
}

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let holds = Holds::new(dir.path());
        Self { dir, holds }
    }

    fn files(&self, days: u32) -> AccessFiles {
        AccessFiles::new(self.dir.path()).kept(KeepLines::days(days, self.holds.clone()))
    }

    fn chain(&self) -> PathBuf {
        self.dir.path().join(Series::Access.name())
    }

    /// One line at noon of each of these days.
    fn write(&self, files: &mut AccessFiles, days: impl IntoIterator<Item = u64>) {
        for day in days {
            let at_ms = START_MS + day * DAY_MS + DAY_MS / 2;
            files.append(&[Note::own(at_ms, What::GatewayStarted)]).unwrap();
        }
    }

    fn indices(&self) -> Vec<u32> {
        indices(&self.chain()).unwrap()
    }
}

fn verdict(chain: &Path) -> Verdict {
    verify(chain, &[], &mut |_| Ok(())).unwrap()
}

#[test]
fn without_a_period_nothing_is_ever_removed() {
    let house = House::new();
    house.write(&mut house.files(0), (0..4_000).step_by(400));
    assert_eq!(house.indices(), [1]);
    assert_eq!(verdict(&house.chain()).cut, None);
}

#[test]
fn a_file_goes_after_a_line_that_says_so_and_what_is_left_verifies_with_its_cut() {
    let house = House::new();
    let mut files = house.files(31);
    house.write(&mut files, 0..31);
    assert_eq!(house.indices(), (1..=31).collect::<Vec<_>>(), "a file a day, and none is old enough");
    house.write(&mut files, 31..40);
    // Of day 39 the lines of day 8 are 31 days old, not older.
    assert_eq!(house.indices(), (9..=40).collect::<Vec<_>>());
    let judged = verdict(&house.chain());
    assert_eq!(judged.broken, None);
    let cut = judged.cut.unwrap();
    assert_eq!(cut.n, judged.first_n - 1);
    assert!(cut.said_by.is_some_and(|n| n > judged.first_n && n <= judged.last_n), "{cut:?}");
    // Somebody else takes one more away: the rest verifies, and no line says that it may be gone.
    fs::remove_file(house.chain().join(Series::Access.file_name(9))).unwrap();
    let taken = verdict(&house.chain());
    assert_eq!((taken.broken, taken.cut.unwrap().said_by), (None, None));
}

#[test]
fn a_crash_between_the_line_and_the_removal_loses_nothing_and_says_it_again() {
    let house = House::new();
    let mut files = house.files(1);
    house.write(&mut files, 0..1);
    let first = house.chain().join(Series::Access.file_name(1));
    let text = fs::read(&first).unwrap();
    house.write(&mut files, 1..3);
    assert_eq!(house.indices(), [2, 3]);
    fs::write(&first, text).unwrap();
    let judged = verdict(&house.chain());
    assert_eq!((judged.broken, judged.cut, judged.first_n), (None, None, 1), "nothing is missing");
    house.write(&mut house.files(1), [3]);
    assert_eq!(house.indices()[0], 2);
    let judged = verdict(&house.chain());
    assert!(judged.broken.is_none() && judged.cut.unwrap().said_by.is_some());
}

#[test]
fn while_a_legal_hold_stands_nothing_goes_and_a_hold_that_cannot_be_read_stands() {
    let house = House::new();
    house.holds.make().unwrap();
    let why = || Why { by: "dana".to_owned(), why: "case 17".to_owned(), at_ms: START_MS };
    let met = fieldpost_protocol::ForceId::try_new("met").unwrap();
    let hold = house.holds.add((&met, None), (START_MS, START_MS + 1), why()).unwrap();
    let mut files = house.files(1);
    house.write(&mut files, 0..4);
    assert_eq!(house.indices(), [1, 2, 3, 4]);
    house.holds.release(hold.id, why()).unwrap();
    let path = house.dir.path().join(crate::retention::HOLDS_FILE);
    let good = fs::read(&path).unwrap();
    fs::write(&path, "{").unwrap();
    house.write(&mut files, 4..5);
    assert_eq!(house.indices().len(), 5);
    fs::write(&path, good).unwrap();
    house.write(&mut files, 5..6);
    assert_eq!(house.indices()[0], 2, "one at a time");
    house.write(&mut files, 6..9);
    assert_eq!(house.indices()[0], 5, "{:?}", house.indices());
    assert_eq!(verdict(&house.chain()).broken, None);
}

#[test]
fn what_is_older_than_the_chain_goes_with_its_first_file_and_is_named() {
    let house = House::new();
    fs::write(house.dir.path().join("access.ndjson"), "{}\n").unwrap();
    house.write(&mut house.files(1), 0..3);
    assert!(!house.chain().join(SUPERSEDED).exists());
    let mut named = Vec::new();
    let judged = verify(&house.chain(), &[], &mut |line| {
        named.extend(line.file.iter().filter(|_| line.what == "file_retired").cloned());
        Ok(())
    });
    assert_eq!(judged.unwrap().broken, None);
    assert!(named.iter().any(|file| file.name.as_deref() == Some(SUPERSEDED) && file.bytes == Some(3)));
}

/// What a full disk leaves when a file was to begin: the file, and not one byte in it.
fn made_and_not_written(house: &House) -> u32 {
    let index = house.indices().last().unwrap() + 1;
    fs::write(house.chain().join(Series::Access.file_name(index)), "").unwrap();
    index
}

#[test]
fn a_file_that_could_not_begin_begins_when_there_is_room_and_goes_when_its_time_is_over() {
    for is_restarted in [false, true] {
        let house = House::new();
        let mut files = house.files(1);
        house.write(&mut files, 0..1);
        let index = made_and_not_written(&house);
        if is_restarted {
            files = house.files(1);
        } else {
            (files.newest, files.is_suspect) = (None, true);
        }
        house.write(&mut files, 0..1);
        let text = fs::read(house.chain().join(Series::Access.file_name(index))).unwrap();
        assert!(String::from_utf8(text).unwrap().contains("\"what\":\"file_opened\""), "{is_restarted}");
        assert_eq!(verdict(&house.chain()).broken, None);
        house.write(&mut files, 1..9);
        assert!(house.indices()[0] > index, "{:?}", house.indices());
        let judged = verdict(&house.chain());
        assert!(judged.broken.is_none() && judged.cut.unwrap().said_by.is_some(), "{is_restarted}");
    }
}

#[test]
fn the_very_first_file_may_be_empty_and_what_is_older_is_still_put_beside_it() {
    let house = House::new();
    fs::write(house.dir.path().join("access.ndjson"), "{}\n").unwrap();
    fs::create_dir(house.chain()).unwrap();
    fs::write(house.chain().join(Series::Access.file_name(1)), "").unwrap();
    house.write(&mut house.files(0), 0..1);
    assert!(house.chain().join(SUPERSEDED).exists() && house.indices() == [1]);
    let judged = verdict(&house.chain());
    assert_eq!((judged.broken, judged.lines), (None, 3));
}

#[test]
fn a_file_without_a_line_that_an_earlier_version_left_goes_with_the_one_before_and_is_named() {
    // Behind the oldest, and as the oldest: the one before went while this one stayed.
    for first_goes in [false, true] {
        let house = House::new();
        let mut files = house.files(0);
        house.write(&mut files, 0..1);
        let index = made_and_not_written(&house);
        let newest = files.newest.take().unwrap();
        files.newest = Some(Newest { index, ..newest });
        let begun = files.next(files.newest.as_ref().unwrap(), START_MS + DAY_MS).unwrap();
        files.newest = Some(begun);
        house.write(&mut files, 1..2);
        if first_goes {
            fs::remove_file(house.chain().join(Series::Access.file_name(1))).unwrap();
        }
        let mut files = house.files(1);
        house.write(&mut files, [3]);
        assert!(house.indices()[0] > index, "{:?}", house.indices());
        let mut named = Vec::new();
        let judged = verify(&house.chain(), &[], &mut |line| {
            named.extend(line.file.iter().filter(|_| line.what == "file_retired").cloned());
            Ok(())
        });
        assert_eq!(judged.unwrap().broken, None);
        let name = Series::Access.file_name(index);
        let said = named.iter().find(|file| file.name.as_ref() == Some(&name)).expect("it is named");
        assert_eq!((said.bytes, said.last_n), (Some(0), None));
    }
}

#[test]
fn a_last_line_with_a_time_long_past_does_not_make_its_file_old() {
    let house = House::new();
    let mut files = house.files(31);
    house.write(&mut files, [40, 0, 41]);
    assert_eq!(house.indices(), [1, 2]);
    house.write(&mut files, [60]);
    assert_eq!(house.indices(), [1, 2, 3], "a line of day 40 is 20 days old");
    house.write(&mut files, [72]);
    assert_eq!(house.indices()[0], 2);
}

#[test]
fn a_file_that_cannot_be_removed_is_said_once_and_tried_again_every_hour() {
    let house = House::new();
    let mut files = house.files(1);
    files.keep.as_mut().unwrap().remove = |_| Err(io::ErrorKind::PermissionDenied.into());
    house.write(&mut files, 0..2);
    let said = || {
        let mut said = 0;
        let judged = verify(&house.chain(), &[], &mut |line| {
            said += u64::from(line.what == "file_retired");
            Ok(())
        });
        assert_eq!(judged.unwrap().broken, None);
        said
    };
    let from_ms = START_MS + 3 * DAY_MS;
    for at_ms in (0..2 * REST_MS / LOOK_MS).map(|n| from_ms + n * LOOK_MS) {
        files.append(&[Note::own(at_ms, What::GatewayStarted)]).unwrap();
    }
    assert_eq!((said(), house.indices()[0]), (1, 1));
    let keep = files.keep.as_mut().unwrap();
    assert_eq!(keep.next_look_ms, from_ms + 2 * REST_MS, "the next try is an hour behind the last");
    keep.remove = |path| fs::remove_file(path);
    files.append(&[Note::own(from_ms + 2 * REST_MS, What::GatewayStarted)]).unwrap();
    assert_eq!((said(), house.indices()[0]), (1, 2), "the line that is there already says it");
}

#[test]
fn a_record_whose_oldest_files_go_while_it_is_read_holds_from_where_it_begins_then() {
    let house = House::new();
    let mut files = house.files(3);
    house.write(&mut files, 0..4);
    let judged = verify(&house.chain(), &[], &mut |line| {
        // The first file is open, the two behind it go with it; and once more with the file that is first then.
        match line.n {
            1 => house.write(&mut files, 4..8),
            n if line.what == "file_opened" && n > 8 => house.write(&mut files, 8..9),
            _ => {}
        }
        Ok(())
    });
    let judged = judged.unwrap();
    let first = house.indices()[0];
    assert!(first > 2, "{first}");
    assert_eq!(judged.broken, None);
    assert!(judged.first_n > 1 && judged.cut.unwrap().said_by.is_some());
}
