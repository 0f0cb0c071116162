//! Which rules are in force, as a record: from there on, every reader of the spool judges by them.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::book::Book;
use super::clock::own_record;
use super::rules::Rules;
use crate::record::{Record, RecordKind};

/// Payload of a [`RecordKind::Rules`] record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesSaid {
    /// When, Unix ms.
    pub at_ms: u64,
    /// Their version.
    pub version: u32,
    /// Their name.
    pub name: String,
    /// The file; left out if they are the built-in ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl RulesSaid {
    /// That `rules` are in force from `at_ms` on.
    #[must_use]
    pub fn new(rules: &Rules, at_ms: u64) -> Self {
        let text = (!rules.is_built_in()).then(|| rules.text.clone());
        Self { at_ms, version: rules.version, name: rules.name.clone(), text }
    }

    /// The record that makes it so.
    #[must_use]
    pub fn record(&self) -> Record {
        own_record(RecordKind::Rules, self.at_ms, self)
    }

    /// The rules; `None` if this version cannot read them.
    fn rules(&self) -> Option<Arc<Rules>> {
        match &self.text {
            None => Some(Rules::built_in()),
            Some(text) => crate::config::rules::from_text(Path::new("spool"), text).ok().map(Arc::new),
        }
    }
}

impl Book {
    /// From here on these rules are in force. Alarms that are there keep their grades and ladders. Whether it could be done:
    /// rules of a newer version that cannot be read leave the old ones in force.
    pub fn adopt(&mut self, said: &RulesSaid) -> bool {
        let Some(rules) = said.rules() else { return false };
        self.rules = rules;
        self.revision += 1;
        true
    }

    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }
}
