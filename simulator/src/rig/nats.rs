//! A nats-server that a rig stops and starts, and what is in its stream.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;

use super::{OutageError, load::HANG};
use crate::bench::{free_port, until_it_listens};

/// Reads the stream until every expected key was seen, and then what else is in it.
pub(super) async fn collect(
    url: &str,
    expected: &HashMap<String, u32>,
    arrival_max: Duration,
) -> Result<HashMap<String, u32>, OutageError> {
    let broken = |error: &dyn std::fmt::Display| OutageError::Nats(error.to_string());
    let client = async_nats::connect(url).await.map_err(|e| broken(&e))?;
    let jetstream = async_nats::jetstream::new(client);
    let mut stream = jetstream.get_stream("FIELDPOST").await.map_err(|e| broken(&e))?;
    let config = async_nats::jetstream::consumer::pull::OrderedConfig::default();
    let consumer = stream.create_consumer(config).await.map_err(|e| broken(&e))?;
    let mut messages = consumer.messages().await.map_err(|e| broken(&e))?;
    let mut arrived: HashMap<String, u32> = HashMap::new();
    let (start, mut missing_count, mut read_count) = (Instant::now(), expected.len(), 0);
    let mut held_count = 0;
    while missing_count > 0 || read_count < held_count {
        let left = arrival_max.saturating_sub(start.elapsed());
        let left = if read_count < held_count { HANG } else { left };
        let Ok(Some(message)) = tokio::time::timeout(left, messages.next()).await else {
            // What is in the stream by now has arrived, however long it takes to read it.
            let now_count = Box::pin(stream.info()).await.map_err(|e| broken(&e))?.state.messages;
            if now_count > held_count.max(read_count) {
                held_count = now_count;
                continue;
            }
            return Err(OutageError::Missing { waited: start.elapsed(), missing_count });
        };
        let message = message.map_err(|e| broken(&e))?;
        let id = message.headers.as_ref().and_then(|headers| headers.get("Nats-Msg-Id"));
        let key = id.map(ToString::to_string).unwrap_or_default();
        let seen = arrived.entry(key).or_insert(0);
        *seen += 1;
        read_count += 1;
        if *seen == 1 && expected.contains_key(id.map_or("", |id| id.as_str())) {
            missing_count -= 1;
        }
        if missing_count == 0 && read_count >= held_count {
            // Everything is there; what stands behind it can only be there twice.
            held_count = Box::pin(stream.info()).await.map_err(|e| broken(&e))?.state.messages;
        }
    }
    Ok(arrived)
}

/// A nats-server with JetStream on files. Ended when dropped.
pub(super) struct Nats {
    binary: PathBuf,
    store: PathBuf,
    port: u16,
    child: Child,
}

impl Nats {
    /// Starts the server with its store in `store`, and waits until it listens.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(super) fn start(binary: &Path, store: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(store)?;
        let port = free_port()?;
        let child = spawn(binary, store, port)?;
        Ok(Self { binary: binary.to_path_buf(), store: store.to_path_buf(), port, child })
    }

    /// Where it listens.
    pub(super) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Its process.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`, and waits until it is gone.
    pub(super) fn stop(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Starts it again on the same files and port.
    pub(super) fn restart(&mut self) -> io::Result<()> {
        self.child = spawn(&self.binary, &self.store, self.port)?;
        Ok(())
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) && self.stop().is_err() {
            tracing::warn!("nats-server could not be ended");
        }
    }
}

fn spawn(binary: &Path, store: &Path, port: u16) -> io::Result<Child> {
    let child = Command::new(binary)
        .args(["-js", "-a", "127.0.0.1", "-p", &port.to_string(), "-sd"])
        .arg(store)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| {
            io::Error::new(error.kind(), format!("cannot start {}: {error}", binary.display()))
        })?;
    until_it_listens(child, port)
}
