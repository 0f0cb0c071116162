//! Who asks: what a handler knows of the person behind a request.
//!
//! ```text
//! cookie --guard--> Session --> Viewer in the request's extensions --> routes: may()? --> handler: sees()?
//! ```
//! **A handler that takes a [`Viewer`] runs only for a session, and only if the viewer may what its row in
//! [`super::routes`] asks for.** What is left to the handler is the force: a unit of a force that the viewer does not see
//! is answered exactly like one that does not exist.

use std::sync::Arc;

use fieldpost_protocol::ForceId;

use crate::login::Operator;
pub use crate::people::{Forces, Permission, Role, Roles};

/// A person with a session. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Viewer {
    /// Who.
    pub operator: Operator,
    /// Which of their sessions: its name in the access record, not the cookie.
    pub session: Arc<str>,
    /// What they are here for.
    pub roles: Roles,
    /// Whose units they see.
    pub forces: Forces,
    /// Why they look, if their forces ask.
    pub reason: Option<Arc<str>>,
    /// They have to say why, and have not.
    pub owes_reason: bool,
}

impl Viewer {
    /// Whether one of their roles has the permission.
    #[must_use]
    pub fn may(&self, permission: Permission) -> bool {
        self.roles.may(permission)
    }

    /// Whether anything of the force exists for them.
    #[must_use]
    pub fn sees(&self, force: &ForceId) -> bool {
        self.forces.sees(force)
    }
}
