//! What a machine is released, as words: of the command line, and of the file.

use std::fmt;

use fieldpost_protocol::ForceId;
use serde::{Deserialize, Serialize};

use super::MachinesError;
use crate::forward::release::{Field, Fields, Forces, Kind, Kinds, Marking, Release};

/// Names everything.
const ALL: &str = "*";
/// As in an output's table.
const PRECISION_M_MAX: u32 = 100_000;

/// A release table in words.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Words {
    forces: Vec<String>,
    classes: Vec<String>,
    fields: Vec<String>,
    precision_m: u32,
    marking: String,
}

/// A word of a release is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} \"{word}\" is not known: {known}")]
pub struct ReleaseError {
    what: &'static str,
    word: String,
    known: String,
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { forces, classes, fields, precision_m, marking } = self;
        let [forces, classes, fields] = [forces, classes, fields].map(|words| words.join(","));
        write!(f, "forces {forces}; classes {classes}; fields {fields}; {precision_m} m; {marking}")
    }
}

impl From<&Release> for Words {
    fn from(release: &Release) -> Self {
        let all = || vec![ALL.to_owned()];
        Self {
            forces: match &release.forces {
                Forces::All => all(),
                Forces::Only(forces) => forces.iter().map(ToString::to_string).collect(),
            },
            classes: release.classes.iter().map(|kind| kind.as_str().to_owned()).collect(),
            fields: release.fields.iter().map(|field| field.as_str().to_owned()).collect(),
            precision_m: release.precision_m,
            marking: release.marking.as_str().to_owned(),
        }
    }
}

impl TryFrom<&Words> for Release {
    type Error = ReleaseError;

    fn try_from(words: &Words) -> Result<Self, ReleaseError> {
        Self::from_words(&words.forces, &words.classes, &words.fields, words.precision_m, &words.marking)
    }
}

impl Release {
    /// Reads a release from words: each list names some, or `*` for all. An empty list releases nothing.
    ///
    /// # Errors
    /// [`ReleaseError`] names the first word that is none.
    pub fn from_words(
        forces: &[String],
        classes: &[String],
        fields: &[String],
        precision_m: u32,
        marking: &str,
    ) -> Result<Self, ReleaseError> {
        let kinds = chosen("class", classes, &Kind::ALL.map(|kind| (kind.as_str(), kind)))?;
        let fields = chosen("field", fields, &Field::ALL.map(|field| (field.as_str(), field)))?;
        let marking = chosen("marking", &[marking.to_owned()], &Marking::ALL)?;
        let too_coarse = precision_m > PRECISION_M_MAX;
        if too_coarse {
            return Err(error("precision", &precision_m.to_string(), format!("0 to {PRECISION_M_MAX} m")));
        }
        let none = || error("marking", "*", "name one".to_owned());
        Ok(Self {
            forces: forces_of(forces)?,
            classes: kinds.map_or(Kinds::ALL, |kinds| Kinds::of(&kinds)),
            fields: fields.map_or(Fields::ALL, |fields| Fields::of(&fields)),
            precision_m,
            marking: marking.and_then(|one| one.first().copied()).ok_or_else(none)?,
        })
    }

    /// Refuses a class that is named and of which no record could ever go.
    pub(super) fn none_in_vain(&self) -> Result<(), MachinesError> {
        let named = self.classes.iter().filter(|_| self.classes != Kinds::ALL);
        for kind in named {
            let needs = kind.needs();
            let why = if !needs.is_empty() && self.fields.and(needs).is_empty() {
                format!("release one of its fields: {needs}")
            } else if Marking::of(kind, self.fields.and(kind.fields())) > self.marking {
                format!("it is marked above {}", self.marking.as_str())
            } else {
                continue;
            };
            return Err(MachinesError::InVain { kind, why });
        }
        Ok(())
    }
}

fn forces_of(words: &[String]) -> Result<Forces, ReleaseError> {
    if matches!(words, [one] if one == ALL) {
        return Ok(Forces::All);
    }
    let force = |word: &String| {
        ForceId::try_new(word).map_err(|_| error("force", word, "1 to 64 of A-Z a-z 0-9 . _ -".to_owned()))
    };
    words.iter().map(force).collect::<Result<_, _>>().map(Forces::Only)
}

/// `None`: all of them.
fn chosen<T: Copy>(
    what: &'static str,
    words: &[String],
    choices: &[(&'static str, T)],
) -> Result<Option<Vec<T>>, ReleaseError> {
    if matches!(words, [one] if one == ALL) {
        return Ok(None);
    }
    let find = |word: &String| {
        let found = choices.iter().find(|(name, _)| name == word).map(|(_, choice)| *choice);
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        found.ok_or_else(|| error(what, word, names.join(", ")))
    };
    words.iter().map(find).collect::<Result<_, _>>().map(Some)
}

fn error(what: &'static str, word: &str, known: String) -> ReleaseError {
    ReleaseError { what, word: word.to_owned(), known }
}
