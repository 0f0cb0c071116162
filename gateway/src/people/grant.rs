//! What one person has been given.

use super::{Forces, Role, Roles};

/// Roles, and the forces for which they hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// What they may do.
    pub roles: Roles,
    /// For whom.
    pub forces: Forces,
}

/// What a link gives that says nothing of roles and whose operator has no account: the live page, its alarms, history and
/// the ledger of every force. Neither accounts nor the access record. Whoever can make a link can read the spool.
pub const LINK_ROLES: [Role; 3] = [Role::Operator, Role::Supervisor, Role::Engineer];

impl Grant {
    /// The grant of [`LINK_ROLES`].
    #[must_use]
    pub fn of_link() -> Self {
        Self { roles: LINK_ROLES.into_iter().collect(), forces: Forces::All }
    }

    /// Nothing.
    #[must_use]
    pub fn none() -> Self {
        Self { roles: Roles::NONE, forces: Forces::none() }
    }
}
