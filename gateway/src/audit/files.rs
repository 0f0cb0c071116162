//! The files of a chain, the access record's or the disclosure log's: lines across files of bounded size.
//!
//! ```text
//! DATA_DIR/access/access-000001.ndjson     full, never written again
//!                 access-000002.ndjson     the newest: appended to
//!                 head.json                number and hash of the newest durable line
//!                 before-chain.ndjson      what an earlier version wrote, if there was one
//! ```
//! **A torn line ends itself and kills nothing.** What a crash left half written was never durable, so nothing was served
//! on its strength: it gets its line feed, the next line says how long it was and what its SHA-256 is, and the chain
//! goes on from the last whole line. After an error the file is not trusted either: the next writing begins a new one.
//! A file that was made and not one byte of it written, on a full disk, begins when there is room.
//! **No line is removed unless a period is set ([`retire`]), and then a line that is durable says so first**: the chain that is left
//! says itself where it was cut.
//! The head is written after the lines are durable, so it never runs ahead of them: a log that is shorter than its
//! head has lost its tail. **A start does not heal that**: it goes on from the head in a new file, and the hole stays
//! to be seen.

mod end;
mod newest;
mod retire;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use self::end::end_of;
use self::newest::{Newest, sync};
pub use self::retire::KeepLines;
use super::hash::{self, Hash};
use super::line::{FileNote, Line, Note};
use super::look::What;
use super::series::Series;

/// Directory of the access record in the data directory.
pub const ACCESS_DIR: &str = "access";
/// A full file: about 40,000 looks.
pub const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// What the log may be used for, said in each of its files and at every reading.
pub const PURPOSE: &str = "Data Protection Act 2018 s.62(4): only to verify the lawfulness of processing, to assist \
with self-monitoring, to ensure the integrity and security of personal data, or for criminal proceedings";

pub(super) const HEAD_FILE: &str = "head.json";
const SUPERSEDED: &str = "before-chain.ndjson";
/// What versions before the chain wrote, in the data directory.
const BEFORE: &str = "access.ndjson";

/// Where notes become durable.
pub trait Journal: Send + 'static {
    /// Appends the notes and returns the number of the first once all are durable. Blocking.
    ///
    /// # Errors
    /// What the operating system said; the notes may or may not be there.
    fn append(&mut self, notes: &[Note]) -> io::Result<u64>;
}

/// The newest durable line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Its number.
    pub n: u64,
    /// Its hash.
    pub hash: String,
    /// The file it is in.
    pub file: String,
}

/// [`ACCESS_DIR`] in the data directory, files of mode 0600.
#[derive(Debug)]
pub struct AccessFiles {
    series: Series,
    dir: PathBuf,
    before: PathBuf,
    file_bytes_max: u64,
    keep: Option<KeepLines>,
    newest: Option<Newest>,
    /// An error left the newest file in an unknown state.
    is_suspect: bool,
}

impl AccessFiles {
    /// The access record below `data_dir`. Nothing is touched until the first note.
    #[must_use]
    pub fn new(data_dir: &Path) -> Self {
        Self::of(Series::Access, data_dir)
    }

    /// The files of a chain below `data_dir`. Nothing is touched until the first note.
    #[must_use]
    pub fn of(series: Series, data_dir: &Path) -> Self {
        Self {
            series,
            dir: data_dir.join(series.name()),
            before: data_dir.join(BEFORE),
            file_bytes_max: FILE_BYTES_MAX,
            keep: None,
            newest: None,
            is_suspect: false,
        }
    }

    /// The same with smaller files, so that a test sees many.
    #[must_use]
    pub fn with_file_bytes_max(mut self, file_bytes_max: u64) -> Self {
        self.file_bytes_max = file_bytes_max;
        self
    }

    /// The same with a period after which lines go; for ever without.
    #[must_use]
    pub fn kept(mut self, keep: Option<KeepLines>) -> Self {
        self.keep = keep;
        self
    }

    fn open(&self, at_ms: u64) -> io::Result<Newest> {
        let Some(index) = indices(&self.dir)?.last().copied() else {
            return match self.head()? {
                Some(head) => self.after_lost(&head, 0, at_ms),
                None => self.first(at_ms),
            };
        };
        let path = self.dir.join(self.series.file_name(index));
        let text = fs::read(&path)?;
        let end = end_of(&text);
        let hash = end.hash.unwrap_or(hash::NOTHING);
        let file = OpenOptions::new().append(true).open(&path)?;
        let began_ms = end.times_ms.map_or(at_ms, |(first, _)| first);
        let mut newest = Newest { file, index, bytes: text.len() as u64, began_ms, n: end.n, hash };
        if end.hash.is_none() {
            // Not one whole line in it: the chain is where the file before left it.
            let before = indices(&self.dir)?.into_iter().rev().skip(1);
            for index in before {
                let end = end_of(&fs::read(self.dir.join(self.series.file_name(index)))?);
                if let Some(hash) = end.hash {
                    (newest.n, newest.hash) = (end.n, hash);
                    break;
                }
            }
        }
        if let Some(head) = self.head()?.filter(|head| !newest.reaches(head)) {
            tracing::error!(line = newest.n, head = head.n, "the end of the chain is missing or changed");
            return self.after_lost(&head, newest.index, at_ms);
        }
        if text.is_empty() {
            newest.say_opened(at_ms)?;
            sync(&File::open(&self.dir)?)?;
            self.supersede(&mut newest, at_ms)?;
        }
        let line_feed: &[u8] = if text.is_empty() || text.ends_with(b"\n") { b"" } else { b"\n" };
        if end.torn.is_empty() {
            newest.file.write_all(line_feed)?;
        } else {
            newest.say_torn(line_feed, &end.torn, at_ms)?;
        }
        if self.is_suspect {
            newest = self.next(&newest, at_ms)?;
        }
        Ok(newest)
    }

    /// The very first file; what an earlier version wrote is put beside it and named in it.
    fn first(&self, at_ms: u64) -> io::Result<Newest> {
        fs::create_dir_all(&self.dir)?;
        sync(&File::open(self.dir.parent().unwrap_or(&self.dir))?)?;
        let mut newest = self.begin(1, 0, hash::NOTHING, at_ms)?;
        self.supersede(&mut newest, at_ms)?;
        Ok(newest)
    }

    /// Behind the very first line: what an earlier version wrote, if there is any.
    fn supersede(&self, newest: &mut Newest, at_ms: u64) -> io::Result<()> {
        if newest.n != 1 || self.series != Series::Access || !self.before.is_file() {
            return Ok(());
        }
        let (sha256, bytes) = hash::of_all(BufReader::new(File::open(&self.before)?))?;
        let mut note = Note::own(at_ms, What::Superseded);
        note.file = Some(FileNote {
            name: Some(SUPERSEDED.to_owned()),
            bytes: Some(bytes),
            sha256: Some(sha256.to_string()),
            ..FileNote::default()
        });
        fs::rename(&self.before, self.dir.join(SUPERSEDED))?;
        newest.write(&[note])?;
        sync(&File::open(&self.dir)?)
    }

    /// The head beside the files; none if there is none, or what is there says nothing.
    fn head(&self) -> io::Result<Option<Head>> {
        match read_head(&self.dir) {
            Ok(head) => Ok(Some(head)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
            {
                tracing::error!(%error, "the head of the access record is no head");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Lines up to the head were taken away, or every file, or the last line was changed. The chain goes on from the head
    /// behind file `last`, so that this shows.
    fn after_lost(&self, head: &Head, last: u32, at_ms: u64) -> io::Result<Newest> {
        let index = self.series.index_of(&head.file).unwrap_or(0);
        self.begin(
            index.max(last).saturating_add(1),
            head.n,
            head.hash.parse().unwrap_or(hash::NOTHING),
            at_ms,
        )
    }

    fn next(&self, full: &Newest, at_ms: u64) -> io::Result<Newest> {
        self.begin(full.index + 1, full.n, full.hash, at_ms)
    }

    /// Begins a file that goes on from line `n`.
    fn begin(&self, index: u32, n: u64, previous: Hash, at_ms: u64) -> io::Result<Newest> {
        let path = self.dir.join(self.series.file_name(index));
        fs::create_dir_all(&self.dir)?;
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)?;
        let mut newest = Newest { file, index, bytes: 0, began_ms: at_ms, n, hash: previous };
        newest.say_opened(at_ms)?;
        sync(&File::open(&self.dir)?)?;
        Ok(newest)
    }

    fn append_to(&mut self, newest: &mut Newest, notes: &[Note]) -> io::Result<u64> {
        let at_ms = notes.first().map_or(0, |note| note.at_ms);
        if newest.bytes >= self.file_bytes_max || self.is_over(newest, at_ms) {
            *newest = self.next(newest, at_ms)?;
        }
        self.retire(newest, at_ms)?;
        let first = newest.n + 1;
        newest.write(notes)?;
        // A head that is behind is corrected by the next: it is a witness, not the log.
        if let Err(error) = self.write_head(newest) {
            tracing::warn!(%error, "the head of the access record is behind");
        }
        Ok(first)
    }

    fn write_head(&self, newest: &Newest) -> io::Result<()> {
        let head =
            Head { n: newest.n, hash: newest.hash.to_string(), file: self.series.file_name(newest.index) };
        let text = serde_json::to_vec(&head).expect("strings and numbers are JSON");
        let unfinished = self.dir.join("head.json.new");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(&text)?;
        // Else a power cut may leave the new name with nothing in it, and the old head is gone.
        sync(&file)?;
        fs::rename(unfinished, self.dir.join(HEAD_FILE))
    }
}

impl Journal for AccessFiles {
    fn append(&mut self, notes: &[Note]) -> io::Result<u64> {
        let at_ms = notes.first().map_or(0, |note| note.at_ms);
        let mut newest = match self.newest.take() {
            Some(newest) if self.dir.join(self.series.file_name(newest.index)).is_file() => newest,
            // Moved away while we had it open: what is written to it nobody finds.
            Some(moved) => self.next(&moved, at_ms)?,
            None => self.open(at_ms)?,
        };
        match self.append_to(&mut newest, notes) {
            Ok(first) => {
                self.is_suspect = false;
                self.newest = Some(newest);
                Ok(first)
            }
            Err(error) => {
                self.is_suspect = true;
                Err(error)
            }
        }
    }
}

/// Reads the head.
///
/// # Errors
/// It cannot be read, or is none.
pub fn read_head(dir: &Path) -> io::Result<Head> {
    Ok(serde_json::from_slice(&fs::read(dir.join(HEAD_FILE))?)?)
}

/// The name of a file of the access record.
#[must_use]
pub fn file_name(index: u32) -> String {
    Series::Access.file_name(index)
}

/// Hands the lines of the two newest files of the chain in `dir` to `each`, in order. What is no line is left out: the
/// verification is another matter. Blocking.
///
/// # Errors
/// A file cannot be read.
pub fn newest_lines(dir: &Path, each: &mut dyn FnMut(&Line)) -> io::Result<()> {
    let indices = indices(dir)?;
    for index in &indices[indices.len().saturating_sub(2)..] {
        let text = fs::read(dir.join(Series::in_dir(dir).file_name(*index)))?;
        text.split(|byte| *byte == b'\n').filter_map(Line::parse).for_each(|line| each(&line));
    }
    Ok(())
}

/// The numbers of the chain's files, in order; none if there is no directory.
///
/// # Errors
/// The directory cannot be read.
pub fn indices(dir: &Path) -> io::Result<Vec<u32>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let series = Series::in_dir(dir);
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        found.extend(name.to_str().and_then(|name| series.index_of(name)));
    }
    found.sort_unstable();
    Ok(found)
}
