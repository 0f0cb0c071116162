//! What was disclosed to each recipient lately: tells a repetition from a new disclosure.
//!
//! Bound: [`RECENT_MAX`] records a recipient, 24 bytes each. That is above what a forwarder has in work: a batch a lane.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::audit::files::newest_lines;
use crate::audit::runs::Run;

/// Records remembered for each recipient: three batches of the largest size that can be configured.
pub const RECENT_MAX: usize = 30_000;

/// The recipients' recent records. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct RecentOf(Arc<Mutex<HashMap<String, Recent>>>);

#[derive(Debug, Default)]
struct Recent {
    order: VecDeque<u64>,
    line_of: HashMap<u64, u64>,
    /// How many records a line has that are all still remembered.
    lines: BTreeMap<u64, u64>,
}

/// Keys, told apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen<'k> {
    pub(super) new: Vec<&'k str>,
    /// Lines of which every record goes again, with their counts.
    pub(super) whole: Vec<(u64, u64)>,
    /// Keys of other lines.
    pub(super) some: Vec<&'k str>,
}

impl RecentOf {
    /// What the end of the log in `dir` says. Blocking; at most two files are read.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn read(dir: &Path) -> io::Result<Self> {
        let recent = Self::default();
        newest_lines(dir, &mut |line| {
            let Some(said) = &line.disclosure else { return };
            if said.of.is_none() {
                recent.remember(&said.to, line.n, said.keys.iter());
            }
        })?;
        Ok(recent)
    }

    pub(super) fn look<'k>(&self, recipient: &str, keys: &[&'k str]) -> Seen<'k> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(recent) = all.get(recipient) else {
            return Seen { new: keys.to_vec(), ..Seen::default() };
        };
        let mut seen = Seen::default();
        let mut by_line: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
        for key in keys {
            match recent.line_of.get(&hash(key)) {
                Some(n) => by_line.entry(*n).or_default().push(key),
                None => seen.new.push(key),
            }
        }
        for (n, keys) in by_line {
            if recent.lines.get(&n) == Some(&(keys.len() as u64)) {
                seen.whole.push((n, keys.len() as u64));
            } else {
                seen.some.extend(keys);
            }
        }
        seen
    }

    pub(super) fn remember<'r>(&self, recipient: &str, n: u64, runs: impl Iterator<Item = &'r String>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = all.entry(recipient.to_owned()).or_default();
        for key in runs.flat_map(|run| Run::parse(run).keys()) {
            recent.add(hash(&key), n);
        }
    }
}

impl Recent {
    fn add(&mut self, key: u64, n: u64) {
        match self.line_of.insert(key, n) {
            // Moved to the newer line: the older one is not whole any more.
            Some(older) => _ = self.lines.remove(&older),
            None => self.order.push_back(key),
        }
        *self.lines.entry(n).or_insert(0) += 1;
        while self.order.len() > RECENT_MAX {
            let Some(oldest) = self.order.pop_front() else { return };
            if let Some(n) = self.line_of.remove(&oldest) {
                self.lines.remove(&n);
            }
        }
    }
}

fn hash(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}
