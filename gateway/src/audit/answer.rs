//! The questions that a data-protection officer asks: who saw this unit, or this officer, and what did this person see.
//!
//! An officer is the devices that they wore while they wore them ([`crate::people::worn`]): the record names devices. **A look at the past
//! is about whoever wore the device at the time that was looked at** (`of`), whenever it happened; a look at the present about whoever wore it
//! during the look. A line of an earlier version does not say which past it is about: it counts by its own time.
//!
//! **What was shown is not told from what must have been shown, but read from the bytes that were sent**
//! ([`super::rebuild`]). Where the pictures are gone the look is named all the same, with what it can still prove.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::files::PURPOSE;
use super::line::{AccountNote, Line, ReadDigest};
pub use super::look::Span;
use super::look::covers;
use super::rebuild::{Page, answer, walk};
use super::sieve::{Sieve, Sifted};
use super::verify::{Verdict, verify};
use crate::live::unit::UnitId;
use crate::people::assignments::ASSIGNMENTS_FILE;
use crate::people::{Parts, Wearers, Worn};

/// Most looks in one answer; the rest is said to be missing.
const LOOKS_MAX: usize = 10_000;

/// Whom a question is about: a device, for a part of the time.
struct About {
    /// `force/device`.
    unit: String,
    /// The part.
    span: Span,
    /// The question is about the device, not about who wore it: a look in the part counts, whatever past it was about.
    is_of_device: bool,
}

/// An answer out of the access record.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// What it may be used for.
    pub purpose: &'static str,
    /// The time asked about.
    #[serde(flatten)]
    pub span: Span,
    /// Who wore which of the devices when; nothing if the question is about no device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worn: Option<Vec<Worn>>,
    /// More is known of who wore what than `worn` says: ask for a shorter time, or a later one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub worn_is_cut: bool,
    /// Every look, in the order in which they began.
    pub looks: Vec<Seen>,
    /// There are more than are listed.
    pub is_cut: bool,
    /// What the record is worth.
    pub verification: Verdict,
}

/// One look.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Seen {
    /// The record's number.
    pub n: u64,
    /// Who.
    pub operator: String,
    /// Which of their sessions.
    pub session: String,
    /// From which address.
    pub from: String,
    /// What they did.
    pub what: String,
    /// When, Unix ms.
    pub at_ms: u64,
    /// When a live page ended; nothing while it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
    /// A live page whose end is the next start of the gateway: it was killed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_cut_off: bool,
    /// Whose.
    pub subjects: Vec<String>,
    /// Which fields.
    pub fields: Vec<String>,
    /// How exact.
    pub precision: String,
    /// Which past time they asked about; nothing if they were shown the present.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<Span>,
    /// Why, if they said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What they did to which account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountNote>,
    /// Which bytes they were given, if it was one answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<ReadDigest>,
    /// What exactly they were shown of the unit that was asked about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shown: Vec<Shown>,
    /// It was shown more versions than are listed, later ones: ask for a shorter time.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shown_is_cut: bool,
    /// Why that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_known: Option<String>,
}

/// One version of a unit or of its alarm on somebody's screen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shown {
    /// From when on, Unix ms.
    pub at_ms: u64,
    /// It was on the screen when the time asked about began.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub was_there: bool,
    /// `units` or `alarm`.
    pub event: &'static str,
    /// As the page was sent it.
    pub row: Value,
}

/// Where the record is.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The access record's directory.
    pub access: &'a Path,
    /// The picture journal's.
    pub pictures: &'a Path,
}

impl Place<'_> {
    /// Who wore what: beside the access record, in the data directory as in a copy.
    #[must_use]
    pub fn assignments(&self) -> PathBuf {
        self.access.with_file_name(ASSIGNMENTS_FILE)
    }
}

enum Look {
    Answer(Box<Line>),
    Page(Box<Page>),
}

/// Who was shown `unit` in `span` or, whenever it was, as it was in `span`; what exactly, and who wore it.
///
/// # Errors
/// A file cannot be read.
pub fn saw(place: Place<'_>, wearers: &Wearers, unit: &UnitId, span: Span) -> io::Result<Report> {
    let parts = wearers.parts_of(unit, span.from_ms, span.until_ms);
    saw_all(place, &[About { unit: unit.to_string(), span, is_of_device: true }], parts, span)
}

/// Who was shown the devices that somebody wore in `span` as they were while they wore them, as `parts` says, and what exactly.
///
/// # Errors
/// A file cannot be read.
pub fn saw_worn(place: Place<'_>, parts: Parts, span: Span) -> io::Result<Report> {
    let about = parts.worn.iter().map(|part| About {
        unit: part.unit.to_string(),
        span: Span { from_ms: part.from_ms, until_ms: part.until_ms },
        is_of_device: false,
    });
    let about: Vec<About> = about.collect();
    saw_all(place, &about, parts, span)
}

fn saw_all(place: Place<'_>, about: &[About], parts: Parts, span: Span) -> io::Result<Report> {
    let is_about = |line: &Line, until_ms| about.iter().any(|one| one.is_in(line, until_ms));
    let (looks, is_cut, verification) = collect(place.access, &is_about)?;
    let mut seen = Vec::with_capacity(looks.len());
    for look in looks {
        let until_ms = look.until_ms().unwrap_or(u64::MAX);
        let meant = about.iter().filter(|about| about.is_in(look.line(), until_ms));
        let (Sifted { shown, is_cut }, not_known) = shown_of(place, &look, meant);
        seen.push(Seen { shown, shown_is_cut: is_cut, not_known, ..Seen::from(&look) });
    }
    let Parts { worn, is_cut: worn_is_cut } = parts;
    Ok(Report { purpose: PURPOSE, span, worn: Some(worn), worn_is_cut, looks: seen, is_cut, verification })
}

impl About {
    /// Whether the look that `line` began, and that lasted until `until_ms`, shows the device within its part of the time.
    fn is_in(&self, line: &Line, until_ms: u64) -> bool {
        let look = Span { from_ms: line.at_ms, until_ms };
        let is_then = match line.of {
            Some(of) => of.meets(self.span) || (self.is_of_device && look.meets(self.span)),
            None => look.meets(self.span),
        };
        is_then && line.subjects.iter().any(|pattern| covers(pattern, &self.unit))
    }
}

/// What `operator` looked at in `span`.
///
/// # Errors
/// A file cannot be read.
pub fn looks(access: &Path, operator: &str, span: Span) -> io::Result<Report> {
    let is_theirs = |line: &Line, until_ms| {
        line.operator == operator && Span { from_ms: line.at_ms, until_ms }.meets(span)
    };
    let (looks, is_cut, verification) = collect(access, &is_theirs)?;
    let looks = looks.iter().map(Seen::from).collect();
    Ok(Report { purpose: PURPOSE, span, worn: None, worn_is_cut: false, looks, is_cut, verification })
}

/// Looks of which `is_wanted` says so: it is given the line that began one, and until when it lasted, Unix ms.
fn collect(access: &Path, is_wanted: &dyn Fn(&Line, u64) -> bool) -> io::Result<(Vec<Look>, bool, Verdict)> {
    let mut looks: BTreeMap<u64, Look> = BTreeMap::new();
    let mut open: BTreeMap<u64, Page> = BTreeMap::new();
    let mut is_cut = false;
    let verdict = verify(access, &[], &mut |line| {
        open.values_mut().for_each(|page| page.take(line));
        for (n, page) in open.extract_if(.., |_, page| page.until_ms().is_some()) {
            if is_wanted(&page.opened, page.until_ms().unwrap_or(u64::MAX)) {
                looks.insert(n, Look::Page(Box::new(page)));
            }
        }
        match line.what.as_str() {
            "stream_closed" | "stream_order" => {}
            "stream_opened" if is_wanted(line, u64::MAX) => {
                open.insert(line.n, Page::opened_by(line.clone()));
            }
            "stream_opened" => {}
            _ if is_wanted(line, line.at_ms) => {
                looks.insert(line.n, Look::Answer(Box::new(line.clone())));
            }
            _ => {}
        }
        while looks.len() > LOOKS_MAX {
            is_cut = true;
            looks.pop_last();
        }
        Ok(())
    })?;
    looks.extend(open.into_iter().map(|(n, page)| (n, Look::Page(Box::new(page)))));
    Ok((looks.into_values().collect(), is_cut, verdict))
}

/// What the look showed of those whom it is `about`, in one walk; and why not more is known.
fn shown_of<'a>(
    place: Place<'_>,
    look: &Look,
    about: impl Iterator<Item = &'a About>,
) -> (Sifted, Option<String>) {
    let mut sieve = Sieve::new(about.map(|about| (about.unit.as_str(), about.span)));
    let read = match look {
        Look::Answer(line) if line.picture.is_some() => answer(line, place.pictures).map(|bytes| {
            let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            sieve.rows("units", line.at_ms, &value["units"]);
            sieve.rows("alarm", line.at_ms, &value["alarms"]);
        }),
        Look::Answer(line) if line.answer.is_some() => {
            let words = "the answer is known by its SHA-256: hold what the person has against it";
            return (Sifted::default(), Some(words.to_owned()));
        }
        Look::Answer(_) => Ok(()),
        Look::Page(page) => walk(page, place.pictures, &mut |at_ms, bytes| {
            sieve.bytes(at_ms, bytes);
            if at_ms > sieve.until_ms() { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
        }),
    };
    (sieve.finish(), read.err().map(|error| error.to_string()))
}

impl Look {
    /// The line that began it.
    fn line(&self) -> &Line {
        match self {
            Self::Answer(line) => line,
            Self::Page(page) => &page.opened,
        }
    }

    fn until_ms(&self) -> Option<u64> {
        match self {
            Self::Answer(line) => Some(line.at_ms),
            Self::Page(page) => page.until_ms(),
        }
    }
}

impl From<&Look> for Seen {
    fn from(look: &Look) -> Self {
        let line = look.line();
        let page = match look {
            Look::Answer(_) => None,
            Look::Page(page) => Some(page.as_ref()),
        };
        Self {
            n: line.n,
            operator: line.operator.clone(),
            session: line.session.clone(),
            from: line.from.clone(),
            what: line.what.clone(),
            at_ms: line.at_ms,
            until_ms: page.and_then(Page::until_ms),
            is_cut_off: page.is_some_and(|page| page.closed.is_none() && page.cut_off_ms.is_some()),
            subjects: line.subjects.clone(),
            fields: line.fields.clone(),
            precision: line.precision.clone(),
            of: line.of,
            reason: line.reason.clone(),
            account: line.account.clone(),
            answer: line.answer.clone(),
            shown: Vec::new(),
            shown_is_cut: false,
            not_known: None,
        }
    }
}
