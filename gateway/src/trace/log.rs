//! What the disclosure log says of one record, and where it can say nothing.
//!
//! **What is not on the log was not sent, if the log is whole**: where it was cut by age, is damaged, or is not asked, that a record is
//! not on it says nothing, and so does the trace.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::{Disclosures, Sent};
use crate::audit::Series;
use crate::audit::answer::Span;
use crate::audit::disclosed::{self, Question, disclosed};

/// What the log says of one record.
pub(super) struct Log {
    /// By recipient.
    sent: BTreeMap<String, Sent>,
    /// Why what is not in `sent` may have been sent all the same.
    hole: Option<&'static str>,
}

/// What the log says of one record and one recipient.
pub(super) enum Told {
    /// It was sent, or was about to be.
    Sent(Sent),
    /// It never was.
    NotSent,
    /// The log does not say, and why.
    NotKnown(&'static str),
}

impl Log {
    /// What may be known of the record `key`, which the gateway received then.
    pub(super) fn about(
        data_dir: &Path,
        disclosures: Disclosures,
        key: String,
        received_at_ms: u64,
    ) -> io::Result<Self> {
        let silent = |why| Ok(Self { sent: BTreeMap::new(), hole: Some(why) });
        if disclosures == Disclosures::LeftAlone {
            return silent("the disclosure log knows, which is not asked here");
        }
        let dir = data_dir.join(Series::Disclosures.name());
        if !dir.is_dir() {
            return silent("there is no disclosure log");
        }
        let span = Span { from_ms: 0, until_ms: u64::MAX };
        let answer = disclosed(&dir, &Question { to: None, unit: None, key: Some(key), span })?;
        Ok(Self { sent: sent(&answer), hole: hole(&answer, received_at_ms) }.at_least())
    }

    /// Of the recipient `name`. Asked once for each.
    pub(super) fn take(&mut self, name: &str) -> Told {
        match (self.sent.remove(name), self.hole) {
            (Some(sent), _) => Told::Sent(sent),
            (None, Some(why)) => Told::NotKnown(why),
            (None, None) => Told::NotSent,
        }
    }

    /// Recipients that were not asked for.
    pub(super) fn others(self) -> impl Iterator<Item = (String, Sent)> {
        self.sent.into_iter()
    }

    /// Where there is a hole, what is known is not all.
    fn at_least(mut self) -> Self {
        if self.hole.is_some() {
            self.sent.values_mut().for_each(|sent| sent.is_at_least = true);
        }
        self
    }
}

fn sent(answer: &disclosed::Disclosures) -> BTreeMap<String, Sent> {
    let mut sent: BTreeMap<String, Sent> = BTreeMap::new();
    for line in &answer.disclosures {
        let at_ms = line.at_ms;
        let first = Sent { first_at_ms: at_ms, last_at_ms: at_ms, count: 0, is_at_least: false };
        let sent = sent.entry(line.what.to.clone()).or_insert(first);
        sent.last_at_ms = at_ms;
        sent.count += 1;
    }
    sent
}

fn hole(answer: &disclosed::Disclosures, received_at_ms: u64) -> Option<&'static str> {
    let log = &answer.verification;
    let is_before = answer.begins_at_ms.is_none_or(|begins_at_ms| received_at_ms < begins_at_ms);
    if log.broken.is_some() {
        Some("the disclosure log is damaged: `fieldpost audit verify` says where")
    } else if log.cut.is_some() && is_before {
        Some("the disclosure log of that time was removed, by age")
    } else if answer.is_cut {
        Some("the disclosure log names it more often than can be told")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::verify::{Broken, Cut, Verdict};

    const RECEIVED_MS: u64 = 1_000;

    fn answer(begins_at_ms: Option<u64>, is_cut: bool, verification: Verdict) -> disclosed::Disclosures {
        disclosed::Disclosures {
            purpose: "",
            span: Span { from_ms: 0, until_ms: u64::MAX },
            records: BTreeMap::new(),
            disclosures: Vec::new(),
            is_cut,
            is_at_least: false,
            begins_at_ms,
            verification,
        }
    }

    #[test]
    fn that_a_whole_log_does_not_name_a_record_says_something_and_that_another_does_not_says_nothing() {
        let cut = || Verdict {
            cut: Some(Cut { n: 7, hash: String::new(), said_by: Some(9) }),
            ..Verdict::default()
        };
        let broken = Broken { file: String::new(), line: 1, what: String::new() };
        let broken = Verdict { broken: Some(broken), ..Verdict::default() };
        let said = |answer| {
            let mut log = Log { sent: sent(&answer), hole: hole(&answer, RECEIVED_MS) };
            matches!(log.take("cad"), Told::NotSent)
        };
        assert!(said(answer(None, false, Verdict::default())), "nothing was ever sent");
        assert!(said(answer(Some(5_000), false, Verdict::default())), "whole from its first line");
        assert!(said(answer(Some(RECEIVED_MS), false, cut())), "cut before the record came");
        assert!(!said(answer(Some(RECEIVED_MS + 1), false, cut())), "cut after it");
        assert!(!said(answer(None, false, cut())), "nothing is left");
        assert!(!said(answer(Some(0), true, Verdict::default())), "more than can be told");
        assert!(!said(answer(Some(0), false, broken)), "damaged");
    }
}
