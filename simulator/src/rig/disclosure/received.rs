//! What a party that is not HTTP has received: how often each record, and whether it is still connected.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

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

    /// Takes connections for ever, each read by `read` to its end.
    pub(super) async fn serve<R>(self, listener: TcpListener, read: impl Fn(TcpStream, Self) -> R)
    where
        R: Future<Output = io::Result<()>> + Send + 'static,
    {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let (reading, open) = (read(stream, self.clone()), self.open());
            connections.spawn(async move {
                // However it ends: what came whole is counted.
                let _ = reading.await;
                drop(open);
            });
            while connections.try_join_next().is_some() {}
        }
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
