//! What the disclosure log names, read as an auditor reads it.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use fieldpost_gateway::audit::{runs::Run, verify::verify};

use crate::rig::RigError;

/// The log as it stands.
#[derive(Default)]
pub(super) struct Named {
    /// What was disclosed, by recipient.
    pub(super) to: BTreeMap<String, Disclosed>,
    pub(super) lines: u64,
    pub(super) torn: u64,
    pub(super) broken: Option<String>,
}

/// What one recipient was disclosed.
#[derive(Default)]
pub(super) struct Disclosed {
    /// How often each record.
    pub(super) times: HashMap<String, u32>,
    pub(super) again_count: u64,
}

impl Named {
    /// Reads the log in the folder `log`.
    pub(super) fn read(log: &Path) -> Result<Self, RigError> {
        let mut named = Self::default();
        let mut lines: HashMap<u64, Vec<String>> = HashMap::new();
        let verdict = verify(log, &[], &mut |line| {
            let Some(said) = &line.disclosure else { return Ok(()) };
            let keys = match said.of {
                Some(of) => lines.get(&of).cloned().unwrap_or_default(),
                None => said.keys.iter().flat_map(|run| Run::parse(run).keys()).collect(),
            };
            let disclosed = named.to.entry(said.to.clone()).or_default();
            if line.what == "records_disclosed_again" {
                disclosed.again_count += keys.len() as u64;
            }
            for key in &keys {
                *disclosed.times.entry(key.clone()).or_insert(0) += 1;
            }
            lines.insert(line.n, keys);
            Ok(())
        });
        let verdict = verdict.map_err(RigError::io("read the disclosure log"))?;
        (named.lines, named.torn) = (verdict.lines, verdict.torn);
        named.broken =
            verdict.broken.map(|broken| format!("{} {}: {}", broken.file, broken.line, broken.what));
        Ok(named)
    }
}
