//! The bounds of questions to the history, and the places where an answer goes on.

use std::fmt::Write as _;

use crate::history::row::RowKey;
use crate::http::question::{Checked, bad};

/// Longest time that one question may span: a month.
pub(crate) const SPAN_MS_MAX: u64 = 31 * 24 * 3_600_000;
/// Longest replay.
pub(crate) const REPLAY_MS_MAX: u64 = 24 * 3_600_000;
/// Shortest step of a replay.
pub(crate) const STEP_MS_MIN: u64 = 1_000;
/// Longest step of a replay.
pub(crate) const STEP_MS_MAX: u64 = 3_600_000;
/// Most points of a track in one answer.
pub(crate) const POINTS_MAX: usize = 10_000;
/// Points of a track in one answer, if the question does not say.
pub(crate) const POINTS_DEFAULT: usize = 1_000;
/// Most alarms in one answer.
pub(crate) const ALARMS_MAX: usize = 500;
/// Alarms in one answer, if the question does not say.
pub(crate) const ALARMS_DEFAULT: usize = 100;

/// A row as the cursor of the answer that ends with it.
pub(super) fn cursor_of(key: RowKey) -> String {
    let mut cursor = String::new();
    let RowKey { at_ms, boot, seq, print, kind } = key;
    write!(cursor, "{at_ms}.{boot}.{seq}.{print}.{kind}").expect("writing into a String cannot fail");
    cursor
}

/// The row that a cursor means.
pub(super) fn row_of(cursor: &str) -> Checked<RowKey> {
    let read = || {
        let mut parts = cursor.split('.');
        let key = RowKey {
            at_ms: parts.next()?.parse().ok()?,
            boot: parts.next()?.parse().ok()?,
            seq: parts.next()?.parse().ok()?,
            print: parts.next()?.parse().ok()?,
            kind: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(key)
    };
    read().ok_or_else(|| bad("cursor must be the `next` of the answer before"))
}

/// The alarm that a cursor means: when it was raised, and its name.
pub(super) fn alarm_of(cursor: &str) -> Checked<(u64, String)> {
    let read =
        cursor.split_once('.').and_then(|(at_ms, alarm)| Some((at_ms.parse().ok()?, alarm.to_owned())));
    read.ok_or_else(|| bad("cursor must be the `next` of the answer before"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_means_the_row_it_was_made_of_and_rubbish_means_none() {
        let key = RowKey { at_ms: 1_795_000_000_000, boot: 3, seq: 17, print: 9, kind: 1 };
        assert_eq!(row_of(&cursor_of(key)).unwrap(), key);
        for rubbish in ["", "1", "1.2.3.4", "1.2.3.4.5.6", "a.1.1.1.1", "-1.1.1.1.1", "1.2.3.4.256"] {
            assert_eq!(row_of(rubbish).unwrap_err().status(), 400, "{rubbish}");
        }
    }
}
