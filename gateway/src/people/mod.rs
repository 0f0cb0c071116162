//! People: who may do what, for which forces.
//!
//! ```text
//! roles + forces = grant --at login--> session --each request--> viewer: may(permission)? sees(force)?
//! ```
//! **Default deny**: a role has the permissions of [`role::TABLE`] and no other, a grant reaches the forces it names and no
//! other, and nobody has a grant but by an account or by a link made on the gateway's machine.

pub mod forces;
pub mod grant;
pub mod role;

pub use self::forces::Forces;
pub use self::grant::Grant;
pub use self::role::{Permission, Role, Roles};
