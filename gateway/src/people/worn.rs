//! Whose device was whose: parts of a time in which somebody wore a device, so that a question about an officer becomes one about
//! devices, and an answer about a device names officers.
//!
//! **The same rule as everywhere: of several assignments that cover an instant, the one written last holds** ([`super::wearers`]).

use serde::Serialize;

use super::wearers::{Assignment, Wearer};
use crate::live::unit::UnitId;

/// Most parts of one answer; the rest is said to be missing. A shift has one or two.
pub const PARTS_MAX: usize = 256;

/// A part of a time in which one person, or nobody that is known, wore a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Worn {
    /// Which device.
    #[serde(serialize_with = "super::wearers::as_text")]
    pub unit: UnitId,
    /// Who.
    #[serde(flatten)]
    pub wearer: Wearer,
    /// From, Unix ms.
    pub from_ms: u64,
    /// Until, Unix ms; included, as in questions.
    pub until_ms: u64,
}

/// Parts, in order of unit and time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parts {
    /// At most [`PARTS_MAX`].
    pub worn: Vec<Worn>,
    /// There are more, or assignments of that time are in the file only.
    pub is_cut: bool,
}

/// The parts of `from_ms..=until_ms` in which `assignments`, which are all of one unit in the order in which they were written, say
/// that somebody wore it whom the question `is_about`. At most [`PARTS_MAX`] of theirs, the ones written last; true if there are more.
pub(super) fn parts_of<'a>(
    assignments: impl DoubleEndedIterator<Item = &'a Assignment>,
    (from_ms, until_ms): (u64, u64),
    is_about: impl Fn(&Wearer) -> bool,
) -> (Vec<Worn>, bool) {
    // What no assignment written later covers.
    let mut open = vec![(from_ms, until_ms)];
    let mut parts = Vec::new();
    for one in assignments.rev() {
        let mut rest = Vec::with_capacity(open.len() + 1);
        for (from, until) in open {
            // An assignment's end is not in it.
            let (first, last) = (from.max(one.from_ms), until.min(one.until_ms.saturating_sub(1)));
            if first > last || one.until_ms == 0 {
                rest.push((from, until));
                continue;
            }
            if is_about(&one.wearer) {
                let (unit, wearer) = (one.unit.clone(), one.wearer.clone());
                parts.push(Worn { unit, wearer, from_ms: first, until_ms: last });
            }
            rest.extend((from < first).then(|| (from, first - 1)));
            rest.extend((last < until).then(|| (last + 1, until)));
        }
        open = rest;
        if parts.len() > PARTS_MAX {
            parts.truncate(PARTS_MAX);
            return (in_order(parts), true);
        }
    }
    (in_order(parts), false)
}

fn in_order(mut parts: Vec<Worn>) -> Vec<Worn> {
    parts.sort_unstable_by_key(|part| part.from_ms);
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::people::wearers::Wearers;

    fn assignment(n: u64, officer: &str, from_ms: u64, until_ms: u64) -> Assignment {
        let wearer = Wearer { officer: Some(officer.into()), ..Wearer::default() };
        let unit = "met/pc-1".parse().unwrap();
        Assignment { n, unit, wearer, from_ms, until_ms, by: "eve".to_owned(), at_ms: 0 }
    }

    #[test]
    fn a_device_that_was_lent_for_a_while_is_the_lenders_before_and_after() {
        let all = [assignment(1, "anna", 100, 200), assignment(2, "ben", 140, 160)];
        let (parts, is_cut) = parts_of(all.iter(), (120, 250), |_| true);
        let said =
            parts.iter().map(|part| (part.wearer.officer.as_deref().unwrap(), part.from_ms, part.until_ms));
        let said: Vec<_> = said.collect();
        assert_eq!(said, [("anna", 120, 139), ("ben", 140, 159), ("anna", 160, 199)]);
        assert!(!is_cut);
    }

    #[test]
    fn however_often_a_device_changes_hands_an_answer_is_bounded_and_says_so() {
        let all: Vec<_> = (0..1_000).map(|n| assignment(n, "anna", n * 10, n * 10 + 5)).collect();
        let (parts, is_cut) = parts_of(all.iter(), (0, u64::MAX), |_| true);
        assert_eq!((parts.len(), is_cut), (PARTS_MAX, true));
    }

    #[test]
    fn an_officer_who_had_a_device_of_the_pool_once_is_found_behind_all_who_had_it_since() {
        let ben = assignment(0, "ben", 0, 5);
        let others = (1..1_000).map(|n| assignment(n, "anna", n * 10, n * 10 + 5));
        let all: Vec<_> = [ben].into_iter().chain(others).collect();
        let is_ben = |wearer: &Wearer| wearer.officer.as_deref() == Some("ben");
        let (parts, is_cut) = parts_of(all.iter(), (0, u64::MAX), is_ben);
        assert_eq!((parts.len(), is_cut), (1, false));
    }

    proptest! {
        /// At every instant the parts say what the live page said: one of them covers it if and only if somebody is known.
        #[test]
        fn parts_say_at_every_instant_what_the_live_page_says(
            written in prop::collection::vec((0..40_u64, 1..20_u64, 0..4_u8), 0..12),
            (from_ms, length) in (0..40_u64, 0..40_u64),
        ) {
            let all = written.iter().zip(1..).map(|((from_ms, lasts, who), n)| {
                assignment(n, &who.to_string(), *from_ms, from_ms + lasts)
            });
            let all: Vec<_> = all.collect();
            let wearers = Wearers::default();
            wearers.take(all.clone());
            let span = (from_ms, from_ms + length);
            let (parts, is_cut) = parts_of(all.iter(), span, |_| true);
            prop_assert!(!is_cut);
            for at_ms in 0..100 {
                let of_parts: Vec<_> =
                    parts.iter().filter(|part| (part.from_ms..=part.until_ms).contains(&at_ms)).collect();
                let wanted = wearers.at(&all.first().map_or("met/x".parse().unwrap(), |one| one.unit.clone()), at_ms);
                let wanted = wanted.filter(|_| (span.0..=span.1).contains(&at_ms));
                prop_assert_eq!(of_parts.first().map(|part| part.wearer.clone()), wanted);
                prop_assert!(of_parts.len() <= 1, "one wearer at a time");
            }
        }
    }
}
