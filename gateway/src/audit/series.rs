//! The chains there are: each in a directory of its own, its files named after it.

use std::path::Path;

/// Which chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Series {
    /// Who was shown whose position: `access/access-000001.ndjson`.
    Access,
    /// What was sent to which system: `disclosures/disclosures-000001.ndjson`.
    Disclosures,
}

impl Series {
    /// Every chain.
    pub const ALL: [Self; 2] = [Self::Access, Self::Disclosures];

    /// Its directory in the data directory, and how its files' names begin.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Disclosures => "disclosures",
        }
    }

    /// The name of its file `index`.
    #[must_use]
    pub fn file_name(self, index: u32) -> String {
        format!("{}-{index:06}.ndjson", self.name())
    }

    /// The index in the name of one of its files.
    #[must_use]
    pub fn index_of(self, file_name: &str) -> Option<u32> {
        file_name.strip_prefix(self.name())?.strip_prefix('-')?.strip_suffix(".ndjson")?.parse().ok()
    }

    /// The chain whose files are in `dir`, wherever it was copied to; the access record if there are none.
    #[must_use]
    pub fn in_dir(dir: &Path) -> Self {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let found = entries.into_iter().find_map(|entry| {
            let name = entry.file_name();
            let name = name.to_str()?;
            Self::ALL.into_iter().find(|series| series.index_of(name).is_some())
        });
        found.unwrap_or(Self::Access)
    }
}
