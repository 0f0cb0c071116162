//! The questions about disclosures: what was sent to whom, of which unit, and when.
//!
//! **Counted by record**: a record that was sent to a recipient twice is one disclosure and one repetition, whether or not
//! the lines say so.
//!
//! **Whatever the log holds, a question takes no more memory than [`Bounds`]**, and an answer that met one says so.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::path::Path;
use std::rc::Rc;

use serde::Serialize;

use super::answer::Span;
use super::files::PURPOSE;
use super::line::{DisclosureNote, Line};
use super::runs::Run;
use super::verify::{Verdict, verify};
use crate::live::unit::UnitId;
use crate::record;

/// What a text costs beside its bytes: its place in a list, and what the allocator adds.
const TEXT_BYTES: usize = 48;
/// What a line costs beside its texts.
const LINE_BYTES: usize = 256;

/// What a question may take.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// Most disclosures in one answer; the rest is said to be missing.
    listed_count: usize,
    /// Bytes of them.
    listed_bytes: usize,
    /// Bytes of the keys that a repetition may refer to. Who was referred to last stays longest.
    referred_bytes: usize,
    /// Records that are told apart, at 9 to 18 bytes each.
    seen_count: usize,
}

impl Bounds {
    /// 6 million: an hour of 1,600 records a second. 64 MiB of keys: 20 minutes of them; of one unit, any time.
    const USUAL: Self = Self {
        listed_count: 10_000,
        listed_bytes: 32 * 1024 * 1024,
        referred_bytes: 64 * 1024 * 1024,
        seen_count: 6_000_000,
    };
}

/// What is asked.
#[derive(Debug, Clone)]
pub struct Question {
    /// Sent to this output; to any if none.
    pub to: Option<String>,
    /// Of this unit; of any if none.
    pub unit: Option<UnitId>,
    /// Of this record alone, by its key; of any if none.
    pub key: Option<String>,
    /// In this time.
    pub span: Span,
}

/// What was disclosed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Disclosures {
    /// What it may be used for.
    pub purpose: &'static str,
    /// The time asked about.
    #[serde(flatten)]
    pub span: Span,
    /// Different records, by recipient: within the time asked about.
    pub records: BTreeMap<String, u64>,
    /// Every line that is about them, in order.
    pub disclosures: Vec<Disclosed>,
    /// There are more than are listed.
    pub is_cut: bool,
    /// What is counted is a lower bound: there are more records than can be told apart, or lines that repeat one that is not known
    /// any more. Then the answer is cut as well.
    pub is_at_least: bool,
    /// When the first line that is there was written, Unix ms: what was sent before is not known if the log was cut.
    #[serde(skip)]
    pub begins_at_ms: Option<u64>,
    /// What the log is worth.
    pub verification: Verdict,
}

/// One line: these records went to a recipient then.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Disclosed {
    /// The line's number.
    pub n: u64,
    /// When, Unix ms.
    pub at_ms: u64,
    /// The line says that they had been sent to it before.
    pub is_again: bool,
    /// To whom, how and what of them. Only keys that were asked about; `count` is theirs.
    #[serde(flatten)]
    pub what: DisclosureNote,
}

/// Answers from the disclosure log in `dir`.
///
/// # Errors
/// A file cannot be read.
pub fn disclosed(dir: &Path, question: &Question) -> io::Result<Disclosures> {
    within(Bounds::USUAL, dir, question)
}

fn within(bounds: Bounds, dir: &Path, question: &Question) -> io::Result<Disclosures> {
    let prefix =
        question.unit.as_ref().map(|unit| record::unit_key(unit.force.as_str(), unit.device.as_str()) + ".");
    let referred = Referred { bytes_max: bounds.referred_bytes, ..Referred::default() };
    let mut reading = Reading { question, prefix, referred, begins_at_ms: None, answer: Answer::new(bounds) };
    let verification = verify(dir, &[], &mut |line| {
        reading.line(line);
        Ok(())
    })?;
    let begins_at_ms = reading.begins_at_ms;
    let Answer { seen, disclosures, is_cut, is_at_least, .. } = reading.answer;
    let records = seen.into_iter().map(|(to, keys)| (to, keys.len() as u64)).collect();
    Ok(Disclosures {
        purpose: PURPOSE,
        span: question.span,
        records,
        disclosures,
        is_cut: is_cut || is_at_least,
        is_at_least,
        begins_at_ms,
        verification,
    })
}

struct Answer {
    bounds: Bounds,
    /// Hashes of keys: eight bytes a record instead of thirty.
    seen: BTreeMap<String, HashSet<u64>>,
    seen_count: usize,
    disclosures: Vec<Disclosed>,
    listed_bytes: usize,
    is_cut: bool,
    is_at_least: bool,
}

/// Keys that were asked about, of lines that a repetition may refer to.
#[derive(Default)]
struct Referred {
    bytes_max: usize,
    bytes: usize,
    /// By line, with the line that named it last.
    lines: BTreeMap<u64, (u64, Rc<[String]>)>,
    /// Lines by the line that named them last.
    by_use: BTreeMap<u64, u64>,
    /// What lines up to this one said is not known unless it is here.
    forgotten_to: Option<u64>,
}

impl Referred {
    fn insert(&mut self, n: u64, keys: Rc<[String]>) {
        self.bytes += bytes_of(&keys);
        self.lines.insert(n, (n, keys));
        self.by_use.insert(n, n);
        while self.bytes > self.bytes_max
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            if let Some((_, keys)) = self.lines.remove(&oldest) {
                self.bytes -= bytes_of(&keys);
            }
            self.forgotten_to = self.forgotten_to.max(Some(oldest));
        }
    }

    /// The keys of line `of`, which line `n` repeats: none if it was about others; `None` if it is not known.
    fn of(&mut self, of: u64, n: u64) -> Option<Rc<[String]>> {
        let Some((used, keys)) = self.lines.get_mut(&of) else {
            return (Some(of) > self.forgotten_to).then(|| Rc::from([]));
        };
        self.by_use.remove(used);
        *used = n;
        self.by_use.insert(n, of);
        Some(Rc::clone(keys))
    }
}

fn bytes_of(keys: &[String]) -> usize {
    LINE_BYTES + keys.iter().map(|key| TEXT_BYTES + key.len()).sum::<usize>()
}

struct Reading<'a> {
    question: &'a Question,
    /// How keys of the unit begin.
    prefix: Option<String>,
    referred: Referred,
    begins_at_ms: Option<u64>,
    answer: Answer,
}

impl Reading<'_> {
    fn line(&mut self, line: &Line) {
        self.begins_at_ms.get_or_insert(line.at_ms);
        // Older files were taken away: what they said is not known.
        self.referred.forgotten_to.get_or_insert(line.n.saturating_sub(1));
        let Some(said) = &line.disclosure else { return };
        if self.question.to.as_ref().is_some_and(|to| *to != said.to) {
            return;
        }
        let span = self.question.span;
        let is_asked = (span.from_ms..=span.until_ms).contains(&line.at_ms);
        let keys: Rc<[String]> = match said.of {
            Some(of) => {
                let Some(keys) = self.referred.of(of, line.n) else {
                    self.answer.is_at_least |= is_asked;
                    return;
                };
                keys
            }
            None => said.keys.iter().filter_map(|run| self.about(run)).collect(),
        };
        if keys.is_empty() {
            return;
        }
        if said.of.is_none() {
            self.referred.insert(line.n, Rc::clone(&keys));
        }
        if is_asked {
            self.answer.take(line, said, &keys);
        }
    }

    /// What of the run is asked about.
    fn about(&self, run: &str) -> Option<String> {
        let parsed = Run::parse(run);
        match (&self.question.key, &self.prefix) {
            (Some(key), _) => parsed.has(key).then(|| key.clone()),
            (None, Some(prefix)) => parsed.is_of(prefix).then(|| run.to_owned()),
            (None, None) => Some(run.to_owned()),
        }
    }
}

impl Answer {
    fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            seen: BTreeMap::new(),
            seen_count: 0,
            disclosures: Vec::new(),
            listed_bytes: 0,
            is_cut: false,
            is_at_least: false,
        }
    }

    fn take(&mut self, line: &Line, said: &DisclosureNote, keys: &[String]) {
        self.count(&said.to, keys);
        let others = [&said.to, &said.kind, &said.address, &said.marking].into_iter().chain(&said.fields);
        let bytes = bytes_of(keys) + others.map(|text| TEXT_BYTES + text.len()).sum::<usize>();
        // Once cut, always: what is listed has no hole.
        self.is_cut |= self.disclosures.len() >= self.bounds.listed_count
            || self.listed_bytes + bytes > self.bounds.listed_bytes;
        if self.is_cut {
            return;
        }
        self.listed_bytes += bytes;
        let count = keys.iter().map(|run| Run::parse(run).count()).sum();
        self.disclosures.push(Disclosed {
            n: line.n,
            at_ms: line.at_ms,
            is_again: line.what == "records_disclosed_again",
            what: DisclosureNote {
                to: said.to.clone(),
                kind: said.kind.clone(),
                address: said.address.clone(),
                count,
                keys: keys.to_vec(),
                of: said.of,
                fields: said.fields.clone(),
                precision_m: said.precision_m,
                marking: said.marking.clone(),
            },
        });
    }

    fn count(&mut self, to: &str, keys: &[String]) {
        if !self.seen.contains_key(to) {
            self.seen.insert(to.to_owned(), HashSet::new());
        }
        let seen = self.seen.get_mut(to).expect("it was put there above");
        for key in keys.iter().flat_map(|run| Run::parse(run).keys()).map(|key| hash(&key)) {
            if self.seen_count < self.bounds.seen_count {
                self.seen_count += usize::from(seen.insert(key));
            } else if !seen.contains(&key) {
                self.is_at_least = true;
                return;
            }
        }
    }
}

fn hash(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::files::{AccessFiles, Journal as _};
    use crate::audit::line::Note;
    use crate::audit::look::What;
    use crate::audit::series::Series;

    const EVERYTHING: Question =
        Question { to: None, unit: None, key: None, span: Span { from_ms: 0, until_ms: u64::MAX } };

    fn first(lines: u64) -> DisclosureNote {
        let keys = vec![format!("sim.a.1.{}..{}", lines * 100, lines * 100 + 99)];
        DisclosureNote { to: "cad".to_owned(), keys, count: 100, ..DisclosureNote::default() }
    }

    /// Forty lines of 100 records each at 0 to 39 ms, then the first of them again at 1,000 ms. The first is line 2.
    fn log() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let mut files = AccessFiles::of(Series::Disclosures, dir.path());
        let firsts = (0..40).map(|n| (n, What::RecordsDisclosed, first(n)));
        let again = DisclosureNote { keys: Vec::new(), of: Some(2), ..first(0) };
        let notes = firsts.chain([(1_000, What::RecordsDisclosedAgain, again)]);
        let notes =
            notes.map(|(at_ms, what, said)| Note { disclosure: Some(said), ..Note::own(at_ms, what) });
        files.append(&notes.collect::<Vec<_>>()).unwrap();
        dir
    }

    fn asked(bounds: Bounds, question: &Question) -> Disclosures {
        let dir = log();
        let answer = within(bounds, &dir.path().join(Series::Disclosures.name()), question).unwrap();
        assert_eq!(answer.verification.broken, None);
        answer
    }

    #[test]
    fn within_the_bounds_everything_is_listed_and_counted() {
        let answer = asked(Bounds::USUAL, &EVERYTHING);
        assert_eq!((answer.disclosures.len(), answer.records["cad"]), (41, 4_000));
        assert_eq!((answer.is_cut, answer.is_at_least), (false, false));
        assert_eq!(answer.disclosures[40].what.keys, ["sim.a.1.0..99"], "what the line repeats");
    }

    #[test]
    fn an_answer_that_is_too_large_is_cut_without_a_hole_and_counts_on() {
        let answer = asked(Bounds { listed_bytes: 5_000, ..Bounds::USUAL }, &EVERYTHING);
        let listed: Vec<_> = answer.disclosures.iter().map(|one| one.n).collect();
        assert_eq!(listed, (2..2 + listed.len() as u64).collect::<Vec<_>>());
        let bytes: usize = answer.disclosures.iter().map(|one| serde_json::to_vec(one).unwrap().len()).sum();
        assert!((1_000..5_000).contains(&bytes), "{bytes}");
        assert_eq!((answer.is_cut, answer.is_at_least, answer.records["cad"]), (true, false, 4_000));
    }

    #[test]
    fn more_records_than_can_be_told_apart_are_said_to_be_at_least_so_many() {
        let answer = asked(Bounds { seen_count: 1_050, ..Bounds::USUAL }, &EVERYTHING);
        assert_eq!((answer.records["cad"], answer.is_cut, answer.is_at_least), (1_050, true, true));
        assert_eq!(answer.disclosures.len(), 41);
    }

    #[test]
    fn a_repetition_of_a_line_that_is_forgotten_is_said_to_be_missing() {
        let bounds = Bounds { referred_bytes: 10 * (LINE_BYTES + TEXT_BYTES + 32), ..Bounds::USUAL };
        let answer = asked(bounds, &EVERYTHING);
        assert_eq!((answer.disclosures.len(), answer.is_cut, answer.is_at_least), (40, true, true));
        let span = Span { from_ms: 0, until_ms: 999 };
        let before = asked(bounds, &Question { span, ..EVERYTHING });
        assert_eq!((before.disclosures.len(), before.is_cut), (40, false), "it is not in that time");
        // Lines about others take no room: the one that is asked about is known to the end.
        let key = Some("sim.a.1.7".to_owned());
        let one = asked(bounds, &Question { key, ..EVERYTHING });
        assert_eq!((one.disclosures.len(), one.is_cut), (2, false));
        let key = Some("sim.a.1.107".to_owned());
        let other = asked(bounds, &Question { key, ..EVERYTHING });
        assert_eq!((other.disclosures.len(), other.is_cut), (1, false), "the repetition is not about it");
    }

    #[test]
    fn who_is_referred_to_again_and_again_is_forgotten_last() {
        let keys: Rc<[String]> = Rc::from(["sim.a.1.1".to_owned()]);
        let mut referred = Referred { bytes_max: 5 * bytes_of(&keys), ..Referred::default() };
        referred.forgotten_to = Some(0);
        for n in 1..1_000u64 {
            if n % 2 == 1 {
                referred.insert(n, Rc::clone(&keys));
            } else {
                assert_eq!(referred.of(1, n).as_deref(), Some(&*keys), "{n}");
            }
        }
        assert_eq!(referred.of(3, 1_000), None);
        assert!(referred.bytes <= referred.bytes_max && referred.lines.len() == referred.by_use.len());
    }
}
