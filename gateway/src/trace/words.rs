//! A trace in words, for a person: one hop a line, its time first.

use std::fmt;

use super::{Output, OutputState, Receipt, Sent, Stored, Trace};
use crate::ledger::Fate;

/// What stands in the place of a time, and as wide as one.
const NOT_KEPT: &str = "time not kept           ";
const NOT_YET: &str = "not yet                 ";
const NEVER: &str = "never                   ";
const NOT_KNOWN: &str = "not known               ";

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.map_or("never heard of", Fate::as_str);
        writeln!(f, "{} boot {} sequence {}: {state}", self.unit, self.boot, self.seq)?;
        if self.entries.is_empty() {
            let (at, why) = why_nothing(self.state);
            writeln!(f, "  {at}  {why}")?;
        }
        self.entries.iter().try_for_each(|entry| hops(entry, f))?;
        self.receipts.iter().try_for_each(|receipt| told(receipt, f))
    }
}

fn hops(entry: &Stored, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Stored { lsn, key, class, mode, lane, .. } = entry;
    if let Some(at_ms) = entry.device_time_ms {
        writeln!(f, "  {}  made, by the device's clock: {class}, {mode}", time(at_ms))?;
    }
    writeln!(f, "  {}  received on the lane {lane}, as {key}", time(entry.received_at_ms))?;
    let place = if entry.is_archived { ", now in the archive" } else { "" };
    let stored_at = entry.stored_at_ms.map_or_else(|| NOT_KEPT.to_owned(), time);
    writeln!(f, "  {stored_at}  STORED as {lsn}{place}")?;
    if let Some(reason) = entry.quarantine {
        writeln!(f, "  {stored_at}  in quarantine: {reason}")?;
    }
    for reader in ["live", "ledger", "history"] {
        let has = entry.read_by.contains(&reader);
        let (at, has) = if has { (NOT_KEPT, "has it") } else { (NOT_YET, "not on the disk") };
        writeln!(f, "  {at}  {reader}: {has}")?;
    }
    entry.outputs.iter().try_for_each(|output| output_hops(output, f))
}

fn output_hops(output: &Output, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let name = &output.name;
    if let Some(sent) = output.sent {
        writeln!(f, "  {}  output {name}: sent{}", time(sent.first_at_ms), how_often(sent))?;
    }
    let (at, what) = standing(&output.state);
    writeln!(f, "  {at}  output {name}: {what}")
}

fn how_often(sent: Sent) -> String {
    let Sent { last_at_ms, count, is_at_least, .. } = sent;
    match (count, is_at_least) {
        (..=1, false) => String::new(),
        (_, false) => format!(", {count} times, last {}", time(last_at_ms)),
        (_, true) => format!(", at least {count} times, last {}; more is not known", time(last_at_ms)),
    }
}

/// Since when, and what.
fn standing(state: &OutputState) -> (String, String) {
    let (at, what) = match state {
        OutputState::Accepted { at_ms: Some(at_ms) } => return (time(*at_ms), "accepted".to_owned()),
        OutputState::Accepted { at_ms: None } => (NOT_KEPT, "accepted".to_owned()),
        OutputState::Sent => (NOT_KNOWN, "nobody there says whether it was taken".to_owned()),
        OutputState::Owed => (NOT_YET, "owed, the spool holds it".to_owned()),
        OutputState::Withheld { why } => (NEVER, format!("withheld ({why})")),
        OutputState::Refused { why, at } => return (at.clone(), format!("refused ({why})")),
        OutputState::PassedOver { why } => (NEVER, format!("passed over ({why})")),
        OutputState::NotFetched => (NOT_YET, "may fetch it and has not".to_owned()),
        OutputState::NotKnown { why } => (NOT_KNOWN, format!("whether it was sent: {why}")),
        OutputState::Removed => (NOT_KNOWN, "it is no output any more".to_owned()),
    };
    (at.to_owned(), what)
}

fn told(receipt: &Receipt, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let what = match receipt.what {
        "delivered" => "DELIVERED: accepted by an output",
        "seen" => "SEEN: a person acknowledged it",
        "delivered-confirmed" => "the wearer's device has DELIVERED",
        "seen-confirmed" => "the wearer's device has SEEN",
        _ => "the wearer's device has STORED",
    };
    let by = receipt.by.as_ref().map(|by| format!(" ({by})")).unwrap_or_default();
    writeln!(f, "  {}  {what}{by}", time(receipt.at_ms))
}

fn why_nothing(state: Option<Fate>) -> (&'static str, &'static str) {
    match state {
        None => (NOT_YET, "nothing was heard of it, nor of a later sequence of that boot"),
        Some(Fate::Owed) => (NOT_YET, "a later one came: the device still owes it"),
        Some(Fate::Unaccounted) => (NOT_KNOWN, "from before the ledger began, or forgotten by it"),
        Some(Fate::Stored) => (NOT_KEPT, "it was stored, and retention has removed it since"),
        Some(Fate::Evicted) => (NOT_KEPT, "the device's outbox was full and it gave way"),
        Some(Fate::Expired) => (NOT_KEPT, "it was older than the device's policy keeps"),
        Some(Fate::Damaged | Fate::Formatted) => (NOT_KEPT, "the device's storage lost it"),
        Some(Fate::LostOtherwise) => (NOT_KEPT, "the device declared it lost"),
        Some(_) => (NOT_KEPT, "it was in quarantine, and retention has removed it since"),
    }
}

fn time(at_ms: u64) -> String {
    let at = i64::try_from(at_ms).ok().and_then(|at_ms| jiff::Timestamp::from_millisecond(at_ms).ok());
    at.map_or_else(|| NOT_KEPT.to_owned(), |at| format!("{at:.3}"))
}
