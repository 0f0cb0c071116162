//! What a party that is not HTTP has received: how often each record, and whether it is still connected.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use crate::rig::RigError;

/// See the module. Clones share it.
#[derive(Clone)]
pub(super) struct Received(Arc<Shared>);

struct Shared {
    times: Mutex<HashMap<String, u32>>,
    open_count: watch::Sender<u32>,
    progress: watch::Sender<()>,
}

/// A connection, from before its first byte until everything that came over it is counted.
pub(super) struct Open(Received);

impl Received {
    pub(super) fn nothing() -> Self {
        let (open_count, progress) = (watch::channel(0).0, watch::channel(()).0);
        Self(Arc::new(Shared { times: Mutex::default(), open_count, progress }))
    }

    pub(super) fn open(&self) -> Open {
        self.0.open_count.send_modify(|count| *count += 1);
        Open(self.clone())
    }

    /// A record has come whole.
    pub(super) fn count(&self, key: String) {
        *self.0.times.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_insert(0) += 1;
        self.0.progress.send_replace(());
    }

    pub(super) fn times(&self) -> HashMap<String, u32> {
        self.0.times.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until every connection is at its end and counted.
    pub(super) async fn nobody_is_connected(&self, most: Duration) -> Result<(), RigError> {
        let mut open_count = self.0.open_count.subscribe();
        let ended = open_count.wait_for(|count| *count == 0);
        tokio::time::timeout(most, ended).await.map_err(|_| RigError::Hang(most)).map(drop)
    }

    /// Waits until every one of `keys` has come; what is missing after `most` is the verdict's.
    pub(super) async fn has_all(&self, keys: &[String], most: Duration) {
        let mut seen = self.0.progress.subscribe();
        let is_missing =
            |key: &String| !self.0.times.lock().unwrap_or_else(PoisonError::into_inner).contains_key(key);
        let all = async {
            // Found once, a record stays: only the first that is missing has to be looked for again.
            for key in keys {
                while is_missing(key) {
                    seen.changed().await.ok();
                }
            }
        };
        // Late is missing.
        tokio::time::timeout(most, all).await.ok();
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.0.open_count.send_modify(|count| *count -= 1);
    }
}
