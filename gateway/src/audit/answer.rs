//! The questions that a data-protection officer asks: who saw this unit, or this officer, and what did this person see.
//!
//! An officer is the devices that they wore while they wore them ([`crate::people::worn`]): the record names devices.
//!
//! **What was shown is not told from what must have been shown, but read from the bytes that were sent**
//! ([`super::rebuild`]). Where the pictures are gone the look is named all the same, with what it can still prove.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::files::PURPOSE;
use super::line::{AccountNote, Line, ReadDigest};
use super::look::covers;
use super::rebuild::{Page, answer, walk};
use super::verify::{Verdict, verify};
use crate::live::unit::UnitId;
use crate::people::{Parts, Wearers, Worn};

/// Most versions of one unit in one look: above what ten minutes show.
const SHOWN_MAX: usize = 5_000;
/// Most looks in one answer; the rest is said to be missing.
const LOOKS_MAX: usize = 10_000;

/// A time from and until, Unix ms, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Span {
    /// From.
    pub from_ms: u64,
    /// Until.
    pub until_ms: u64,
}

/// Whom a question is about: a device, for a part of the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// The device.
    pub unit: UnitId,
    /// The part.
    pub span: Span,
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

enum Look {
    Answer(Box<Line>),
    Page(Box<Page>),
}

/// Who was shown `unit` in `span`, what exactly, and who wore it.
///
/// # Errors
/// A file cannot be read.
pub fn saw(place: Place<'_>, wearers: &Wearers, unit: &UnitId, span: Span) -> io::Result<Report> {
    let parts = wearers.parts_of(unit, span.from_ms, span.until_ms);
    saw_all(place, &[About { unit: unit.clone(), span }], parts, span)
}

/// Who was shown the devices that somebody wore in `span` while they wore them, as `parts` says, and what exactly.
///
/// # Errors
/// A file cannot be read.
pub fn saw_worn(place: Place<'_>, parts: Parts, span: Span) -> io::Result<Report> {
    let about = parts.worn.iter().map(|part| About {
        unit: part.unit.clone(),
        span: Span { from_ms: part.from_ms, until_ms: part.until_ms },
    });
    let about: Vec<About> = about.collect();
    saw_all(place, &about, parts, span)
}

fn saw_all(place: Place<'_>, about: &[About], parts: Parts, span: Span) -> io::Result<Report> {
    let is_about = |line: &Line| about.iter().any(|one| one.is_of(line));
    let (looks, is_cut, verification) = collect(place.access, span, &is_about)?;
    let mut seen = Vec::with_capacity(looks.len());
    for look in looks {
        let mut one = Seen::from(&look);
        let mut meant = about.iter().filter(|about| about.is_in(&look)).peekable();
        if meant.peek().is_none() {
            continue;
        }
        for about in meant {
            match shown_of(place, &look, &about.unit.to_string(), about.span) {
                Ok(shown) => one.shown.extend(shown),
                Err(error) => one.not_known = Some(error),
            }
        }
        seen.push(one);
    }
    let Parts { worn, is_cut: worn_is_cut } = parts;
    Ok(Report { purpose: PURPOSE, span, worn: Some(worn), worn_is_cut, looks: seen, is_cut, verification })
}

impl About {
    fn is_of(&self, line: &Line) -> bool {
        let unit = self.unit.to_string();
        line.subjects.iter().any(|pattern| covers(pattern, &unit))
    }

    /// Whether the look shows the device within its part of the time.
    fn is_in(&self, look: &Look) -> bool {
        let line = look.line();
        let until_ms = look.until_ms().unwrap_or(u64::MAX);
        line.at_ms <= self.span.until_ms && until_ms >= self.span.from_ms && self.is_of(line)
    }
}

/// What `operator` looked at in `span`.
///
/// # Errors
/// A file cannot be read.
pub fn looks(access: &Path, operator: &str, span: Span) -> io::Result<Report> {
    let is_theirs = |line: &Line| line.operator == operator;
    let (looks, is_cut, verification) = collect(access, span, &is_theirs)?;
    let looks = looks.iter().map(Seen::from).collect();
    Ok(Report { purpose: PURPOSE, span, worn: None, worn_is_cut: false, looks, is_cut, verification })
}

/// Looks that fall into `span`, live pages with their whole interval.
fn collect(
    access: &Path,
    span: Span,
    is_wanted: &dyn Fn(&Line) -> bool,
) -> io::Result<(Vec<Look>, bool, Verdict)> {
    let mut looks: BTreeMap<u64, Look> = BTreeMap::new();
    let mut open: BTreeMap<u64, Page> = BTreeMap::new();
    let mut is_cut = false;
    let verdict = verify(access, &[], &mut |line| {
        open.values_mut().for_each(|page| page.take(line));
        let ended: Vec<u64> =
            open.iter().filter(|(_, page)| page.until_ms().is_some()).map(|(n, _)| *n).collect();
        for n in ended {
            looks.extend(open.remove(&n).map(|page| (n, Look::Page(Box::new(page)))));
        }
        if is_wanted(line) && line.at_ms <= span.until_ms {
            match line.what.as_str() {
                "stream_opened" => _ = open.insert(line.n, Page::opened_by(line.clone())),
                "stream_closed" | "stream_order" => {}
                _ if line.at_ms >= span.from_ms => {
                    _ = looks.insert(line.n, Look::Answer(Box::new(line.clone())));
                }
                _ => {}
            }
        }
        looks.retain(|_, look| look.until_ms().is_none_or(|until_ms| until_ms >= span.from_ms));
        while looks.len() > LOOKS_MAX {
            is_cut = true;
            looks.pop_last();
        }
        Ok(())
    })?;
    looks.extend(open.into_iter().map(|(n, page)| (n, Look::Page(Box::new(page)))));
    Ok((looks.into_values().collect(), is_cut, verdict))
}

fn shown_of(place: Place<'_>, look: &Look, unit: &str, span: Span) -> Result<Vec<Shown>, String> {
    let mut sieve = Sieve::new(unit, span);
    match look {
        Look::Answer(line) if line.picture.is_some() => {
            let bytes = answer(line, place.pictures).map_err(|error| error.to_string())?;
            let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            sieve.rows("units", line.at_ms, &value["units"]);
            sieve.rows("alarm", line.at_ms, &value["alarms"]);
        }
        Look::Answer(line) if line.answer.is_some() => {
            return Err("the answer is known by its SHA-256: hold what the person has against it".to_owned());
        }
        Look::Answer(_) => {}
        Look::Page(page) => {
            walk(page, place.pictures, &mut |at_ms, bytes| {
                sieve.bytes(at_ms, bytes);
                if at_ms > span.until_ms { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
            })
            .map_err(|error| error.to_string())?;
        }
    }
    Ok(sieve.finish())
}

/// Picks one unit out of what was sent.
struct Sieve<'a> {
    unit: &'a str,
    /// How the unit begins in JSON: looked for before anything is parsed.
    marks: [Vec<u8>; 2],
    span: Span,
    held: Vec<u8>,
    before: BTreeMap<(&'static str, String), Shown>,
    shown: Vec<Shown>,
}

impl<'a> Sieve<'a> {
    fn new(unit: &'a str, span: Span) -> Self {
        let marks = [format!("\"id\":\"{unit}\"").into_bytes(), format!("\"unit\":\"{unit}\"").into_bytes()];
        Self { unit, marks, span, held: Vec::new(), before: BTreeMap::new(), shown: Vec::new() }
    }

    /// Takes bytes of a stream; an event ends with an empty line.
    fn bytes(&mut self, at_ms: u64, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
        if !self.held.ends_with(b"\n\n") {
            return;
        }
        let held = std::mem::take(&mut self.held);
        if !self.marks.iter().any(|mark| held.windows(mark.len()).any(|window| window == mark)) {
            return;
        }
        for event in String::from_utf8_lossy(&held).split("\n\n") {
            let Some((head, data)) = event.split_once("\ndata: ") else { continue };
            let value: Value = serde_json::from_str(data).unwrap_or_default();
            if head.ends_with("event: units") {
                self.rows("units", at_ms, &value);
            } else if head.ends_with("event: alarm") {
                self.row("alarm", at_ms, &value);
            }
        }
    }

    fn rows(&mut self, event: &'static str, at_ms: u64, rows: &Value) {
        rows.as_array().into_iter().flatten().for_each(|row| self.row(event, at_ms, row));
    }

    fn row(&mut self, event: &'static str, at_ms: u64, row: &Value) {
        let key = if event == "units" { "id" } else { "unit" };
        if row[key] != *self.unit || at_ms > self.span.until_ms {
            return;
        }
        let shown = Shown { at_ms, was_there: at_ms < self.span.from_ms, event, row: row.clone() };
        if shown.was_there {
            // Only the newest version of each was still on the screen.
            self.before.insert((event, row["id"].to_string()), shown);
        } else if self.shown.len() < SHOWN_MAX {
            self.shown.push(shown);
        }
    }

    fn finish(self) -> Vec<Shown> {
        self.before.into_values().chain(self.shown).collect()
    }
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
            reason: line.reason.clone(),
            account: line.account.clone(),
            answer: line.answer.clone(),
            shown: Vec::new(),
            not_known: None,
        }
    }
}
