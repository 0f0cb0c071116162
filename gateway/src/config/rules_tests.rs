use std::collections::BTreeSet;

use super::*;
use crate::alarms::rules::BUILT_IN;

fn mistakes(text: &str) -> Vec<String> {
    let problems = from_text(Path::new("rules.toml"), text).expect_err("it has mistakes");
    problems.lines().collect()
}

#[test]
fn the_built_in_rules_have_no_mistake_and_are_the_published_table() {
    let rules = from_text(Path::new("built-in"), BUILT_IN).unwrap();
    let grade = |id: &str| rules.rules.iter().find(|rule| rule.id == id).unwrap().grade;
    let table = ["R1", "R2", "R3", "R4", "R5", "R6", "R7", "R8", "R12"].map(grade);
    use Grade::{P1, P2, P3};
    assert_eq!(table, [P1, P2, P3, P2, P1, P1, P2, P2, P3]);
    let steps = |id: &str| {
        let rule = rules.rules.iter().find(|rule| rule.id == id).unwrap();
        rule.ladder.iter().map(|step| step.after_ms / 1000).collect::<Vec<_>>()
    };
    assert_eq!((steps("R1"), steps("R2"), steps("R6")), (vec![10, 20, 40], vec![15, 30, 60], vec![15, 30]));
    assert_eq!(rules.grouping, Some(Grouping { distance_m: 300, within_ms: 180_000 }));
    assert!(rules.of(Trigger::StillAndHeart).is_none(), "heart rates are opt-in");
}

#[test]
fn the_manual_names_the_built_in_rules_and_no_others() {
    let rules = from_text(Path::new("built-in"), BUILT_IN).unwrap();
    // R15 is a setting of all rules, not one of them.
    let built_in = rules.rules.iter().map(|rule| rule.id.to_string()).chain(["R15".to_owned()]);
    let manual = include_str!("../../../docs/ALARMS.md");
    let rows = manual.lines().filter_map(|line| line.strip_prefix("| R")?.split(' ').next());
    let named: BTreeSet<String> = rows.map(|number| format!("R{number}")).collect();
    assert_eq!(named, built_in.collect());
}

#[test]
fn every_mistake_of_a_rule_file_is_named_with_its_line() {
    let text = BUILT_IN
        .replace("alone_m = 200", "alone_m = \"near\"")
        .replace("when = [\"button\"]", "when = [\"buton\"]")
        .replace("escalate_s = [15, 30, 60]", "escalate_s = [15, 30]")
        .replace("signals = [\"holster\", \"fall\"]", "signals = [\"holster\"]")
        .replace("silent_of = [\"R1\"", "silent_of = [\"R99\"")
        .replace("jamming_m", "jaming_m");
    let lines = mistakes(&text);
    let wanted = [
        "\"buton\" is not known (did you mean \"button\"?)",
        "no enabled rule has \"button\" in its `when`",
        "has 2 times in `escalate_s` and 3 names in `targets`",
        "alone_m` must be an integer",
        "is inferred and P1 on one signal",
        "names \"R99\" in `silent_of`",
        "unknown key `jaming_m` in [rule[9]] (did you mean `jamming_m`?)",
    ];
    for words in wanted {
        assert!(lines.iter().any(|line| line.contains(words)), "{words}: {lines:#?}");
    }
    let at = |words: &str| lines.iter().find(|line| line.contains(words)).unwrap();
    let line_of = |text: &str, words: &str| text.lines().position(|line| line.contains(words)).unwrap() + 1;
    let line = line_of(&text, "buton");
    assert!(at("\"buton\"").starts_with(&format!("rules.toml:{line}: ")), "{}", at("\"buton\""));
}

#[test]
fn two_rules_cannot_share_an_id_or_a_trigger() {
    let again = "\n[[rule]]\nid = \"R1\"\ntitle = \"Again\"\nwhen = [\"crash\"]\ngrade = \"P3\"\n";
    let lines = mistakes(&format!("{BUILT_IN}{again}"));
    assert!(lines.iter().any(|line| line.contains("two rules \"R1\"")), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("\"crash\" fires both R6 and R1")), "{lines:#?}");
}

#[test]
fn a_zone_has_a_place_and_never_silences_the_emergency_button() {
    let zone = "[[zone]]\nname = \"Armoury\"\ncentre = \"51.5007,-0.1246\"\nradius_m = 60\nrules = [\"R3\", \"R4\"]\n";
    let rules = from_text(Path::new("rules.toml"), &format!("{BUILT_IN}\n{zone}")).unwrap();
    assert_eq!(rules.rest.zones[0].centre_udeg, (-124_600, 51_500_700));
    assert!(rules.zone("R3", (-124_600, 51_501_000)).is_some());
    assert!(rules.zone("R3", (-124_600, 51_502_000)).is_none(), "145 m away");
    assert!(rules.zone("R5", (-124_600, 51_500_700)).is_none());
    let bad = zone.replace("51.5007,", "somewhere").replace("\"R3\"", "\"R1\"");
    let lines = mistakes(&format!("{BUILT_IN}\n{bad}"));
    assert!(lines.iter().any(|line| line.contains("is not a place")), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("button is never quiet")), "{lines:#?}");
}

#[test]
fn no_text_makes_the_reader_panic() {
    for cut in (0..BUILT_IN.len()).filter(|cut| BUILT_IN.is_char_boundary(*cut)).step_by(7) {
        _ = from_text(Path::new("rules.toml"), &BUILT_IN[..cut]);
    }
    assert!(!mistakes("").is_empty(), "an empty file gives no alarm a grade");
}
