//! What a new configuration changes at once, and what has to wait for a restart.

use toml::{Table, Value};

use crate::config::{Config, show};

/// Keys, as prefixes, that take effect on reload. Everything else needs a restart.
const RELOADABLE: [&str; 20] = [
    "force",
    "forward",
    "tak",
    "log.level",
    "clock",
    "control_room.certificate",
    "control_room.key",
    "control_room.roster",
    "control_room.rules",
    "front_door.certificate",
    "front_door.key",
    "front_door.device_authority",
    "front_door.revocation_list",
    "front_door.connections_max",
    "front_door.connect_deadline_ms",
    "front_door.keep_alive_s_max",
    "front_door.session_expiry_s_max",
    "front_door.packet_bytes_max",
    "front_door.receive_max",
    "front_door.topic_alias_max",
];

/// The difference between the configuration in force and a new one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Keys that take effect now.
    pub now: Vec<String>,
    /// Keys that need a restart.
    pub restart: Vec<String>,
}

impl Difference {
    /// Compares key by key. Files (certificates, roster) are read again whether or not their name changed.
    #[must_use]
    pub fn between(old: &Config, new: &Config) -> Self {
        let mut changed = Vec::new();
        let table = |config: &Config| show::effective(config, false).parse::<Table>().unwrap_or_default();
        compare("", &table(old), &table(new), &mut changed);
        let page_tls_appears = old.control_room.identity.is_some() != new.control_room.identity.is_some();
        let reloadable = |key: &String| {
            let switches_tls = page_tls_appears && key.starts_with("control_room.");
            !switches_tls
                && RELOADABLE.iter().any(|prefix| key == prefix || key.starts_with(&format!("{prefix}.")))
        };
        let (now, restart) = changed.into_iter().partition(reloadable);
        Self { now, restart }
    }
}

fn compare(path: &str, old: &Table, new: &Table, changed: &mut Vec<String>) {
    let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for key in keys {
        let full = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match (old.get(key), new.get(key)) {
            (Some(Value::Table(old)), Some(Value::Table(new))) => compare(&full, old, new, changed),
            (old, new) if old != new => changed.push(full),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::{InitOptions, init};

    #[test]
    fn keys_are_sorted_into_those_that_change_now_and_those_that_wait() {
        let dir = tempfile::tempdir().unwrap();
        let path = init(dir.path(), &InitOptions::default()).unwrap().config;
        let text = std::fs::read_to_string(&path).unwrap();
        let old = Config::from_text(&path, &text, &[]).unwrap();
        let bent = text
            .replace("#level = \"info\"", "level = \"debug\"")
            .replace("#retain_hours = 24", "retain_hours = 71")
            .replace("127.0.0.1:9464", "127.0.0.1:9465")
            + "\n[[force]]\nid = \"met\"\n[[forward.file]]\npath = \"x\"\n"
            + crate::config::RELEASE_ALL;
        let new = Config::from_text(&path, &bent, &[]).unwrap();
        let difference = Difference::between(&old, &new);
        assert_eq!(difference.now, ["force", "forward.file", "log.level"]);
        assert_eq!(difference.restart, ["metrics.listen", "spool.retain_hours"]);
        assert_eq!(Difference::between(&old, &old), Difference::default());
    }
}
