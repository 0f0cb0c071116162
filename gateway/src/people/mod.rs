//! People: who somebody is, what they may do, and for which forces.
//!
//! ```text
//! name, password --authenticator--> account --roles + forces = grant--> session --each request--> viewer: may()? sees()?
//! ```
//! **Default deny**: a role has the permissions of [`role::TABLE`] and no other, a grant reaches the forces it names and no
//! other, and nobody has a grant but by an account or by a link made on the gateway's machine.

pub mod account;
pub mod accounts;
pub mod assignments;
pub mod authenticator;
pub mod consoles;
pub mod entrance;
pub mod forces;
pub mod grant;
pub mod hashing;
pub mod password;
pub mod reasons;
pub mod role;
pub mod throttle;
pub mod wearers;
pub mod worn;

pub use self::account::{Account, Standing};
pub use self::accounts::{Accounts, AccountsError, By, NewAccount};
pub use self::assignments::{AssignmentError, Assignments, NewAssignment};
pub use self::authenticator::{Authenticator, LocalPasswords, Proof, Proven, Refused};
pub use self::consoles::{Console, Consoles, OpenConsole, Watching};
pub use self::entrance::Entrance;
pub use self::forces::Forces;
pub use self::grant::Grant;
pub use self::hashing::Hashing;
pub use self::password::{Hashed, Password, PasswordError};
pub use self::role::{Permission, Role, Roles};
pub use self::wearers::{Assignment, Wearer, Wearers};
pub use self::worn::{Parts, Worn};
