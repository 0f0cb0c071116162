//! Keys of records, shortened to runs and back: `sim.pc-0001.3.17..25` is nine records of one device in one start.
//!
//! **What is shortened comes back exactly**, as a set. No key has two dots in a row: a dot inside an identity is `%2E`.

use std::collections::BTreeMap;

/// The keys as runs, in order of their prefixes. Keys that do not end in a number stay as they are.
pub fn shorten<'k>(keys: impl Iterator<Item = &'k str>) -> Vec<String> {
    let mut numbers: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    let mut others = Vec::new();
    for key in keys {
        match split(key) {
            Some((prefix, number)) => numbers.entry(prefix).or_default().push(number),
            None => others.push(key.to_owned()),
        }
    }
    for (prefix, mut numbers) in numbers {
        numbers.sort_unstable();
        numbers.dedup();
        for run in numbers.chunk_by(|one, next| one.checked_add(1) == Some(*next)) {
            match run {
                [one] => others.push(format!("{prefix}.{one}")),
                [first, .., last] => others.push(format!("{prefix}.{first}..{last}")),
                [] => {}
            }
        }
    }
    others
}

/// Prefix and number of a key whose number is written as [`shorten`] would write it back.
fn split(key: &str) -> Option<(&str, u64)> {
    let (prefix, digits) = key.rsplit_once('.')?;
    let number = digits.parse::<u64>().ok()?;
    (number.to_string() == digits).then_some((prefix, number))
}

/// A key, or a run of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run<'a> {
    text: &'a str,
    numbers: Option<(&'a str, u64, u64)>,
}

impl<'a> Run<'a> {
    /// Reads what [`shorten`] wrote.
    #[must_use]
    pub fn parse(text: &'a str) -> Self {
        let numbers = text.split_once("..").and_then(|(start, last)| {
            let (prefix, first) = start.rsplit_once('.')?;
            let (first, last) = (first.parse().ok()?, last.parse().ok()?);
            (first <= last).then_some((prefix, first, last))
        });
        Self { text, numbers }
    }

    /// How many records.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.numbers.map_or(1, |(_, first, last)| (last - first).saturating_add(1))
    }

    /// Every key of it.
    pub fn keys(self) -> impl Iterator<Item = String> + use<'a> {
        let (text, numbers) = (self.text, self.numbers);
        let alone = numbers.is_none().then(|| text.to_owned());
        let run = numbers
            .into_iter()
            .flat_map(|(prefix, first, last)| (first..=last).map(move |number| format!("{prefix}.{number}")));
        alone.into_iter().chain(run)
    }

    /// Whether this key is among its keys.
    #[must_use]
    pub fn has(self, key: &str) -> bool {
        match (self.numbers, split(key)) {
            (None, _) => self.text == key,
            (Some((prefix, first, last)), Some((of, number))) => {
                of == prefix && (first..=last).contains(&number)
            }
            (Some(_), None) => false,
        }
    }

    /// Whether its records are of the unit with this beginning of a key, dot included.
    #[must_use]
    pub fn is_of(&self, unit_prefix: &str) -> bool {
        self.text.starts_with(unit_prefix)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn back(short: &[String]) -> Vec<String> {
        short.iter().flat_map(|text| Run::parse(text).keys().collect::<Vec<_>>()).collect()
    }

    #[test]
    fn runs_of_one_start_are_one_entry() {
        let keys =
            ["sim.a.3.17", "sim.b.1.4", "sim.a.3.18", "sim.a.3.19", "gateway.cad.5-9", "sim.a.4.1~00ff00ff"];
        let short = shorten(keys.into_iter());
        assert_eq!(short, ["gateway.cad.5-9", "sim.a.4.1~00ff00ff", "sim.a.3.17..19", "sim.b.1.4"]);
        assert_eq!(short.iter().map(|text| Run::parse(text).count()).sum::<u64>(), 6);
        assert!(Run::parse(&short[2]).has("sim.a.3.19") && !Run::parse(&short[2]).has("sim.a.3.20"));
        assert!(Run::parse(&short[2]).is_of("sim.a.") && !Run::parse(&short[2]).is_of("sim.b."));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_shortened_comes_back_exactly(
            keys in proptest::collection::vec("(a|b%2Ec)\\.(x|y-1)\\.[0-3]\\.(0|[1-9][0-9]{0,1}|007|18446744073709551615)(~0f)?", 0..60)
        ) {
            let short = shorten(keys.iter().map(String::as_str));
            let restored: BTreeSet<String> = back(&short).into_iter().collect();
            prop_assert_eq!(restored, keys.iter().cloned().collect::<BTreeSet<_>>());
            let count: u64 = short.iter().map(|text| Run::parse(text).count()).sum();
            prop_assert!(count >= keys.iter().collect::<BTreeSet<_>>().len() as u64);
        }
    }
}
