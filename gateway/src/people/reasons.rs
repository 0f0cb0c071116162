//! Whether who looks has to say why.
//!
//! A force's own rule: the law asks for no reason (Data (Use and Access) Act 2025, s.82). Who sees several forces owes what the
//! strictest of them asks.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use fieldpost_protocol::ForceId;

use super::Forces;

/// What a force asks of who looks at its units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Reason {
    /// Nothing; what is said all the same is not kept.
    #[default]
    Off,
    /// What is said is kept.
    Optional,
    /// Nobody looks without saying why.
    Required,
}

/// What each force asks. Clones share it, and change together.
#[derive(Debug, Clone, Default)]
pub struct Reasons(Arc<RwLock<BTreeMap<ForceId, Reason>>>);

impl Reason {
    /// Its name in the configuration and in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Optional => "optional",
            Self::Required => "required",
        }
    }
}

impl Reasons {
    /// What is asked of who sees `forces`.
    #[must_use]
    pub fn of(&self, forces: &Forces) -> Reason {
        let asked = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let seen = asked.iter().filter(|(force, _)| forces.sees(force));
        seen.map(|(_, reason)| *reason).max().unwrap_or_default()
    }

    /// What one force asks.
    #[must_use]
    pub fn of_force(&self, force: &ForceId) -> Reason {
        let asked = self.0.read().unwrap_or_else(PoisonError::into_inner);
        asked.get(force).copied().unwrap_or_default()
    }

    /// From now on it is as in `other`.
    pub fn take(&self, other: &Self) {
        let other = other.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = other;
    }
}

impl FromIterator<(ForceId, Reason)> for Reasons {
    fn from_iter<I: IntoIterator<Item = (ForceId, Reason)>>(forces: I) -> Self {
        Self(Arc::new(RwLock::new(forces.into_iter().collect())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sees_several_forces_owes_what_the_strictest_asks() {
        let force = |name| ForceId::try_new(name).unwrap();
        let asked = [(force("kent"), Reason::Optional), (force("met"), Reason::Required)];
        let reasons: Reasons = asked.into_iter().collect();
        for (forces, wanted) in [
            ("*", Reason::Required),
            ("kent,met", Reason::Required),
            ("kent,sim", Reason::Optional),
            ("sim", Reason::Off),
            ("", Reason::Off),
        ] {
            assert_eq!(reasons.of(&forces.parse().unwrap()), wanted, "{forces}");
        }
        reasons.clone().take(&Reasons::default());
        assert_eq!(reasons.of(&Forces::All), Reason::Off, "all of them change");
    }
}
