//! A renewed revocation list is taken without being asked, of devices and of TAK clients: who is revoked is out within a minute
//! even if nobody sends SIGHUP, and a timer that renews the list keeps the doors open on its own.

use std::sync::Arc;

use super::{Service, TlsError};
use crate::config::material::{Authority, MaterialError, RevocationList, modified_at};
use crate::config::{Config, TakListener};
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
        let front_door = &current.front_door;
        let Some(list) = renewed(front_door.revocation_list.as_deref(), &front_door.device_authority)? else {
            return Ok(false);
        };
        let mut config = (**current).clone();
        config.front_door.revocation_list = Some(Arc::new(list));
        self.door_tls.renew(&config.front_door)?;
        self.door.reload(IngestConfig::new(&config));
        self.readiness.take_dates(&config);
        *current = Arc::new(config);
        tracing::info!("renewed revocation list in force");
        Ok(true)
    }

    /// The same with the list of TAK clients: whoever it revokes is put out, and nobody else is disturbed. While the outputs are
    /// being started again nothing is looked at: that reads the list, too.
    ///
    /// # Errors
    /// [`RefreshError`]; then nothing has changed.
    pub fn refresh_tak_revocation_list(&self) -> Result<bool, RefreshError> {
        let Ok(mut forwarders) = self.forwarders.try_lock() else { return Ok(false) };
        let mut current = self.current();
        let Some(listener) = &current.tak else { return Ok(false) };
        let Some(list) = renewed(listener.revocation_list.as_deref(), &listener.client_authority)? else {
            return Ok(false);
        };
        let listener = TakListener { revocation_list: Some(Arc::new(list)), ..listener.clone() };
        let config = Config { tak: Some(listener), ..(**current).clone() };
        forwarders.renew_tak_revocations(&config)?;
        self.readiness.take_dates(&config);
        *current = Arc::new(config);
        tracing::info!("renewed revocation list of TAK clients in force");
        Ok(true)
    }
}

/// What the file of the list `known` holds now, if it has changed and is a list of `authority` that is no older.
fn renewed(
    known: Option<&RevocationList>,
    authority: &Authority,
) -> Result<Option<RevocationList>, RefreshError> {
    let Some(known) = known.filter(|known| modified_at(&known.path) != known.modified_at) else {
        return Ok(None);
    };
    let list = RevocationList::load(&known.path)?;
    if list.number < known.number {
        return Err(RefreshError::Older);
    }
    if !authority.subjects.iter().all(|subject| list.issuers.contains(subject)) {
        return Err(RefreshError::Foreign);
    }
    Ok(Some(list))
}
