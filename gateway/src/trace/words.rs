//! A trace in words, for a person: one hop a line, its time first.

use std::fmt;

use super::{Output, OutputState, Receipt, Sent, Stored, Trace};
use crate::ledger::Fate;

/// As wide as a time.
const NO_TIME: &str = "                        ";

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.map_or("never heard of", Fate::as_str);
        writeln!(f, "{} boot {} sequence {}: {state}", self.unit, self.boot, self.seq)?;
        if self.entries.is_empty() {
            writeln!(f, "  {NO_TIME}  {}", why_nothing(self.state))?;
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
    writeln!(f, "  {NO_TIME}  STORED as {lsn}{place}")?;
    if let Some(reason) = entry.quarantine {
        writeln!(f, "  {NO_TIME}  in quarantine: {reason}")?;
    }
    for reader in ["live", "ledger", "history"] {
        let has = if entry.read_by.contains(&reader) { "has it" } else { "not yet, on the disk" };
        writeln!(f, "  {NO_TIME}  {reader}: {has}")?;
    }
    entry.outputs.iter().try_for_each(|output| sent(output, f))
}

fn sent(output: &Output, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let name = &output.name;
    if let Some(Sent { first_at_ms, last_at_ms, count }) = output.sent {
        let last =
            if count > 1 { format!(", {count} times, last {}", time(last_at_ms)) } else { String::new() };
        writeln!(f, "  {}  output {name}: sent{last}", time(first_at_ms))?;
    }
    match &output.state {
        OutputState::Accepted => writeln!(f, "  {NO_TIME}  output {name}: accepted"),
        OutputState::Owed => writeln!(f, "  {NO_TIME}  output {name}: owed, the spool holds it"),
        OutputState::Withheld { why } => writeln!(f, "  {NO_TIME}  output {name}: withheld ({why})"),
        OutputState::Refused { why, at } => writeln!(f, "  {at}  output {name}: refused ({why})"),
    }
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

fn why_nothing(state: Option<Fate>) -> &'static str {
    match state {
        None => "nothing was heard of it, nor of a later sequence of that boot",
        Some(Fate::Owed) => "a later one came: the device still owes it",
        Some(Fate::Unaccounted) => "from before the ledger began, or forgotten by it",
        Some(Fate::Stored) => "it was stored, and retention has removed it since",
        Some(Fate::Evicted) => "the device's outbox was full and it gave way",
        Some(Fate::Expired) => "it was older than the device's policy keeps",
        Some(Fate::Damaged | Fate::Formatted) => "the device's storage lost it",
        Some(Fate::LostOtherwise) => "the device declared it lost",
        Some(_) => "it was in quarantine, and retention has removed it since",
    }
}

fn time(at_ms: u64) -> String {
    let at = i64::try_from(at_ms).ok().and_then(|at_ms| jiff::Timestamp::from_millisecond(at_ms).ok());
    at.map_or_else(|| NO_TIME.to_owned(), |at| format!("{at:.3}"))
}
