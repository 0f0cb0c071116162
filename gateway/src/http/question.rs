//! What a question in an address says, read alike for every call.
//!
//! **A question that is not understood is refused in one sentence that says what would be**; nothing is guessed.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::StatusCode;
use axum::response::Response;

use super::refusal;
use super::viewer::Viewer;
use crate::live::unit::UnitId;

/// The end of the year 9999 in Unix ms: what a date can still be written for.
pub(super) const TIME_MS_MAX: u64 = 253_402_300_799_999;

/// What came in the address.
pub(super) type Asked<Q> = Result<Query<Q>, QueryRejection>;

/// Or the refusal that is the answer.
pub(super) type Checked<T> = Result<T, Box<Response>>;

pub(super) fn bad(words: &str) -> Box<Response> {
    Box::new(refusal(StatusCode::BAD_REQUEST, words))
}

/// The question itself; `words` say how to ask.
pub(super) fn read<Q>(asked: Asked<Q>, words: &str) -> Checked<Q> {
    asked.map(|Query(question)| question).map_err(|_| bad(words))
}

/// A unit.
pub(super) fn unit(text: &str) -> Checked<UnitId> {
    text.parse().map_err(|_| bad("a unit is FORCE/DEVICE"))
}

/// A unit, if one is named.
pub(super) fn maybe_unit(text: Option<&str>) -> Checked<Option<UnitId>> {
    text.map(unit).transpose()
}

/// A unit that the viewer may know of; one of a force that they do not see is answered like one that does not exist.
pub(super) fn unit_seen_by(viewer: &Viewer, text: &str) -> Checked<UnitId> {
    let unit = unit(text)?;
    if viewer.sees(&unit.force) {
        Ok(unit)
    } else {
        Err(Box::new(refusal(StatusCode::NOT_FOUND, "there is no such unit")))
    }
}

/// A time, Unix ms.
pub(super) fn time(at_ms: u64) -> Checked<u64> {
    if at_ms <= TIME_MS_MAX {
        Ok(at_ms)
    } else {
        Err(bad("a time is Unix milliseconds before the year 10000"))
    }
}

/// A span of time, at most `ms_max` long.
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

/// How many at most.
pub(super) fn limit(asked: Option<usize>, default: usize, max: usize) -> Checked<usize> {
    match asked.unwrap_or(default) {
        limit if (1..=max).contains(&limit) => Ok(limit),
        _ => Err(bad(&format!("limit must be from 1 to {max}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
