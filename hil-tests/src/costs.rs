//! What the image costs, held against a committed table: **growth of more than 3 % is red, and so is a goal that is missed.**
//!
//! `costs.txt` in this crate is the table: name, value and goal. A `-` is no value (what the host's mood moves by more than 3 %
//! is held by its goal alone) or no goal. A value that fell is not red, but the table should follow it: what is not committed is
//! not held.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use crate::{Failure, places};

/// A value may grow by this many thousandths of the committed one.
const GROWTH_PERMILLE_MAX: u64 = 30;

/// Values by name. The name says the unit.
pub type Costs = BTreeMap<String, u64>;

/// The committed table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    rows: BTreeMap<String, Row>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    value: Option<u64>,
    goal: Option<u64>,
}

/// What is wrong with a cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// More than 3 % above the committed value.
    Grown {
        /// Which.
        name: String,
        /// In the table.
        committed: u64,
        /// Now.
        measured: u64,
    },
    /// Above its goal.
    GoalMissed {
        /// Which.
        name: String,
        /// The goal.
        goal: u64,
        /// Now.
        measured: u64,
    },
    /// In the table and not measured.
    NotMeasured(String),
    /// Measured and not in the table.
    NotCommitted(String, u64),
}

impl Table {
    /// Where the committed table is.
    #[must_use]
    pub fn path() -> PathBuf {
        places::root().join("hil-tests/costs.txt")
    }

    /// Reads the committed table.
    ///
    /// # Errors
    /// [`Failure`] if it is not there or a line is no row.
    pub fn committed() -> Result<Self, Failure> {
        let path = Self::path();
        let text = std::fs::read_to_string(&path).map_err(Failure::at("read the table of costs", &path))?;
        Self::parse(&text)
    }

    /// Reads rows of name, value and goal; `#` begins a comment.
    ///
    /// # Errors
    /// [`Failure`] that shows the line.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let mut rows = BTreeMap::new();
        for line in text.lines() {
            let words: Vec<&str> = line.split('#').next().unwrap_or("").split_whitespace().collect();
            let row = match words[..] {
                [] => continue,
                [name, value, goal] => number(value).zip(number(goal)).map(|row| (name, row)),
                _ => None,
            };
            let (name, (value, goal)) =
                row.ok_or_else(|| Failure::child("costs.txt", format!("has no row in `{line}`")))?;
            rows.insert(name.to_owned(), Row { value, goal });
        }
        Ok(Self { rows })
    }

    /// Holds what was measured against the table.
    #[must_use]
    pub fn compare(&self, measured: &Costs) -> Vec<Fault> {
        let mut faults: Vec<Fault> =
            self.rows.iter().flat_map(|(name, row)| row.faults(name, measured.get(name).copied())).collect();
        let unknown = measured.iter().filter(|(name, _)| !self.rows.contains_key(*name));
        faults.extend(unknown.map(|(name, value)| Fault::NotCommitted(name.clone(), *value)));
        faults
    }

    /// The table with what was measured in it, for a person to look at and, if it is right, to commit.
    #[must_use]
    pub fn show(&self, measured: &Costs) -> String {
        let or_dash =
            |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        let line = |(name, value): (&String, &u64)| {
            let row = self.rows.get(name).copied().unwrap_or(Row { value: None, goal: None });
            let (committed, goal) = (or_dash(row.value), or_dash(row.goal));
            format!("{name:<46} {value:>10} {goal:>10}  # committed: {committed}")
        };
        measured.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

impl Row {
    fn faults(self, name: &str, measured: Option<u64>) -> Vec<Fault> {
        let name = name.to_owned();
        let Some(measured) = measured else { return vec![Fault::NotMeasured(name)] };
        let mut faults = Vec::new();
        if let Some(goal) = self.goal.filter(|goal| measured > *goal) {
            faults.push(Fault::GoalMissed { name: name.clone(), goal, measured });
        }
        if let Some(committed) =
            self.value.filter(|value| measured * 1000 > value * (1000 + GROWTH_PERMILLE_MAX))
        {
            faults.push(Fault::Grown { name, committed, measured });
        }
        faults
    }
}

/// A number, or `-` for none; `None` if it is neither.
#[expect(clippy::option_option, reason = "the outer one is whether it reads")]
fn number(word: &str) -> Option<Option<u64>> {
    if word == "-" { Some(None) } else { word.parse().ok().map(Some) }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grown { name, committed, measured } => {
                write!(
                    f,
                    "{name} has grown from {committed} to {measured}: make it smaller, or commit it with its reason"
                )
            }
            Self::GoalMissed { name, goal, measured } => {
                write!(f, "{name} is {measured}, its goal is {goal}")
            }
            Self::NotMeasured(name) => write!(f, "{name} is in the table and was not measured"),
            Self::NotCommitted(name, value) => write!(f, "{name} is {value} and not in the table"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costs(rows: &[(&str, u64)]) -> Costs {
        rows.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    #[test]
    fn growth_of_more_than_3_percent_is_red() {
        let table =
            Table::parse("flash_bytes 1000 2000 # two slots\nlive_bytes 100 -\nlate_us - 50").unwrap();
        assert_eq!(table.compare(&costs(&[("flash_bytes", 1030), ("live_bytes", 90), ("late_us", 50)])), []);
        let grown = Fault::Grown { name: "flash_bytes".to_owned(), committed: 1000, measured: 1031 };
        assert_eq!(
            table.compare(&costs(&[("flash_bytes", 1031), ("live_bytes", 100), ("late_us", 1)])),
            [grown]
        );
    }

    #[test]
    fn missed_goal_and_unmeasured_and_uncommitted_costs_are_red() {
        let table = Table::parse("a 10 10\nb 5 -").unwrap();
        let faults = table.compare(&costs(&[("a", 11), ("c", 1)]));
        assert_eq!(
            faults,
            [
                Fault::GoalMissed { name: "a".to_owned(), goal: 10, measured: 11 },
                Fault::Grown { name: "a".to_owned(), committed: 10, measured: 11 },
                Fault::NotMeasured("b".to_owned()),
                Fault::NotCommitted("c".to_owned(), 1),
            ]
        );
        assert!(Table::parse("a ten -").is_err());
    }
}
