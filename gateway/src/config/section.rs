//! Reads one section: every accessor checks one key, reports what is wrong with it and carries on. [`Section::finish`]
//! then reports the keys nobody asked for, with the nearest one that exists.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::problem::{Origin, Report};
use super::tree::{Node, Table, Value, resolve};

/// A value with the place it was written, for checks that need more than one key.
#[derive(Debug, Clone)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) origin: Origin,
    /// Full name of the key: `front_door.listen`.
    pub(super) key: String,
}

pub(super) struct Section<'t> {
    name: String,
    origin: Origin,
    table: Option<&'t Table>,
    base: &'t Path,
    report: &'t Report,
    asked: RefCell<Vec<&'static str>>,
}

impl<'t> Section<'t> {
    pub(super) fn root(table: &'t Table, base: &'t Path, report: &'t Report) -> Self {
        Self::new(String::new(), Origin::Absent, Some(table), base, report)
    }

    fn new(
        name: String,
        origin: Origin,
        table: Option<&'t Table>,
        base: &'t Path,
        report: &'t Report,
    ) -> Self {
        Self { name, origin, table, base, report, asked: RefCell::default() }
    }

    /// Where the section stands, for mistakes that concern it as a whole.
    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn report(&self) -> &'t Report {
        self.report
    }

    /// Whether the key is there, whatever it holds.
    pub(super) fn has(&self, key: &'static str) -> bool {
        self.node(key);
        self.table.is_some_and(|table| table.get(key).is_some())
    }

    /// A sub-section; absent is the same as empty.
    pub(super) fn section(&self, key: &'static str) -> Section<'t> {
        let name = self.key(key);
        match self.node(key) {
            None => Section::new(name, self.origin.clone(), None, self.base, self.report),
            Some(Node { value: Value::Table(table), origin }) => {
                Section::new(name, origin.clone(), Some(table), self.base, self.report)
            }
            Some(node) => {
                self.wrong_kind(key, node, &format!("a section: write [{name}]"));
                Section::new(name, node.origin.clone(), None, self.base, self.report)
            }
        }
    }

    /// The entries of `[[key]]`.
    pub(super) fn sections(&self, key: &'static str) -> Vec<Section<'t>> {
        let name = self.key(key);
        let Some(node) = self.node(key) else { return Vec::new() };
        let Value::List(list) = &node.value else {
            self.wrong_kind(key, node, &format!("a list of sections: write [[{name}]]"));
            return Vec::new();
        };
        let mut found = Vec::with_capacity(list.len());
        for (index, entry) in list.iter().enumerate() {
            match &entry.value {
                Value::Table(table) => {
                    let name = format!("{name}[{index}]");
                    found.push(Section::new(name, entry.origin.clone(), Some(table), self.base, self.report));
                }
                _ => self.wrong_kind(key, entry, &format!("a section: write [[{name}]]")),
            }
        }
        found
    }

    pub(super) fn text(&self, key: &'static str) -> Option<Located<String>> {
        let node = self.node(key)?;
        let (Value::Text(text) | Value::Raw(text)) = &node.value else {
            self.wrong_kind(key, node, "text in \"quotes\"");
            return None;
        };
        Some(self.located(key, node, text.clone()))
    }

    /// Checks a text with `try_new`, reporting its error.
    pub(super) fn identity<T, E: std::fmt::Display>(
        &self,
        text: &Located<String>,
        try_new: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        try_new(&text.value)
            .map_err(|error| {
                self.report.mistake(
                    &text.origin,
                    format!("`{}`: {error}", text.key),
                    "change the characters that do not fit",
                );
            })
            .ok()
    }

    pub(super) fn required_text(&self, key: &'static str, help: &str) -> Option<Located<String>> {
        self.required(key, help).then(|| self.text(key)).flatten()
    }

    /// An integer within `range`; the unit is in the key's name.
    pub(super) fn integer(&self, key: &'static str, default: u64, range: RangeInclusive<u64>) -> u64 {
        debug_assert!(range.contains(&default), "default of {key} lies outside its own range");
        let Some(node) = self.node(key) else { return default };
        let value = match &node.value {
            Value::Integer(integer) => u64::try_from(*integer).ok(),
            Value::Raw(raw) => raw.trim().replace('_', "").parse().ok(),
            _ => None,
        };
        match value {
            Some(value) if range.contains(&value) => value,
            _ => {
                let (from, to) = range.into_inner();
                self.report.mistake(
                    &node.origin,
                    format!("`{}` must be an integer from {from} to {to}", self.key(key)),
                    format!("the default is {default}; remove the line to use it"),
                );
                default
            }
        }
    }

    /// One of `choices`; the first is the default.
    pub(super) fn choice<T: Copy>(&self, key: &'static str, choices: &[(&str, T)]) -> T {
        let default = choices.first().expect("a choice has choices").1;
        let Some(text) = self.text(key) else { return default };
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text.value) {
            return *value;
        }
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        let help = match nearest(&text.value, names.iter().copied()) {
            Some(name) => format!("did you mean \"{name}\"?"),
            None => "choose one of these".to_owned(),
        };
        self.report.mistake(
            &text.origin,
            format!("`{}` must be one of: {}", text.key, names.join(", ")),
            help,
        );
        default
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self, key: &'static str, default: bool) -> bool {
        let Some(node) = self.node(key) else { return default };
        match &node.value {
            Value::Boolean(value) => *value,
            Value::Raw(raw) if raw.trim() == "true" => true,
            Value::Raw(raw) if raw.trim() == "false" => false,
            _ => {
                self.wrong_kind(key, node, "true or false");
                default
            }
        }
    }

    /// A list of texts; missing is empty. What is not a text in it is left out, and said.
    pub(super) fn texts(&self, key: &'static str) -> Vec<Located<String>> {
        let Some(node) = self.node(key) else { return Vec::new() };
        let Value::List(list) = &node.value else {
            self.wrong_kind(key, node, "a list of texts: [\"one\", \"two\"]");
            return Vec::new();
        };
        let mut texts = Vec::with_capacity(list.len());
        for entry in list {
            match &entry.value {
                Value::Text(text) => texts.push(self.located(key, entry, text.clone())),
                _ => self.wrong_kind(key, entry, "text in \"quotes\""),
            }
        }
        texts
    }

    /// A list of some of `choices`.
    pub(super) fn choices<T: Copy>(&self, key: &'static str, choices: &[(&'static str, T)]) -> Vec<T> {
        let mut chosen = Vec::new();
        for text in self.texts(key) {
            if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text.value) {
                chosen.push(*value);
                continue;
            }
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            let help = match nearest(&text.value, names.iter().copied()) {
                Some(name) => format!("did you mean \"{name}\"?"),
                None => format!("known: {}", names.join(", ")),
            };
            let words = format!("`{}`: \"{}\" is not known", text.key, text.value);
            self.report.mistake(&text.origin, words, help);
        }
        chosen
    }

    /// A list of integers within `range`; the unit is in the key's name.
    pub(super) fn integers(&self, key: &'static str, range: RangeInclusive<u64>) -> Vec<u64> {
        let Some(node) = self.node(key) else { return Vec::new() };
        let Value::List(list) = &node.value else {
            self.wrong_kind(key, node, "a list of integers: [1, 2]");
            return Vec::new();
        };
        let mut integers = Vec::with_capacity(list.len());
        for entry in list {
            let value = match &entry.value {
                Value::Integer(integer) => u64::try_from(*integer).ok().filter(|n| range.contains(n)),
                _ => None,
            };
            match value {
                Some(value) => integers.push(value),
                None => {
                    let (from, to) = (range.start(), range.end());
                    self.wrong_kind(key, entry, &format!("integers from {from} to {to}"));
                }
            }
        }
        integers
    }

    /// `address:port`. Port 0 asks the operating system for a free one.
    pub(super) fn address(&self, key: &'static str, default: &str) -> Option<Located<SocketAddr>> {
        let text = match self.node(key) {
            None => Located { value: default.to_owned(), origin: self.origin.clone(), key: self.key(key) },
            Some(_) => self.text(key)?,
        };
        match text.value.parse() {
            Ok(address) => Some(Located { value: address, origin: text.origin, key: text.key }),
            Err(_) => {
                self.report.mistake(
                    &text.origin,
                    format!("`{}` is not an address and port: \"{}\"", text.key, text.value),
                    format!("write an IP address and a port, for example \"{default}\" or \"[::1]:8883\"; names are not looked up"),
                );
                None
            }
        }
    }

    /// A path; a relative one counts from the directory of the configuration file.
    pub(super) fn path(&self, key: &'static str) -> Option<Located<PathBuf>> {
        let text = self.text(key)?;
        if text.value.is_empty() {
            self.report.mistake(
                &text.origin,
                format!("`{}` is empty", text.key),
                "write a path, or remove the line",
            );
            return None;
        }
        Some(Located { value: resolve(self.base, &text.value), origin: text.origin, key: text.key })
    }

    pub(super) fn required_path(&self, key: &'static str, help: &str) -> Option<Located<PathBuf>> {
        self.required(key, help).then(|| self.path(key)).flatten()
    }

    /// Reports the keys nobody asked for. Call when every key has been read.
    pub(super) fn finish(self) {
        let asked = self.asked.borrow();
        for entry in self.table.map(|table| table.0.as_slice()).unwrap_or_default() {
            if asked.contains(&entry.key.as_str()) {
                continue;
            }
            let place = if self.name.is_empty() {
                "at the top of the file".to_owned()
            } else {
                format!("in [{}]", self.name)
            };
            let help = match nearest(&entry.key, asked.iter().copied()) {
                Some(key) => format!("did you mean `{key}`?"),
                None => format!("known here: {}", asked.join(", ")),
            };
            self.report.mistake(&entry.key_origin, format!("unknown key `{}` {place}", entry.key), help);
        }
    }

    fn required(&self, key: &'static str, help: &str) -> bool {
        let present = self.node(key).is_some();
        let written = self.table.is_some_and(|table| table.get(key).is_some());
        if !written {
            self.report.mistake(&self.origin, format!("`{}` is missing", self.key(key)), help);
        }
        present
    }

    fn node(&self, key: &'static str) -> Option<&'t Node> {
        if !self.asked.borrow().contains(&key) {
            self.asked.borrow_mut().push(key);
        }
        self.table.and_then(|table| table.get(key)).filter(|node| node.value != Value::Broken)
    }

    fn key(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    fn located<T>(&self, key: &str, node: &Node, value: T) -> Located<T> {
        Located { value, origin: node.origin.clone(), key: self.key(key) }
    }

    fn wrong_kind(&self, key: &str, node: &Node, wanted: &str) {
        self.report.mistake(
            &node.origin,
            format!("`{}` is {}", self.key(key), node.value.kind()),
            format!("it must be {wanted}"),
        );
    }
}

/// The candidate within a third of its length in edits, if any.
pub(super) fn nearest<'c>(wrong: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    let distance = |candidate: &str| edit_distance(wrong, candidate);
    // No key of ours is longer; a huge unknown key must not cost its square.
    if wrong.len() > 64 {
        return None;
    }
    candidates
        .map(|candidate| (distance(candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits between two short keys: insert, delete, change, or swap two neighbours (optimal string alignment).
fn edit_distance(left: &str, right: &str) -> usize {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let mut rows = vec![vec![0; right.len() + 1]; left.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=right.len()).collect();
    for i in 1..=left.len() {
        for j in 1..=right.len() {
            let changed = rows[i - 1][j - 1] + usize::from(left[i - 1] != right[j - 1]);
            let mut best = changed.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_key_is_suggested_only_when_it_is_near() {
        let keys = ["listen", "certificate", "key"];
        assert_eq!(nearest("lisen", keys.into_iter()), Some("listen"));
        assert_eq!(nearest("certifcate", keys.into_iter()), Some("certificate"));
        assert_eq!(nearest("kye", keys.into_iter()), Some("key"));
        assert_eq!(nearest("colour", keys.into_iter()), None);
    }
}
