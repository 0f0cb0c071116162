//! What becomes of lines whose time is over.
//!
//! ```text
//! a day is over --> a new file: a file's lines are of one day
//! its last line is older than the period, and no legal hold stands --> file_retired {name, bytes, sha256, last_n, last_hash},
//!                                                                     durable --> the file is removed
//! ```
//! **Never silently**: the line is durable before the file goes, and the line that says so is in the part that is left, so the
//! verification tells a cut that the gateway made from one that somebody else did. A crash between the two says it twice.
//!
//! **While a legal hold stands, whoever's it is, nothing goes**: a file holds lines about everybody. Without a period, which is the
//! default, nothing is ever removed here, and files are as large as they may be.
//!
//! Whoever writes waits for it: at most one file, 16 MiB to read, every [`LOOK_MS`] while there are such, every hour otherwise.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use super::super::hash::{self, Hash};
use super::super::line::{FileNote, Note};
use super::super::look::What;
use super::end::end_of;
use super::{AccessFiles, Newest, SUPERSEDED, indices, sync};
use crate::retention::Holds;

/// Between a file that was removed and the look at the next.
const LOOK_MS: u64 = 10_000;
/// Between looks that find nothing.
const REST_MS: u64 = 3_600_000;
const DAY_MS: u64 = 86_400_000;

/// How long lines are kept.
#[derive(Debug, Clone)]
pub struct KeepLines {
    age_ms_max: u64,
    holds: Holds,
    next_look_ms: u64,
}

/// A file whose time is over.
struct Over {
    path: PathBuf,
    note: FileNote,
}

impl KeepLines {
    /// For so many days, and while `holds` has one that stands; `None`, for ever, if it is 0 days.
    #[must_use]
    pub fn days(days: u32, holds: Holds) -> Option<Self> {
        (days > 0).then(|| Self { age_ms_max: u64::from(days) * DAY_MS, holds, next_look_ms: 0 })
    }
}

impl AccessFiles {
    /// Whether the file's day is over, where lines go by their age: else a small force's file would be kept for months.
    pub(super) fn is_over(&self, newest: &Newest, at_ms: u64) -> bool {
        self.keep.is_some() && at_ms / DAY_MS > newest.began_ms / DAY_MS
    }

    /// Removes the oldest file if its time is over, once `newest` says so.
    ///
    /// # Errors
    /// The line could not be written. That a file cannot be read or removed is in the gateway's log, and tried again.
    pub(super) fn retire(&mut self, newest: &mut Newest, at_ms: u64) -> io::Result<()> {
        let Some(keep) = self.keep.as_mut().filter(|keep| keep.next_look_ms <= at_ms) else { return Ok(()) };
        keep.next_look_ms = at_ms + REST_MS;
        let (limit_ms, holds) = (at_ms.saturating_sub(keep.age_ms_max), keep.holds.clone());
        let over = match self.over(newest.index, limit_ms) {
            Ok(over) if over.is_empty() => return Ok(()),
            Ok(over) => over,
            Err(error) => {
                tracing::warn!(%error, "the oldest file of the chain cannot be read: it stays");
                return Ok(());
            }
        };
        match holds.while_none_stands(|| self.remove(newest, &over, at_ms)) {
            Ok(Some(removed)) => {
                removed?;
                self.keep.iter_mut().for_each(|keep| keep.next_look_ms = at_ms + LOOK_MS);
            }
            Ok(None) => tracing::info!("a legal hold stands: nothing of the chain is removed"),
            Err(error) => tracing::warn!(%error, "nothing of the chain is removed"),
        }
        Ok(())
    }

    fn remove(&self, newest: &mut Newest, over: &[Over], at_ms: u64) -> io::Result<()> {
        let note = |file: &FileNote| Note { file: Some(file.clone()), ..Note::own(at_ms, What::FileRetired) };
        let notes: Vec<Note> = over.iter().map(|over| note(&over.note)).collect();
        newest.write(&notes)?;
        let removed = over.iter().try_for_each(|over| fs::remove_file(&over.path));
        if let Err(error) = removed.and_then(|()| sync(&File::open(&self.dir)?)) {
            tracing::warn!(%error, "a file of the chain whose time is over could not be removed");
        }
        tracing::info!(files = over.len(), "files of the chain were removed by age; the chain says which");
        Ok(())
    }

    /// The oldest file, if all of it is from before `limit_ms`, and what is older than the chain.
    fn over(&self, newest: u32, limit_ms: u64) -> io::Result<Vec<Over>> {
        let Some(oldest) = indices(&self.dir)?.first().copied().filter(|oldest| *oldest != newest) else {
            return Ok(Vec::new());
        };
        let oldest = self.read(self.series.file_name(oldest))?;
        let end = end_of(&oldest.1);
        if end.times_ms.is_none_or(|(_, last)| last >= limit_ms) {
            return Ok(Vec::new());
        }
        let last = (end.n, end.hash.unwrap_or(hash::NOTHING));
        let mut over = vec![self.said(oldest, Some(last))];
        if self.dir.join(SUPERSEDED).is_file() {
            over.push(self.said(self.read(SUPERSEDED.to_owned())?, None));
        }
        Ok(over)
    }

    fn read(&self, name: String) -> io::Result<(String, Vec<u8>)> {
        let text = fs::read(self.dir.join(&name))?;
        Ok((name, text))
    }

    fn said(&self, (name, text): (String, Vec<u8>), last: Option<(u64, Hash)>) -> Over {
        let path = self.dir.join(&name);
        let note = FileNote {
            name: Some(name),
            bytes: Some(text.len() as u64),
            sha256: Some(hash::of(&text).to_string()),
            last_n: last.map(|(n, _)| n),
            last_hash: last.map(|(_, hash)| hash.to_string()),
            ..FileNote::default()
        };
        Over { path, note }
    }
}

#[cfg(test)]
mod tests {
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
}
