//! The rule file of the alarm engine, read with every mistake at once, each with its line.
//!
//! Promise: **[`Rules`] that exist give every alarm of a device a grade, and no inferred alarm is P1 on one signal.**

use std::path::Path;
use std::sync::Arc;

use fieldpost_protocol::{Duty, Power};

use super::problem::{Problems, Report};
use super::section::{Located, Section};
use super::tree;
use crate::alarms::rules::{
    Alone, Grouping, Heart, Jamming, RULES_BYTES_MAX, Raise, Rest, Rule, Rules, Silence, Step, Trigger,
    Watching, Zone,
};
use crate::alarms::{Grade, Queue};

/// Most rules, zones, and steps of a ladder.
const RULES_MAX: usize = 64;
const ZONES_MAX: usize = 256;
const STEPS_MAX: usize = 8;
/// Longest name of a rule, a target, a zone, in bytes.
const NAME_BYTES_MAX: usize = 100;

const GRADES: [(&str, Grade); 4] =
    [("P1", Grade::P1), ("P2", Grade::P2), ("P3", Grade::P3), ("P4", Grade::P4)];

/// Reads the file at `path`.
///
/// # Errors
/// Every mistake, with its line.
pub fn load(path: &Path) -> Result<Arc<Rules>, Problems> {
    let report = Report::default();
    let text = match read_bounded(path) {
        Ok(text) => text,
        Err(error) => {
            let help = "check `control_room.rules`; `fieldpost rules show` prints a file to start with";
            report.mistake(&super::Origin::Absent, format!("cannot read the rules: {error}"), help);
            return Err(report.into_problems(path, ""));
        }
    };
    from_text(path, &text).map(Arc::new)
}

fn read_bounded(path: &Path) -> std::io::Result<String> {
    let bytes = std::fs::metadata(path)?.len();
    if bytes > RULES_BYTES_MAX as u64 {
        return Err(std::io::Error::other(format!(
            "it has {bytes} bytes; at most {RULES_BYTES_MAX} are read"
        )));
    }
    std::fs::read_to_string(path)
}

/// Checks `text` as the contents of `path`.
///
/// # Errors
/// Every mistake, with its line.
pub fn from_text(path: &Path, text: &str) -> Result<Rules, Problems> {
    let report = Report::default();
    let table = tree::parse(text, &report);
    let root = Section::root(&table, Path::new(""), &report);
    let version = root.integer("version", 1, 1..=u64::from(u32::MAX));
    let name = root.text("name").map_or_else(|| "Rules".to_owned(), |name| name.value);
    let watching = watching(root.section("watch"));
    let grouping = grouping(root.section("incident"));
    let mut rest = rest(root.section("rest"));
    let zones: Vec<_> = root.sections("zone").into_iter().take(ZONES_MAX).collect();
    let sections = root.sections("rule");
    if sections.len() > RULES_MAX {
        let words = format!("{} rules; at most {RULES_MAX} are read", sections.len());
        report.mistake(root.origin(), words, "remove some");
    }
    let mut rules: Vec<Rule> = Vec::new();
    for section in sections.into_iter().take(RULES_MAX) {
        let rule = rule(&section);
        if let Some(rule) = rule {
            check_against(&section, &rules, &rule);
            rules.push(rule);
        }
        section.finish();
    }
    rest.zones = zones.into_iter().filter_map(|section| zone(section, &rules)).collect();
    check_whole(&root, &rules);
    root.finish();
    let problems = report.into_problems(path, text);
    if problems.has_mistakes() {
        return Err(problems);
    }
    let version = super::parse::narrow(version);
    Ok(Rules { version, name, rules, grouping, watching, rest, text: text.to_owned() })
}

fn watching(section: Section<'_>) -> Watching {
    let after_ms = section.integer("after_s", 10, 1..=3_600) * 1000;
    let targets = names(&section, "targets");
    section.finish();
    Watching { after_ms, targets }
}

fn grouping(section: Section<'_>) -> Option<Grouping> {
    let is_enabled = section.boolean("enabled", true);
    let distance_m = super::parse::narrow(section.integer("distance_m", 300, 1..=100_000));
    let within_ms = section.integer("window_s", 180, 1..=86_400) * 1000;
    section.finish();
    is_enabled.then_some(Grouping { distance_m, within_ms })
}

fn rest(section: Section<'_>) -> Rest {
    let powers: Vec<_> = Power::KNOWN.iter().filter_map(|power| Some((power.name()?, *power))).collect();
    let duties: Vec<_> = Duty::KNOWN.iter().filter_map(|duty| Some((duty.name()?, *duty))).collect();
    let rest = Rest {
        power: section.choices("power", &powers),
        duty: section.choices("duty", &duties),
        training_ms: section.integer("training_s", 900, 0..=86_400) * 1000,
        test_ms: section.integer("test_s", 10, 0..=3_600) * 1000,
        zones: Vec::new(),
    };
    section.finish();
    rest
}

fn zone(section: Section<'_>, rules: &[Rule]) -> Option<Zone> {
    let name = section.required_text("name", "name the place");
    let centre = section.required_text("centre", "write \"LATITUDE,LONGITUDE\" in degrees");
    let radius_m = super::parse::narrow(section.integer("radius_m", 50, 1..=100_000));
    let quiet = section.texts("rules");
    for id in &quiet {
        if !rules.iter().any(|rule| rule.id == id.value) {
            let words = format!("`{}`: there is no rule \"{}\"", id.key, id.value);
            section.report().mistake(&id.origin, words, "name a rule of this file");
        }
        if rules.iter().any(|rule| rule.id == id.value && rule.when.contains(&Trigger::Button)) {
            let words = format!("`{}`: the emergency button is never quiet", id.key);
            section.report().mistake(&id.origin, words, "remove the rule from the zone");
        }
    }
    let centre_udeg = centre.as_ref().and_then(|centre| {
        let degrees = parse_centre(&centre.value);
        if degrees.is_none() {
            section.report().mistake(
                &centre.origin,
                format!("`{}` is not a place", centre.key),
                "write \"LATITUDE,LONGITUDE\" in degrees, for example \"51.500700,-0.124600\"",
            );
        }
        degrees
    });
    section.finish();
    let rules = quiet.into_iter().map(|id| id.value).collect();
    Some(Zone { name: name?.value, centre_udeg: centre_udeg?, radius_m, rules })
}

fn parse_centre(text: &str) -> Option<(i32, i32)> {
    let (latitude, longitude) = text.split_once(',')?;
    let micro = |text: &str, bound: f64| {
        let degrees: f64 = text.trim().parse().ok()?;
        (degrees.abs() <= bound).then(|| (degrees * 1e6).round() as i32)
    };
    Some((micro(longitude, 180.0)?, micro(latitude, 90.0)?))
}

fn rule(section: &Section<'_>) -> Option<Rule> {
    let id = section.required_text("id", "name the rule, for example id = \"R1\"");
    let title = section.required_text("title", "say in words what it is about");
    let when = section.choices("when", &Trigger::ALL);
    if when.is_empty() {
        let words = format!("nothing fires `{}`", section.name());
        section.report().mistake(section.origin(), words, "name in `when` what does");
    }
    let is_enabled = section.boolean("enabled", true);
    let graded = section.required_text("grade", "write \"P1\", \"P2\", \"P3\" or \"P4\"").is_some();
    let grade = if graded { section.choice("grade", &GRADES) } else { Grade::P1 };
    let is_fact = section.boolean("fact", false);
    let signals = names(section, "signals");
    let queues = [("operations", Queue::Operations), ("security", Queue::Security)];
    let queue = section.choice("queue", &queues);
    let ladder = ladder(section);
    let raise = raise(section);
    let alone = alone(section);
    let silence = when.contains(&Trigger::SignalLost).then(|| silence(section));
    let heart = when.contains(&Trigger::StillAndHeart).then(|| heart(section));
    let jamming = when.contains(&Trigger::Jamming).then(|| jamming(section));
    if grade == Grade::P1 && !is_fact && signals.len() < 2 {
        section.report().mistake(
            section.origin(),
            format!("`{}` is inferred and P1 on one signal", section.name()),
            "an inferred P1 needs two independent signals: name both in `signals`, or grade it P2 and let `raise_with` raise it",
        );
    }
    let (id, title) = (id?.value, title?.value);
    Some(Rule {
        id,
        title,
        when,
        is_enabled,
        grade,
        is_fact,
        signals,
        queue,
        ladder,
        raise,
        alone,
        silence,
        heart,
        jamming,
    })
}

/// `escalate_s` and `targets`: as many of the one as of the other, later and later.
fn ladder(section: &Section<'_>) -> Vec<Step> {
    let times = section.integers("escalate_s", 1..=86_400);
    let targets = section.texts("targets");
    if times.len() != targets.len() || times.len() > STEPS_MAX {
        section.report().mistake(
            section.origin(),
            format!(
                "`{}` has {} times in `escalate_s` and {} names in `targets`",
                section.name(),
                times.len(),
                targets.len()
            ),
            format!("write one name for each time, at most {STEPS_MAX}"),
        );
    }
    if !times.windows(2).all(|pair| pair[0] < pair[1]) {
        section.report().mistake(
            section.origin(),
            format!("`{}.escalate_s` does not grow", section.name()),
            "each step comes later than the one before it",
        );
    }
    let steps = times.into_iter().zip(checked_names(section, targets));
    steps.map(|(after_s, target)| Step { after_ms: after_s * 1000, target }).collect()
}

fn raise(section: &Section<'_>) -> Option<Raise> {
    let with = section.choices("raise_with", &Trigger::ALL);
    if with.is_empty() {
        return None;
    }
    let within_ms = section.integer("raise_within_s", 300, 1..=86_400) * 1000;
    Some(Raise { with, within_ms, to: section.choice("raise_to", &GRADES) })
}

fn alone(section: &Section<'_>) -> Option<Alone> {
    let distance_m = super::parse::narrow(section.integer("alone_m", 0, 0..=100_000));
    if distance_m == 0 {
        return None;
    }
    Some(Alone { distance_m, grade: section.choice("alone_grade", &GRADES[1..]) })
}

fn silence(section: &Section<'_>) -> Silence {
    let after_ms = section.integer("silent_s", 90, 30..=3_600) * 1000;
    Silence { after_ms, of: section.texts("silent_of").into_iter().map(|id| id.value).collect() }
}

fn heart(section: &Section<'_>) -> Heart {
    Heart {
        still_ms: section.integer("still_s", 120, 1..=3_600) * 1000,
        low_bpm: super::parse::narrow(section.integer("heart_low_bpm", 40, 1..=255)),
        high_bpm: super::parse::narrow(section.integer("heart_high_bpm", 160, 1..=255)),
        hold_ms: section.integer("hold_s", 20, 0..=3_600) * 1000,
    }
}

fn jamming(section: &Section<'_>) -> Jamming {
    Jamming {
        units_count: super::parse::narrow(section.integer("jamming_units", 3, 2..=64)),
        distance_m: super::parse::narrow(section.integer("jamming_m", 1000, 1..=100_000)),
        within_ms: section.integer("jamming_s", 120, 1..=3_600) * 1000,
    }
}

fn check_against(section: &Section<'_>, before: &[Rule], rule: &Rule) {
    if before.iter().any(|other| other.id == rule.id) {
        let words = format!("there are two rules \"{}\"", rule.id);
        section.report().mistake(section.origin(), words, "give one of them another id");
    }
    for trigger in &rule.when {
        if let Some(other) = before.iter().find(|other| other.when.contains(trigger)) {
            let words = format!("\"{}\" fires both {} and {}", trigger.name(), other.id, rule.id);
            section.report().mistake(section.origin(), words, "let one rule have it");
        }
    }
}

fn check_whole(root: &Section<'_>, rules: &[Rule]) {
    for trigger in Trigger::OF_DEVICES {
        if !rules.iter().any(|rule| rule.is_enabled && rule.when.contains(&trigger)) {
            let words = format!("no enabled rule has \"{}\" in its `when`", trigger.name());
            let help = "devices raise such alarms, and each needs a grade; `fieldpost rules show` prints a rule for it";
            root.report().mistake(root.origin(), words, help);
        }
    }
    for rule in rules {
        for id in rule.silence.iter().flat_map(|silence| &silence.of) {
            if !rules.iter().any(|other| other.id == *id) {
                let words = format!("rule {} names \"{id}\" in `silent_of`, which is no rule here", rule.id);
                root.report().mistake(root.origin(), words, "name rules of this file");
            }
        }
    }
}

fn names(section: &Section<'_>, key: &'static str) -> Vec<String> {
    let found = section.texts(key);
    checked_names(section, found)
}

fn checked_names(section: &Section<'_>, names: Vec<Located<String>>) -> Vec<String> {
    for name in &names {
        let fits = !name.value.trim().is_empty()
            && name.value.len() <= NAME_BYTES_MAX
            && !name.value.chars().any(char::is_control);
        if !fits {
            let words = format!("`{}` must be 1 to {NAME_BYTES_MAX} bytes of printable text", name.key);
            section.report().mistake(&name.origin, words, "shorten it");
        }
    }
    names.into_iter().map(|name| name.value).collect()
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
