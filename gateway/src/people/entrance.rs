//! Accounts and the way in, as the control room has them.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::authenticator::{Authenticator, LocalPasswords};
use super::hashing::Hashing;
use super::password::{Password, PasswordError};
use super::{Accounts, AccountsError, By};

/// The accounts, who checks their passwords, and where these are hashed. Clones share all of it.
#[derive(Clone)]
pub struct Entrance {
    /// Who may come in.
    pub accounts: Accounts,
    /// Says who somebody is.
    pub authenticator: Arc<dyn Authenticator>,
    /// Hashes new passwords.
    pub hashing: Hashing,
}

impl Entrance {
    /// Local names and passwords. Blocking: hashes once.
    ///
    /// # Errors
    /// [`PasswordError::Failed`].
    pub fn local(data_dir: &Path) -> Result<Self, PasswordError> {
        let (accounts, hashing) = (Accounts::new(data_dir), Hashing::new()?);
        let authenticator = Arc::new(LocalPasswords::new(accounts.clone(), hashing.clone()));
        Ok(Self { accounts, authenticator, hashing })
    }

    /// Makes the first account if there is none; its password, to be shown once. Blocking: hashes.
    ///
    /// # Errors
    /// The file of accounts.
    pub fn found(&self, at_ms: u64) -> Result<Option<Password>, AccountsError> {
        self.accounts.found(&By { who: "first start".to_owned(), at_ms })
    }
}

impl fmt::Debug for Entrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entrance").field("accounts", &self.accounts).finish_non_exhaustive()
    }
}
