//! The gateway's configuration and its roster: written by people, edited in a hurry.
//!
//! The files that a configuration names are looked for in an empty folder, so that a run depends on its input alone.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use fieldpost_gateway::config::{Config, ConfigError, roster::Roster};

use crate::allocation;

/// Per byte: a message with its help for every key of two bytes, built twice.
const BYTES_PER_BYTE: usize = 16 << 10;

/// Text is taken whole, or refused with at least one mistake that has a text. The first byte chooses which file it is.
pub fn check(bytes: &[u8]) {
    let Some((choice, text)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    // An absolute path in it would read this machine's files.
    if text.contains('/') {
        return;
    }
    allocation::at_most((1 << 20) + text.len() * BYTES_PER_BYTE, || match choice % 2 {
        0 => gateway(text),
        _ => units(text),
    });
}

fn gateway(text: &str) {
    match Config::from_text(&folder().join("gateway.toml"), text, &[]) {
        Ok(config) => assert!(!config.warnings.has_mistakes(), "a mistake was let through"),
        Err(ConfigError::Invalid(problems)) => {
            assert!(problems.has_mistakes(), "refused without a mistake");
            assert!(problems.lines().all(|line| !line.is_empty()));
        }
        Err(other) => panic!("text alone cannot give {other}"),
    }
}

fn units(text: &str) {
    match Roster::from_text(Path::new("roster.toml"), text) {
        Ok(roster) => assert!(roster.len() <= text.len() / 10, "more units than the text can name"),
        Err(problems) => assert!(problems.has_mistakes(), "refused without a mistake"),
    }
}

fn folder() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        folder.keep()
    })
}
