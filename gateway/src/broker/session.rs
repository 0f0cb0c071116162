//! What the client is told of its MQTT session: that there may be one, with nothing of ours in flight.
//!
//! The broker keeps what it has for us. What we had for devices is not kept: **a receipt is said again when it is needed, and
//! nothing else needs to be.** A packet id that begins anew harms nobody at quality 1, where the receiver keeps no ids. A
//! simulated device remembers as little, since its logic resends what is unanswered.
//!
//! A client whose very first connection broke has a session at the server without ever having heard of it. So the memory is
//! always that of a session with nothing in flight; a server that has none simply says so.

use std::pin::Pin;

use rumqttc::{PersistedAckMode, PersistedSession, SessionStore, SessionStoreError, SessionStoreKey};

/// What the store's methods return.
type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, SessionStoreError>> + Send + 'a>>;

/// The version of the client's own model of a session.
const FORMAT_VERSION: u16 = 1;

/// A session with nothing in flight.
#[derive(Debug)]
pub struct IdleSession(PersistedSession);

impl IdleSession {
    /// On the terms that the client's connections are made on: the expiry in seconds, at most so many publishes in flight, and
    /// who acknowledges what comes.
    #[must_use]
    pub fn new(client_id: &str, expiry_s: u32, in_flight_max: u16, ack_mode: PersistedAckMode) -> Self {
        Self(PersistedSession {
            format_version: FORMAT_VERSION,
            client_id: client_id.to_owned(),
            clean_start: false,
            session_expiry_interval: Some(expiry_s),
            outgoing_inflight_upper_limit: Some(in_flight_max),
            ack_mode,
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
