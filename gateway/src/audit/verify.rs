//! Reading the access record offline, and judging it.
//!
//! **The first place where the chain breaks is named, with what is wrong there.** What is read past it is still handed
//! over: evidence that is damaged in one place is evidence in the others, and says that it is damaged. Lines of files that are removed by age
//! while they are read may be handed over, too; the verdict is over what is left.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::Path;

use serde::Serialize;

use super::files::{Head, indices, read_head};
use super::hash::{self, Hash};
use super::line::{LINE_BYTES_MAX, Line, is_link};
use super::series::Series;

/// What the verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Files read.
    pub files: usize,
    /// Lines of the chain.
    pub lines: u64,
    /// The number of the first line that is there: more than 1 if older files were taken away.
    pub first_n: u64,
    /// Where older files were taken away; nothing if the record is there from its first line.
    pub cut: Option<Cut>,
    /// The number of the last line.
    pub last_n: u64,
    /// The hash of the last line: keep it elsewhere.
    pub last_hash: String,
    /// Lines torn by a crash, ended and said as they should be. Nothing was served on their strength.
    pub torn: u64,
    /// The first thing that is wrong; nothing if all is well.
    pub broken: Option<Broken>,
}

/// Where the record begins if it does not begin with line 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cut {
    /// The last line that is not there.
    pub n: u64,
    /// Its hash, as the first file that is there says it.
    pub hash: String,
    /// The line by which the gateway says that it removed it, by age; nothing if somebody else took it away.
    pub said_by: Option<u64>,
}

/// Where the chain breaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// File name.
    pub file: String,
    /// Line in it, from 1.
    pub line: u64,
    /// What is wrong.
    pub what: String,
}

/// A head known from elsewhere: a log, a letter, the last verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownHead {
    /// The line's number.
    pub n: u64,
    /// Its hash.
    pub hash: Hash,
}

impl std::str::FromStr for KnownHead {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (n, hash) = text.split_once(':').ok_or("a head is NUMBER:HASH")?;
        Ok(Self {
            n: n.parse().map_err(|_| "a head is NUMBER:HASH")?,
            hash: hash.parse().map_err(|_| "a hash is 64 lower-case hexadecimal digits")?,
        })
    }
}

struct Reading<'a> {
    verdict: Verdict,
    /// The last link; `None` before the first line.
    link: Option<Hash>,
    /// What the first line follows from.
    first_link: Hash,
    /// Last lines of removed files, with their hashes, by the lines that say so.
    retired: BTreeMap<(u64, String), u64>,
    /// Bytes that are no line, and where they began: good only if the next line says so.
    torn: Option<(Vec<u8>, String, u64)>,
    known: BTreeMap<u64, Hash>,
    head: io::Result<Head>,
    series: Series,
    each: &'a mut dyn FnMut(&Line) -> io::Result<()>,
}

/// Reads every line of the record in `dir` in order, hands it to `each`, and says whether the chain holds: up to its head,
/// and through the heads `known`.
///
/// # Errors
/// A file cannot be read, or `each` says so.
pub fn verify(
    dir: &Path,
    known: &[KnownHead],
    each: &mut dyn FnMut(&Line) -> io::Result<()>,
) -> io::Result<Verdict> {
    let mut reading = Reading {
        verdict: Verdict::default(),
        link: None,
        first_link: hash::NOTHING,
        retired: BTreeMap::new(),
        torn: None,
        known: known.iter().map(|head| (head.n, head.hash)).collect(),
        // Before the lines: a gateway at work may write more of both meanwhile.
        head: read_head(dir),
        series: Series::in_dir(dir),
        each,
    };
    reading.files(dir)?;
    reading.end();
    Ok(reading.verdict)
}

impl Reading<'_> {
    /// Every file. A gateway at work may remove the oldest meanwhile, by age: then the record begins behind them.
    fn files(&mut self, dir: &Path) -> io::Result<()> {
        let mut listed = VecDeque::from(indices(dir)?);
        let mut due = None;
        while let Some(index) = listed.pop_front() {
            let name = self.series.file_name(index);
            let file = match File::open(dir.join(&name)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let there = indices(dir)?;
                    if there.first().is_none_or(|first| *first <= index) {
                        return Err(error);
                    }
                    self.begin_again();
                    (listed, due) = (there.into(), None);
                    continue;
                }
                file => file?,
            };
            if let Some(due) = due.filter(|due| *due != index) {
                self.broken(&self.series.file_name(due), 0, "the file is missing");
            }
            self.file(&name, file)?;
            due = Some(index + 1);
        }
        Ok(())
    }

    /// What was read so far is not there any more; what is wrong with it stays said.
    fn begin_again(&mut self) {
        let broken = self.verdict.broken.take();
        self.verdict = Verdict { broken, ..Verdict::default() };
        (self.link, self.torn) = (None, None);
    }

    fn file(&mut self, name: &str, file: File) -> io::Result<()> {
        self.verdict.files += 1;
        let mut reader = BufReader::new(file);
        let mut text = Vec::new();
        for number in 1.. {
            text.clear();
            // Longer than any line: it is none, and is taken in pieces.
            let limit = LINE_BYTES_MAX as u64 + 1;
            if reader.by_ref().take(limit).read_until(b'\n', &mut text)? == 0 {
                break;
            }
            self.text(name, number, &text)?;
        }
        Ok(())
    }

    fn text(&mut self, file: &str, number: u64, text: &[u8]) -> io::Result<()> {
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let Some(line) = Line::parse(text) else {
            let torn = self.torn.get_or_insert_with(|| (Vec::new(), file.to_owned(), number));
            torn.0.extend_from_slice(text);
            return Ok(());
        };
        let begins_torn = self.settle_torn(&line);
        let previous = self.previous(file, number, &line, begins_torn);
        if !is_link(text, &line, &previous) {
            self.broken(file, number, "its hash does not follow from the line before and its own words");
        }
        let due = self.verdict.last_n + 1;
        if self.verdict.lines > 0 && line.n != due {
            self.broken(file, number, &format!("line {due} is due, this is {}", line.n));
        }
        if self.known.remove(&line.n).is_some_and(|known| known != line.hash()) {
            self.broken(file, number, "its hash is not that of the head that is known from elsewhere");
        }
        if self.head.as_ref().is_ok_and(|head| head.n == line.n && head.hash != line.hash) {
            self.broken(file, number, "its hash is not that of the head beside the record");
        }
        self.link = Some(line.hash());
        self.verdict.lines += 1;
        if self.verdict.lines == 1 {
            (self.verdict.first_n, self.first_link) = (line.n, previous);
        }
        if let Some(file) = line.file.as_ref().filter(|_| line.what == "file_retired")
            && let (Some(n), Some(hash)) = (file.last_n, &file.last_hash)
        {
            self.retired.insert((n, hash.clone()), line.n);
        }
        self.verdict.last_n = line.n;
        (self.each)(&line)
    }

    /// The hash before this line: the last link, or what the first file that is left says of those taken away.
    fn previous(&mut self, file: &str, number: u64, line: &Line, begins_torn: bool) -> Hash {
        if let Some(link) = self.link {
            return link;
        }
        let said = line.file.as_ref().and_then(|file| file.previous.as_ref()?.parse().ok());
        match said {
            Some(hash) if begins_torn || line.what == "file_opened" => hash,
            _ => {
                self.broken(file, number, "the record does not begin with the opening of a file");
                hash::NOTHING
            }
        }
    }

    /// Bytes that are no line must be named by the line behind them, exactly. Whether they were, and began their file.
    fn settle_torn(&mut self, line: &Line) -> bool {
        let Some((torn, file, number)) = self.torn.take() else { return false };
        let said = line.file.as_ref().filter(|_| line.what == "torn_tail");
        let is_said = said.is_some_and(|said| {
            said.bytes == Some(torn.len() as u64) && said.sha256 == Some(hash::of(&torn).to_string())
        });
        if is_said {
            self.verdict.torn += 1;
        } else {
            self.broken(&file, number, "this is no line, and nothing says that it was torn");
        }
        is_said && number == 1
    }

    fn end(&mut self) {
        if let Some((_, file, number)) = self.torn.take() {
            // The gateway was killed and has not been started since: the next start ends and says it.
            self.verdict.torn += 1;
            tracing::debug!(file, number, "the last line is torn");
        }
        if self.verdict.first_n > 1 {
            let (n, hash) = (self.verdict.first_n - 1, self.first_link.to_string());
            let said_by = self.retired.get(&(n, hash.clone())).copied();
            self.verdict.cut = Some(Cut { n, hash, said_by });
        }
        self.verdict.last_hash = self.link.unwrap_or(hash::NOTHING).to_string();
        let last = self.verdict.last_n;
        let wrong = match &self.head {
            Ok(head) if head.n > last => Some((
                head.file.clone(),
                format!("the record ends at line {last}; its head says that line {} was written", head.n),
            )),
            Err(error) if self.verdict.lines > 1 => {
                Some(("head.json".to_owned(), format!("the head cannot be read: {error}")))
            }
            _ => None,
        };
        if let Some((file, what)) = wrong {
            self.broken(&file, 0, &what);
        }
        if let Some(n) = self.known.keys().find(|n| **n >= self.verdict.first_n).copied() {
            self.broken("", 0, &format!("line {n}, known from elsewhere, is not there"));
        }
    }

    fn broken(&mut self, file: &str, line: u64, what: &str) {
        let broken = Broken { file: file.to_owned(), line, what: what.to_owned() };
        self.verdict.broken.get_or_insert(broken);
    }
}
