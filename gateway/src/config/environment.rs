//! The environment laid over the file, before anything is checked: everything above sees one tree, and a mistake in a
//! variable is reported like one in the file, with the variable's name for its place.

use super::problem::{Origin, Report};
use super::tree::{Entry, Node, Table, Value};

/// Environment variables with this prefix override the file; `__` separates the parts of the key:
/// `FIELDPOST__FRONT_DOOR__LISTEN=0.0.0.0:8883`, `FIELDPOST__FORWARD__NATS__0__URL=nats://..`.
pub const ENVIRONMENT_PREFIX: &str = "FIELDPOST__";

/// Deeper keys than this are not ours: `forward.nats.0.url` has four parts.
const DEPTH_MAX: usize = 6;

/// The variables that concern us, in a stable order.
pub(super) fn of_process() -> Vec<(String, String)> {
    let mut ours: Vec<_> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
        .filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX))
        .collect();
    ours.sort();
    ours
}

/// Lays every variable of ours over `root`.
pub(super) fn overlay(root: &mut Table, environment: &[(String, String)], report: &Report) {
    for (name, value) in environment {
        if let Some(path) = name.strip_prefix(ENVIRONMENT_PREFIX) {
            overlay_one(root, name, path, value, report);
        }
    }
}

fn overlay_one(root: &mut Table, name: &str, path: &str, value: &str, report: &Report) {
    let origin = Origin::Environment(name.to_owned());
    let parts: Vec<_> = path.split("__").map(str::to_ascii_lowercase).collect();
    if parts.iter().any(String::is_empty) || parts.len() > DEPTH_MAX {
        report.mistake(
            &origin,
            "not a key",
            "write FIELDPOST__SECTION__KEY=value, for example FIELDPOST__LOG__LEVEL=debug",
        );
        return;
    }
    let mut here = root;
    let (last, sections) = parts.split_last().expect("split gives at least one part");
    let mut sections = sections.iter().peekable();
    while let Some(section) = sections.next() {
        let entry = entry_or_insert(here, section, &origin);
        here = match &mut entry.node.value {
            Value::Table(inner) => inner,
            Value::List(list) => {
                let index = sections.next().and_then(|index| index.parse::<usize>().ok());
                let list_length = list.len();
                match index.and_then(|index| list.get_mut(index)) {
                    Some(Node { value: Value::Table(inner), .. }) => inner,
                    _ => {
                        report.mistake(
                            &origin,
                            format!("`{section}` is a list of {list_length}; the part after it must be an index from 0 to {}", list_length.saturating_sub(1)),
                            "the environment can change an entry of a list, not add one: add it to the file",
                        );
                        return;
                    }
                }
            }
            other => {
                report.mistake(
                    &origin,
                    format!("`{section}` is {}, not a section", other.kind()),
                    "check the parts of the name against the file",
                );
                return;
            }
        };
    }
    let entry = entry_or_insert(here, last, &origin);
    entry.key_origin = origin.clone();
    entry.node = Node { value: Value::Raw(value.to_owned()), origin };
}

fn entry_or_insert<'t>(table: &'t mut Table, key: &str, origin: &Origin) -> &'t mut Entry {
    let index = table.0.iter().position(|entry| entry.key == key).unwrap_or_else(|| {
        table.0.push(Entry {
            key: key.to_owned(),
            key_origin: origin.clone(),
            node: Node { value: Value::Table(Table::default()), origin: origin.clone() },
        });
        table.0.len() - 1
    });
    &mut table.0[index]
}
