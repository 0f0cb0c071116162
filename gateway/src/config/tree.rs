//! The configuration as written: a tree of values that each remember where they came from.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::problem::{Origin, Report};

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Boolean(bool),
    /// From the environment: its type is decided by the key that reads it.
    Raw(String),
    List(Vec<Node>),
    Table(Table),
    /// What stood here was a syntax error, already reported.
    Broken,
    /// A kind of value no key takes (float, date); holds its name for the message.
    Other(&'static str),
}

#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Table(pub(super) Vec<Entry>);

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_origin: Origin,
    pub(super) node: Node,
}

impl Table {
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.0.iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }
}

impl Value {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::Raw(_) => "text",
            Self::Integer(_) => "an integer",
            Self::Boolean(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a section",
            Self::Broken => "broken",
            Self::Other(kind) => kind,
        }
    }
}

/// Parses `text`. Syntax errors go to `report`; what could be parsed comes back, so that the mistakes after a syntax
/// error are still found.
pub(super) fn parse(text: &str, report: &Report) -> Table {
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let origin = error.span().map_or(Origin::Absent, Origin::File);
        report.mistake(&origin, error.message().replace('\n', ", "), "the file is TOML 1.0: https://toml.io");
    }
    table(document.get_ref())
}

fn table(source: &DeTable<'_>) -> Table {
    let entry = |(key, value): (&toml::Spanned<Cow<'_, str>>, &toml::Spanned<DeValue<'_>>)| Entry {
        key: key.get_ref().to_string(),
        key_origin: Origin::File(key.span()),
        node: node(value),
    };
    let mut entries: Vec<_> = source.iter().map(entry).collect();
    // The parser sorts by name; people read from the top.
    entries.sort_by_key(|entry| match &entry.key_origin {
        Origin::File(span) => span.start,
        Origin::Environment(_) | Origin::Absent => usize::MAX,
    });
    Table(entries)
}

fn node(source: &toml::Spanned<DeValue<'_>>) -> Node {
    let value = match source.get_ref() {
        // No value is written with no bytes: the parser made it up to carry on after an error.
        _ if source.span().is_empty() => Value::Broken,
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map_or(Value::Other("an integer out of range"), Value::Integer),
        DeValue::Boolean(boolean) => Value::Boolean(*boolean),
        DeValue::Array(list) => Value::List(list.iter().map(node).collect()),
        DeValue::Table(inner) => Value::Table(table(inner)),
        DeValue::Float(_) => Value::Other("a number with a fraction"),
        DeValue::Datetime(_) => Value::Other("a date"),
    };
    Node { value, origin: Origin::File(source.span()) }
}

/// `path` as seen from `base`, the directory of the configuration file.
pub(super) fn resolve(base: &Path, path: &str) -> PathBuf {
    base.join(path)
}
