//! What a device remembers of its MQTT session between connections: that there may be one, and nothing else.
//!
//! The gateway keeps the subscription and the receipts that wait for the device. The publishes that were in flight are not
//! kept here: **the device logic resends what is unanswered, and nobody else does.**
//!
//! A device whose very first connection broke has a session at the gateway without ever having heard of it. So the memory
//! is always that of a session with nothing in flight; a gateway that has none simply says so.

use std::pin::Pin;

use rumqttc::{PersistedAckMode, PersistedSession, SessionStore, SessionStoreError, SessionStoreKey};

/// What the store's methods return.
type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, SessionStoreError>> + Send + 'a>>;

/// The version of the client's own model of a session.
const FORMAT_VERSION: u16 = 1;

/// An idle session of one device.
#[derive(Debug)]
pub struct IdleSession(PersistedSession);

impl IdleSession {
    /// The session of a device, with the terms its connections are made on.
    #[must_use]
    pub fn new(device: &str, expiry_s: u32, in_flight_max: u16) -> Self {
        Self(PersistedSession {
            format_version: FORMAT_VERSION,
            client_id: device.to_owned(),
            clean_start: false,
            session_expiry_interval: Some(expiry_s),
            outgoing_inflight_upper_limit: Some(in_flight_max),
            ack_mode: PersistedAckMode::Automatic,
            last_pkid: 0,
            last_puback: 0,
            replay: Vec::new(),
            incoming_qos2: Vec::new(),
        })
    }
}

impl SessionStore for IdleSession {
    fn load<'a>(&'a self, _: &'a SessionStoreKey) -> Answer<'a, Option<PersistedSession>> {
        Box::pin(async { Ok(Some(self.0.clone())) })
    }

    fn save<'a>(&'a self, _: &'a SessionStoreKey, _: &'a PersistedSession) -> Answer<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn clear<'a>(&'a self, _: &'a SessionStoreKey) -> Answer<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}
