//! `[forward.KIND.release]`: what an output may be sent. **There are no defaults**: what is not said is not released, and
//! an output of which nothing is said is a mistake.

use std::collections::{BTreeMap, BTreeSet};

use fieldpost_protocol::ForceId;

use super::parse::narrow;
use super::section::{Located, Section, nearest};
use crate::forward::release::{Field, Fields, Forces, Kind, Kinds, Marking, Release};

/// Everything, as one line of an output: for tests and for a force's own systems.
pub const RELEASE_ALL: &str =
    "release = { forces = [\"*\"], classes = [\"*\"], fields = [\"*\"], marking = \"official-sensitive\" }";

/// Names everything.
const ALL: &str = "*";

/// Reads the release of the output `entry`. `None` only after reporting why. `served`: the forces of this gateway.
pub(super) fn release(entry: &Section<'_>, served: &BTreeMap<ForceId, String>) -> Option<Release> {
    if !entry.has("release") {
        entry.report().mistake(
            entry.origin(),
            format!("`{}.release` is missing: nothing is released to this output", entry.name()),
            format!("say what it may be sent, for example {RELEASE_ALL}"),
        );
        return None;
    }
    let section = entry.section("release");
    let forces = forces(&section, served);
    let classes = list(&section, "classes", &Kind::ALL.map(|kind| (kind.as_str(), kind)));
    let fields = list(&section, "fields", &Field::ALL.map(|field| (field.as_str(), field)));
    let marking = section
        .required_text("marking", "write the highest marking it may hold: official or official-sensitive")
        .map(|_| section.choice("marking", &Marking::ALL));
    let precision_m = narrow(section.integer("precision_m", 0, 0..=100_000));
    let classes = classes.map(|chosen| chosen.map_or(Kinds::ALL, |chosen| Kinds::of(&chosen)));
    let fields = fields.map(|chosen| chosen.map_or(Fields::ALL, |chosen| Fields::of(&chosen)));
    if let (Some(classes), Some(fields), Some(marking)) = (classes, fields, marking) {
        none_in_vain(&section, classes, fields, marking);
    }
    let release =
        Release { forces: forces?, classes: classes?, fields: fields?, precision_m, marking: marking? };
    section.finish();
    Some(release)
}

fn forces(section: &Section<'_>, served: &BTreeMap<ForceId, String>) -> Option<Forces> {
    let texts = required(section, "forces", "[\"met\"], or [\"*\"] for every force of this gateway")?;
    if is_all(&texts) {
        return Some(Forces::All);
    }
    let mut forces = BTreeSet::new();
    for text in texts {
        let known = served.keys().find(|force| force.as_str() == text.value);
        if let Some(force) = known {
            forces.insert(force.clone());
            continue;
        }
        let help = match nearest(&text.value, served.keys().map(ForceId::as_str)) {
            Some(name) => format!("did you mean \"{name}\"?"),
            None => "add it as [[force]], or take it out".to_owned(),
        };
        let words = format!("`{}`: force \"{}\" is not served here", text.key, text.value);
        section.report().mistake(&text.origin, words, help);
    }
    Some(Forces::Only(forces))
}

/// Outer `None`: reported. Inner `None`: all of them.
fn list<T: Copy>(
    section: &Section<'_>,
    key: &'static str,
    choices: &[(&'static str, T)],
) -> Option<Option<Vec<T>>> {
    let names: Vec<_> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let texts = required(section, key, &format!("some of {}, or [\"*\"]", names.join(", ")))?;
    Some(if is_all(&texts) { None } else { Some(section.choices(key, choices)) })
}

fn required(section: &Section<'_>, key: &'static str, example: &str) -> Option<Vec<Located<String>>> {
    let texts = section.texts(key);
    if texts.is_empty() {
        section.report().mistake(
            section.origin(),
            format!("`{}.{key}` is missing or empty: nothing is released", section.name()),
            format!("write {key} = {example}"),
        );
        return None;
    }
    Some(texts)
}

fn is_all(texts: &[Located<String>]) -> bool {
    matches!(texts, [one] if one.value == ALL)
}

/// A class that is released without a field of it, or above the marking, would be withheld record by record.
fn none_in_vain(section: &Section<'_>, classes: Kinds, fields: Fields, marking: Marking) {
    if classes == Kinds::ALL {
        return;
    }
    for kind in classes.iter() {
        let needs = kind.needs();
        let has_none = !needs.is_empty() && fields.and(needs).is_empty();
        let least = Marking::of(kind, fields.and(kind.fields()));
        let (words, help) = if has_none {
            let names: Vec<_> = needs.iter().map(Field::as_str).collect();
            let words = format!("`{}` releases {} without any field of it", section.name(), kind.as_str());
            (words, format!("add one of its fields: {}; or take the class out", names.join(", ")))
        } else if least > marking {
            let words =
                format!("`{}` releases {}, which is {}", section.name(), kind.as_str(), least.as_str());
            (words, format!("write marking = \"{}\", or take the class out", least.as_str()))
        } else {
            continue;
        };
        section.report().mistake(section.origin(), words, help);
    }
}
