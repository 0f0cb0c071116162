//! A renewed revocation list is taken without being asked: a lost device is out within a minute even if nobody sends
//! SIGHUP, and a timer that renews the list keeps the doors open on its own.

use std::sync::Arc;

use super::{Service, TlsError};
use crate::config::material::{MaterialError, RevocationList, modified_at};
use crate::ingest::IngestConfig;

/// Why the list on disk was not taken. The one in force stays.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// The file cannot be used.
    #[error("the revocation list in force stays: {0}")]
    Material(#[from] MaterialError),
    /// TLS cannot use it.
    #[error("the revocation list in force stays: {0}")]
    Tls(#[from] TlsError),
    /// The file holds an older list: taking it would let revoked devices back in.
    #[error(
        "the revocation list in force stays: the file holds an older one; SIGHUP takes it if that is meant"
    )]
    Older,
    /// The list comes from somebody else.
    #[error("the revocation list in force stays: the file holds another authority's")]
    Foreign,
}

impl Service {
    /// Reads the revocation list again if its file has changed since it was read, and ends the sessions of devices it
    /// revokes. Blocking for one small file; call it once a minute. Returns whether a new list is in force.
    ///
    /// # Errors
    /// [`RefreshError`]; then nothing has changed.
    pub fn refresh_revocation_list(&self) -> Result<bool, RefreshError> {
        let mut current = self.current();
        let Some(known) = current.front_door.revocation_list.clone() else { return Ok(false) };
        if modified_at(&known.path) == known.modified_at {
            return Ok(false);
        }
        let list = RevocationList::load(&known.path)?;
        if list.number < known.number {
            return Err(RefreshError::Older);
        }
        let subjects = &current.front_door.device_authority.subjects;
        if !subjects.iter().all(|subject| list.issuers.contains(subject)) {
            return Err(RefreshError::Foreign);
        }
        let mut config = (**current).clone();
        config.front_door.revocation_list = Some(Arc::new(list));
        self.door_tls.renew(&config.front_door)?;
        self.door.reload(IngestConfig::new(&config));
        self.readiness.take_dates(&config);
        *current = Arc::new(config);
        tracing::info!("renewed revocation list in force");
        Ok(true)
    }
}
