//! The questions about disclosures: what was sent to whom, of which unit, and when.
//!
//! **Counted by record**: a record that was sent to a recipient twice is one disclosure and one repetition, whether or not
//! the lines say so.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::path::Path;

use serde::Serialize;

use super::answer::Span;
use super::files::PURPOSE;
use super::line::{DisclosureNote, Line};
use super::runs::Run;
use super::verify::{Verdict, verify};
use crate::live::unit::UnitId;
use crate::record;

/// Most disclosures in one answer; the rest is said to be missing.
const LISTED_MAX: usize = 10_000;
/// Lines whose keys a repetition may refer to: a day of one recipient that is down.
const REFERRED_MAX: usize = 20_000;

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
    /// There are more than are listed; they are counted all the same.
    pub is_cut: bool,
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
    let prefix =
        question.unit.as_ref().map(|unit| record::unit_key(unit.force.as_str(), unit.device.as_str()) + ".");
    let mut reading = Reading { question, prefix, referred: BTreeMap::new(), answer: Answer::default() };
    let verification = verify(dir, &[], &mut |line| {
        reading.line(line);
        Ok(())
    })?;
    let Answer { seen, disclosures, is_cut } = reading.answer;
    let records = seen.into_iter().map(|(to, keys)| (to, keys.len() as u64)).collect();
    Ok(Disclosures { purpose: PURPOSE, span: question.span, records, disclosures, is_cut, verification })
}

#[derive(Default)]
struct Answer {
    /// Hashes of keys: eight bytes a record instead of thirty.
    seen: BTreeMap<String, HashSet<u64>>,
    disclosures: Vec<Disclosed>,
    is_cut: bool,
}

struct Reading<'a> {
    question: &'a Question,
    /// How keys of the unit begin.
    prefix: Option<String>,
    /// Keys of lines that a repetition may refer to.
    referred: BTreeMap<u64, Vec<String>>,
    answer: Answer,
}

impl Reading<'_> {
    fn line(&mut self, line: &Line) {
        let Some(said) = &line.disclosure else { return };
        if self.question.to.as_ref().is_some_and(|to| *to != said.to) {
            return;
        }
        let keys: Vec<String> = match said.of {
            Some(of) => self.referred.get(&of).cloned().unwrap_or_default(),
            None => said.keys.iter().filter_map(|run| self.about(run)).collect(),
        };
        if said.of.is_none() {
            self.referred.insert(line.n, keys.clone());
            while self.referred.len() > REFERRED_MAX {
                self.referred.pop_first();
            }
        }
        let span = self.question.span;
        if keys.is_empty() || !(span.from_ms..=span.until_ms).contains(&line.at_ms) {
            return;
        }
        self.answer.take(line, said, keys);
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
    fn take(&mut self, line: &Line, said: &DisclosureNote, keys: Vec<String>) {
        let seen = self.seen.entry(said.to.clone()).or_default();
        seen.extend(keys.iter().flat_map(|run| Run::parse(run).keys()).map(|key| hash(&key)));
        if self.disclosures.len() >= LISTED_MAX {
            self.is_cut = true;
            return;
        }
        let count = keys.iter().map(|run| Run::parse(run).count()).sum();
        self.disclosures.push(Disclosed {
            n: line.n,
            at_ms: line.at_ms,
            is_again: line.what == "records_disclosed_again",
            what: DisclosureNote { keys, count, ..said.clone() },
        });
    }
}

fn hash(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}
