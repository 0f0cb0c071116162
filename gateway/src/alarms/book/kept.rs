//! What a snapshot keeps of a book, and the book that comes back of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::alarm::{Alarm, Owed};
use super::super::clock::Time;
use super::super::figures::Figures;
use super::super::rules::Rules;
use super::super::signals::SignalMap;
use super::super::verdict::Verdict;
use super::Book;
use crate::sabotage::{self, Sabotage};
use crate::spool::Lsn;

/// What a snapshot keeps of a book.
#[derive(Debug, Default)]
pub struct Kept {
    /// What is shown.
    pub alarms: Vec<Alarm>,
    /// What waits for room.
    pub waiting: Vec<Alarm>,
    /// What people closed, oldest first.
    pub closed: Vec<Alarm>,
    /// Receipts of alarms that have left.
    pub owed: BTreeSet<Owed>,
    /// Records up to here are in it.
    pub folded: Lsn,
    /// What is left of others.
    pub figures: Figures,
    /// The rules in force; `None`: the built-in ones.
    pub rules: Option<Arc<Rules>>,
    /// Time by the records.
    pub time: Time,
    /// What units did lately.
    pub signals: SignalMap,
    /// Verdicts that no record says yet.
    pub unsaid: Vec<Verdict>,
}

impl Book {
    /// A book as a snapshot left it.
    #[must_use]
    pub fn restored(kept: Kept) -> Self {
        let Kept { alarms, waiting, closed, owed, folded, figures, rules, time, signals, unsaid } = kept;
        let mut newest: Vec<_> =
            alarms.iter().map(|alarm| (alarm.received_at_ms, alarm.id.clone())).collect();
        newest.sort_unstable();
        let owes = |alarm: &&Alarm| alarm.receipts_owed().next().is_some();
        let owing = alarms.iter().chain(&waiting).filter(owes).map(|alarm| alarm.id.clone()).collect();
        let changed = alarms.iter().map(|alarm| alarm.id.clone()).collect();
        let by_id = |alarms: Vec<Alarm>| alarms.into_iter().map(|alarm| (alarm.id.clone(), alarm)).collect();
        let open_count = alarms.iter().filter(|alarm| alarm.owner.is_none()).count();
        let (alarms, waiting, closed) = (by_id(alarms), by_id(waiting), closed.into());
        let mut book = Self {
            alarms,
            open_count,
            waiting,
            folded,
            changed,
            owed,
            owing,
            closed,
            figures,
            rules: rules.unwrap_or_else(Rules::built_in),
            signals,
            time,
            unsaid: unsaid.into_iter().collect(),
            ..Self::default()
        };
        newest.iter().for_each(|(_, id)| book.note_recent(id));
        book.show_waiting();
        if sabotage::is(Sabotage::ForgetOwed) {
            book.owing.clear();
            book.owed.clear();
        }
        book
    }
}
