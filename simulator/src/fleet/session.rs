//! What a device remembers of its MQTT session between connections: that there is one, and nothing else.
//!
//! The gateway keeps the subscription and the receipts that wait for the device. The publishes that were in flight are not
//! kept here: **the device logic resends what is unanswered, and nobody else does.**

use std::{
    pin::Pin,
    sync::{Mutex, PoisonError},
};

use rumqttc::{PersistedSession, SessionStore, SessionStoreError, SessionStoreKey};

/// What the store's methods return.
type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, SessionStoreError>> + Send + 'a>>;

/// One device's memory of its session.
#[derive(Debug, Default)]
pub struct SessionMemory(Mutex<Option<PersistedSession>>);

impl SessionMemory {
    fn set(&self, session: Option<PersistedSession>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = session;
    }
}

impl SessionStore for SessionMemory {
    fn load<'a>(&'a self, _: &'a SessionStoreKey) -> Answer<'a, Option<PersistedSession>> {
        let session = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(async move { Ok(session) })
    }

    fn save<'a>(&'a self, _: &'a SessionStoreKey, session: &'a PersistedSession) -> Answer<'a, ()> {
        let kept = PersistedSession {
            last_pkid: 0,
            last_puback: 0,
            replay: Vec::new(),
            incoming_qos2: Vec::new(),
            client_id: session.client_id.clone(),
            ..*session
        };
        self.set(Some(kept));
        Box::pin(async { Ok(()) })
    }

    fn clear<'a>(&'a self, _: &'a SessionStoreKey) -> Answer<'a, ()> {
        self.set(None);
        Box::pin(async { Ok(()) })
    }
}
