//! Whose units a person sees.
//!
//! **A force that is not named is not seen**, and does not exist for who does not see it.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use fieldpost_protocol::ForceId;
use serde::{Serialize, Serializer};

/// Most forces that one grant names; more is `*`, for somebody who knows what that means.
pub const FORCES_MAX: usize = 64;

/// Some forces, or all. Written `*` or `met,city`. Clones share the set.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Forces {
    /// These, and no other.
    These(Arc<BTreeSet<ForceId>>),
    /// Every force that the gateway serves, now and later.
    All,
}

/// The text is not `*` or a list of forces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("forces are `*` or at most {FORCES_MAX} force ids with commas between them")]
pub struct ForcesError;

impl Forces {
    /// None: the state of whom nothing was granted.
    #[must_use]
    pub fn none() -> Self {
        Self::These(Arc::default())
    }

    /// Exactly these.
    ///
    /// # Errors
    /// More than [`FORCES_MAX`].
    pub fn try_new(forces: impl IntoIterator<Item = ForceId>) -> Result<Self, ForcesError> {
        let forces: BTreeSet<ForceId> = forces.into_iter().take(FORCES_MAX + 1).collect();
        if forces.len() > FORCES_MAX {
            return Err(ForcesError);
        }
        Ok(Self::These(Arc::new(forces)))
    }

    /// Whether the force is among them.
    #[must_use]
    pub fn sees(&self, force: &ForceId) -> bool {
        match self {
            Self::All => true,
            Self::These(forces) => forces.contains(force),
        }
    }

    /// Whether every force of `other` is among them: what one person may give another.
    #[must_use]
    pub fn cover(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (Self::These(_), Self::All) => false,
            (Self::These(ours), Self::These(theirs)) => theirs.is_subset(ours),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::These(forces) if forces.is_empty())
    }

    /// As the API has them: `["*"]` or ids.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        match self {
            Self::All => vec!["*"],
            Self::These(forces) => forces.iter().map(ForceId::as_str).collect(),
        }
    }
}

impl fmt::Display for Forces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().join(","))
    }
}

impl FromStr for Forces {
    type Err = ForcesError;

    fn from_str(text: &str) -> Result<Self, ForcesError> {
        match text {
            "*" => Ok(Self::All),
            "" => Ok(Self::none()),
            list => {
                let forces: Result<Vec<_>, _> =
                    list.split(',').take(FORCES_MAX + 1).map(|name| ForceId::try_new(name.trim())).collect();
                Self::try_new(forces.map_err(|_| ForcesError)?)
            }
        }
    }
}

impl Serialize for Forces {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.names().serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forces(text: &str) -> Forces {
        text.parse().unwrap()
    }

    fn force(name: &str) -> ForceId {
        ForceId::try_new(name).unwrap()
    }

    #[test]
    fn a_force_that_is_not_named_is_not_seen() {
        assert!(forces("met,city").sees(&force("met")));
        assert!(!forces("met,city").sees(&force("kent")));
        assert!(!forces("met").sees(&force("me")) && !forces("met").sees(&force("met.x")));
        assert!(!Forces::none().sees(&force("met")));
        assert!(Forces::All.sees(&force("kent")));
    }

    #[test]
    fn nobody_gives_away_a_force_that_is_not_theirs() {
        assert!(forces("met,city").cover(&forces("city")));
        assert!(!forces("met").cover(&forces("city")));
        assert!(!forces("met").cover(&Forces::All));
        assert!(Forces::All.cover(&Forces::All) && Forces::none().cover(&Forces::none()));
    }

    #[test]
    fn text_goes_there_and_back_and_what_is_no_list_is_refused() {
        for text in ["*", "", "met", "city,met"] {
            assert_eq!(forces(text).to_string(), text);
        }
        assert_eq!(forces("met, city"), forces("city,met"));
        for bad in ["met,,city", "m/t", "*,met", " "] {
            assert_eq!(bad.parse::<Forces>(), Err(ForcesError), "{bad:?}");
        }
        let many: Vec<String> = (0..=FORCES_MAX).map(|n| format!("f{n}")).collect();
        assert_eq!(many.join(",").parse::<Forces>(), Err(ForcesError));
    }
}
