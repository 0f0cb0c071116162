//! What the rules read and write beside the spool: the holds, and the record of what was erased. **Files in the product; a
//! simulation brings its own.**

use std::any::Any;
use std::fmt;
use std::path::{Path, PathBuf};

use super::erased::{ERASED_FILE, append};
use super::{Hold, Holds};

/// The holds, and while this lives nobody changes them.
pub struct Pinned {
    /// All of them, released ones too.
    pub holds: Vec<Hold>,
    /// Lets go of them when it is dropped.
    pub pin: Box<dyn Any>,
}

/// Holds and record.
pub trait Papers: fmt::Debug + Send + Sync {
    /// A number that changes with the holds.
    ///
    /// # Errors
    /// They cannot be read: nothing may be erased.
    fn version(&self) -> Result<u64, String>;

    /// Reads the holds and keeps everybody from changing them.
    ///
    /// # Errors
    /// They cannot be read, or somebody is changing them: nothing may be erased.
    fn pin(&self) -> Result<Pinned, String>;

    /// Puts one erasure on record, durably.
    ///
    /// # Errors
    /// It is not on record: nothing may be erased.
    fn note(&self, erased: &serde_json::Value) -> Result<(), String>;
}

/// [`super::HOLDS_FILE`] and [`ERASED_FILE`] in a directory.
#[derive(Debug)]
pub(super) struct Files {
    data_dir: PathBuf,
    holds: Holds,
}

impl Files {
    pub(super) fn new(data_dir: &Path) -> Self {
        Self { data_dir: data_dir.to_owned(), holds: Holds::new(data_dir) }
    }
}

impl Papers for Files {
    fn version(&self) -> Result<u64, String> {
        self.holds.read().map(|(version, _)| version).map_err(|error| error.to_string())
    }

    fn pin(&self) -> Result<Pinned, String> {
        // Pinned first, then read: whoever places a hold after this waits until the look is over.
        let pin = self.holds.pin().map_err(|error| error.to_string())?;
        let holds = self.holds.all().map_err(|error| error.to_string())?;
        Ok(Pinned { holds, pin: Box::new(pin) })
    }

    fn note(&self, erased: &serde_json::Value) -> Result<(), String> {
        append(&self.data_dir, erased).map_err(|error| format!("writing {ERASED_FILE}: {error}"))
    }
}
