//! What a question to the history may say, and within which bounds.
//!
//! **A question that is not understood is refused in one sentence that says what would be**; nothing is guessed.

use std::fmt::Write as _;

use axum::http::StatusCode;
use axum::response::Response;

use crate::history::row::RowKey;
use crate::http::refusal;

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
/// The end of the year 9999 in Unix ms: what a date can still be written for.
pub(crate) const TIME_MS_MAX: u64 = 253_402_300_799_999;

/// Or the refusal that is the answer.
pub(super) type Checked<T> = Result<T, Box<Response>>;

pub(super) fn bad(words: &str) -> Box<Response> {
    Box::new(refusal(StatusCode::BAD_REQUEST, words))
}

/// A time from the question.
pub(super) fn time(at_ms: u64) -> Checked<u64> {
    if at_ms <= TIME_MS_MAX {
        Ok(at_ms)
    } else {
        Err(bad("a time is Unix milliseconds before the year 10000"))
    }
}

/// A span of time from the question, at most `ms_max` long.
pub(super) fn span(from_ms: u64, until_ms: u64, ms_max: u64) -> Checked<(u64, u64)> {
    let (from_ms, until_ms) = (time(from_ms)?, time(until_ms)?);
    if from_ms >= until_ms {
        return Err(bad("from_ms must be before until_ms"));
    }
    if until_ms - from_ms > ms_max {
        return Err(bad(&format!("at most {} hours in one question", ms_max / 3_600_000)));
    }
    Ok((from_ms, until_ms))
}

/// A limit from the question.
pub(super) fn limit(asked: Option<usize>, default: usize, max: usize) -> Checked<usize> {
    match asked.unwrap_or(default) {
        limit if (1..=max).contains(&limit) => Ok(limit),
        _ => Err(bad(&format!("limit must be from 1 to {max}"))),
    }
}

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

    #[test]
    fn spans_and_limits_have_bounds() {
        assert_eq!(span(1, 2, 10).unwrap(), (1, 2));
        for (from, until) in [(2, 2), (3, 2), (0, 11), (0, u64::MAX)] {
            assert!(span(from, until, 10).is_err(), "{from} {until}");
        }
        assert!(limit(Some(0), 5, 10).is_err() && limit(Some(11), 5, 10).is_err());
        assert_eq!(limit(None, 5, 10).unwrap(), 5);
    }
}
