//! What a live page was sent, byte for byte, out of the access record and the picture journal.
//!
//! ```text
//! stream_opened {opened_at, subjects} --> the picture at that number --> opening
//! the changes behind it, in order      --> frame(n, change, forces)
//! stream_order {sent_to, overtook, lagged_to} --> where the order was left
//! stream_closed {bytes}                --> how much was handed to the connection
//! ```
//! A page that was cut off (the gateway was killed) has no closing line: what is rebuilt then is the most it can have been
//! sent, and **what its browser received is a beginning of it**.

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, Write};
use std::path::Path;

use super::line::{Line, StreamNote};
use super::pictures::{self, Entry};
use super::verify::{Verdict, verify};
use crate::live::frames::{Change, LAGGED, Picture, frame, unnumbered};
use crate::people::Forces;

/// Why a page cannot be rebuilt.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// There is no such page on record.
    #[error("line {0} of the access record does not open a live page")]
    NoStream(u64),
    /// The picture journal does not go back so far, or is broken before.
    #[error("the picture journal does not hold picture {0}: it was removed by age or size, or is damaged")]
    NoPicture(u64),
    /// What is made of the picture is not what was handed out.
    #[error("the answer made of picture {0} is not the one that was handed out: its SHA-256 is another")]
    NotThat(u64),
    /// A file cannot be read.
    #[error("cannot read the record: {0}")]
    Io(#[from] io::Error),
}

/// One page on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The line that opened it.
    pub opened: Line,
    /// Where it left the order.
    pub orders: VecDeque<StreamNote>,
    /// The line that closed it; none if the gateway was killed, or it is still open.
    pub closed: Option<Line>,
    /// The gateway was started again before it was closed, then: Unix ms.
    pub cut_off_ms: Option<u64>,
}

/// What was rebuilt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// Bytes written.
    pub bytes: u64,
    /// Whether exactly these bytes were handed to the connection; otherwise a beginning of them.
    pub is_exact: bool,
    /// What the access record is worth.
    pub verdict: Verdict,
}

impl Page {
    /// The page that line `id` opened.
    ///
    /// # Errors
    /// [`RebuildError`].
    pub fn find(access: &Path, id: u64) -> Result<(Self, Verdict), RebuildError> {
        let mut page: Option<Self> = None;
        let verdict = verify(access, &[], &mut |line| {
            if line.n == id && line.what == "stream_opened" {
                page = Some(Self::opened_by(line.clone()));
            } else if let Some(page) = &mut page {
                page.take(line);
            }
            Ok(())
        })?;
        page.map(|page| (page, verdict)).ok_or(RebuildError::NoStream(id))
    }

    /// The page that a line opens.
    #[must_use]
    pub fn opened_by(opened: Line) -> Self {
        Self { opened, orders: VecDeque::new(), closed: None, cut_off_ms: None }
    }

    /// Takes a later line that may be about it.
    pub fn take(&mut self, line: &Line) {
        let is_ours = line.stream.as_ref().is_some_and(|stream| stream.id == self.opened.n);
        match line.what.as_str() {
            "stream_order" if is_ours => self.orders.extend(line.stream.clone()),
            "stream_closed" if is_ours => self.closed = Some(line.clone()),
            "gateway_started" if self.closed.is_none() => _ = self.cut_off_ms.get_or_insert(line.at_ms),
            _ => {}
        }
    }

    /// The last instant at which it can have been sent anything, Unix ms.
    #[must_use]
    pub fn until_ms(&self) -> Option<u64> {
        self.closed.as_ref().map(|line| line.at_ms).or(self.cut_off_ms)
    }
}

/// Whose units a line showed, live.
fn forces_of(line: &Line) -> Forces {
    let names = line.subjects.iter().map(|pattern| pattern.trim_end_matches("/*"));
    names.collect::<Vec<_>>().join(",").parse().unwrap_or_else(|_| Forces::none())
}

/// Writes what the page that line `id` opened was sent.
///
/// # Errors
/// [`RebuildError`].
pub fn rebuild(
    access: &Path,
    pictures: &Path,
    id: u64,
    out: &mut dyn Write,
) -> Result<Rebuilt, RebuildError> {
    let (page, verdict) = Page::find(access, id)?;
    let closed_bytes = page.closed.as_ref().and_then(|line| line.stream.as_ref()?.bytes);
    let mut out = Limited { out, left: closed_bytes.unwrap_or(u64::MAX), written: 0 };
    walk(&page, pictures, &mut |_, bytes| out.write(bytes))?;
    Ok(Rebuilt { bytes: out.written, is_exact: closed_bytes == Some(out.written), verdict })
}

/// Hands over, in order, what the page was sent: when it became durable, Unix ms, and the bytes. `each` may end it early
/// with [`io::ErrorKind::Interrupted`].
///
/// # Errors
/// [`RebuildError`].
pub fn walk(
    page: &Page,
    pictures: &Path,
    each: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>,
) -> Result<(), RebuildError> {
    let opened_at = page.opened.stream.as_ref().and_then(|stream| stream.opened_at).unwrap_or_default();
    let files = pictures::files(pictures)?;
    let from = first_file(&files, opened_at)?.ok_or(RebuildError::NoPicture(opened_at))?;
    let mut walk = Walk {
        wire: Wire::new(page),
        opened: page.opened.stream.clone().unwrap_or_default(),
        opened_at,
        picture: None,
        last: None,
    };
    for file in &files[from..] {
        let end = pictures::read(&file.path, &mut |at_ms, entries| {
            entries.into_iter().try_for_each(|entry| walk.entry(at_ms, entry, each))
        });
        match end {
            // What comes now was not sent to this page any more.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => break,
            Err(error) => return Err(error.into()),
            Ok(end) if end.is_broken => break,
            Ok(_) => {}
        }
    }
    if walk.last.is_none() {
        return Err(RebuildError::NoPicture(opened_at));
    }
    match walk.wire.flush_to(u64::MAX, each) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        flushed => Ok(flushed?),
    }
}

/// Through the journal with one page.
struct Walk {
    wire: Wire,
    opened: StreamNote,
    opened_at: u64,
    /// Before the page opens.
    picture: Option<Picture>,
    /// The newest change that the page had, once it is open.
    last: Option<u64>,
}

impl Walk {
    fn entry(
        &mut self,
        at_ms: u64,
        entry: Entry,
        each: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        match (entry, self.last) {
            (Entry::Keyframe(whole), None) => self.picture = Some(whole),
            (Entry::Keyframe(whole), Some(last)) if whole.n == last => {}
            (Entry::Change(n, change), None) => {
                if let Some(picture) = &mut self.picture {
                    picture.apply(n, &change);
                }
            }
            (Entry::Change(n, change), Some(last)) if n == last + 1 => {
                self.last = Some(n);
                return self.wire.change(at_ms, n, &change, each);
            }
            // A hole in the numbers: nobody looked, or another run. The page had ended before.
            _ => return Err(io::ErrorKind::Interrupted.into()),
        }
        if let Some(picture) = self.picture.take_if(|picture| picture.n == self.opened_at) {
            self.last = Some(picture.n);
            let forces = &self.wire.forces;
            if self.opened.lagged_from.is_some() {
                each(at_ms, &LAGGED)?;
            }
            // A page that took up where it was is sent only what follows.
            if self.opened.resumed_after.is_none() {
                let first = picture.opening(forces, picture.units_json(forces));
                first.iter().try_for_each(|part| each(at_ms, part))?;
            }
        }
        Ok(())
    }
}

/// The bytes of one answer on record (`units_read`, `alarms_read`): made again out of the picture that it names, and held
/// against its digest.
///
/// # Errors
/// [`RebuildError`].
pub fn answer(line: &Line, pictures: &Path) -> Result<bytes::Bytes, RebuildError> {
    let n = line.picture.ok_or(RebuildError::NoPicture(0))?;
    let picture = picture_at(pictures, n)?;
    let forces = forces_of(line);
    let bytes = match line.what.as_str() {
        "units_read" => picture.units_answer(&forces, &picture.units_json(&forces)),
        _ => picture.alarms_answer(&picture.alarms_json(&forces)),
    };
    let is_it = line.answer.as_ref().is_some_and(|it| it.sha256 == super::hash::of(&bytes).to_string());
    if is_it { Ok(bytes) } else { Err(RebuildError::NotThat(n)) }
}

/// The picture number `n`.
///
/// # Errors
/// [`RebuildError`].
pub fn picture_at(pictures: &Path, n: u64) -> Result<Picture, RebuildError> {
    let files = pictures::files(pictures)?;
    let at = first_file(&files, n)?.ok_or(RebuildError::NoPicture(n))?;
    let mut picture = Picture::default();
    pictures::read(&files[at].path, &mut |_, entries| {
        for entry in entries {
            match entry {
                Entry::Keyframe(whole) => picture = whole,
                Entry::Change(number, change) if number <= n => picture.apply(number, &change),
                Entry::Change(..) => {}
            }
        }
        Ok(())
    })?;
    if picture.n == n { Ok(picture) } else { Err(RebuildError::NoPicture(n)) }
}

/// The newest file whose keyframe is not behind picture `n`.
fn first_file(files: &[pictures::PictureFile], n: u64) -> io::Result<Option<usize>> {
    for (at, file) in files.iter().enumerate().rev() {
        if pictures::first_n(&file.path)?.is_some_and(|first| first <= n) {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

/// The order in which a page's frames went out.
struct Wire {
    forces: Forces,
    orders: VecDeque<StreamNote>,
    /// Frames that wait until it is clear that none overtook them: only those behind the next order's `sent_to`.
    held: VecDeque<(u64, u64, Option<bytes::Bytes>)>,
    sent: BTreeSet<u64>,
}

impl Wire {
    fn new(page: &Page) -> Self {
        Self {
            forces: forces_of(&page.opened),
            orders: page.orders.clone(),
            held: VecDeque::new(),
            sent: BTreeSet::new(),
        }
    }

    fn change(
        &mut self,
        at_ms: u64,
        n: u64,
        change: &Change,
        each: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        self.held.push_back((at_ms, n, frame(n, change, &self.forces)));
        // An order is settled as soon as everything that it names is here.
        while let Some(order) = self.orders.front() {
            let needs = order.overtook.iter().copied().chain(order.lagged_to).max().unwrap_or_default();
            let sent_to = order.sent_to.unwrap_or_default();
            if self.held.back().is_some_and(|(_, newest, _)| *newest < needs) {
                return self.flush_to(sent_to, each);
            }
            self.flush_to(sent_to, each)?;
            let order = self.orders.pop_front().unwrap_or_default();
            self.leave_order(at_ms, &order, each)?;
        }
        self.flush_to(u64::MAX, each)
    }

    /// Sends what is held up to number `to`, in order, but for what has overtaken it.
    fn flush_to(&mut self, to: u64, each: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>) -> io::Result<()> {
        while let Some((at_ms, n, frame)) = self.held.pop_front() {
            if n > to {
                self.held.push_front((at_ms, n, frame));
                return Ok(());
            }
            if let Some(frame) = frame.filter(|_| !self.sent.remove(&n)) {
                each(at_ms, &frame)?;
            }
        }
        Ok(())
    }

    fn leave_order(
        &mut self,
        at_ms: u64,
        order: &StreamNote,
        each: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        for overtaking in &order.overtook {
            let found = self.held.iter().find(|(_, n, _)| n == overtaking);
            if let Some((_, n, Some(frame))) = found {
                each(at_ms, unnumbered(frame))?;
                self.sent.insert(*n);
            }
        }
        if let Some(lagged_to) = order.lagged_to {
            each(at_ms, &LAGGED)?;
            self.held.retain(|(_, n, _)| *n > lagged_to);
            self.sent.retain(|n| *n > lagged_to);
        }
        Ok(())
    }
}

struct Limited<'a> {
    out: &'a mut dyn Write,
    left: u64,
    written: u64,
}

impl Limited<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let take = usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
        self.out.write_all(&bytes[..take])?;
        self.left -= take as u64;
        self.written += take as u64;
        Ok(())
    }
}
