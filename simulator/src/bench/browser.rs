//! Browsers that look at the live page and count what they get.

use std::{
    collections::HashMap,
    io,
    process::Command,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::Server;
use crate::check::http::{Http, HttpError};

/// A live page could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// The control room did not do as asked.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The gateway's binary cannot be run.
    #[error("cannot run the gateway's binary: {0}")]
    Io(#[from] io::Error),
    /// No link came.
    #[error("`fieldpost login` gave no link: {0}")]
    Link(String),
}

/// Logs in as `operator` with a link of its own and opens the stream of the live page.
///
/// # Errors
/// [`PageError`].
pub async fn open_page(server: &Server, operator: &str) -> Result<Incoming, PageError> {
    let output = Command::new(server.binary())
        .args(["login", "--operator", operator, "-c"])
        .arg(server.dir().join("gateway.toml"))
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let path = said.split_once("/login?").map(|(_, path)| format!("/login?{}", path.trim()));
    let path = path.and_then(|path| path.split_whitespace().next().map(str::to_owned));
    let path = path.ok_or_else(|| PageError::Link(String::from_utf8_lossy(&output.stderr).into_owned()))?;
    let mut http = Http::new(&server.control_room.to_string());
    let answer = http.get(&path).await?;
    let cookie = answer.headers().get("set-cookie").and_then(|cookie| cookie.to_str().ok());
    let cookie = cookie.and_then(|cookie| cookie.split(';').next()).unwrap_or_default().to_owned();
    http.set_cookie(cookie);
    Ok(http.get("/api/v1/stream").await?.into_body())
}

/// What one browser has received so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Received {
    /// Bytes of the stream.
    pub(super) bytes: u64,
    /// Events with units.
    pub(super) frames: u64,
    /// Units in them.
    pub(super) updates: u64,
    /// Times it was told that it lags.
    pub(super) lagged: u64,
    /// When each alarm was first seen.
    pub(super) alarms: HashMap<String, Instant>,
}

/// A browser at work; ended when dropped.
pub(super) struct Browser {
    received: Arc<Mutex<Received>>,
    task: tokio::task::JoinHandle<()>,
}

impl Browser {
    /// Reads `stream` from now on.
    pub(super) fn follow(mut stream: Incoming) -> Self {
        let received = Arc::new(Mutex::new(Received::default()));
        let shared = Arc::clone(&received);
        let task = tokio::spawn(async move {
            let mut line = Vec::new();
            let mut event = Event::default();
            while let Some(Ok(frame)) = stream.frame().await {
                let Some(data) = frame.data_ref() else { continue };
                let mut received = lock(&shared);
                received.bytes += data.len() as u64;
                for part in data.split_inclusive(|byte| *byte == b'\n') {
                    line.extend_from_slice(part);
                    if part.ends_with(b"\n") {
                        event.take(&line, &mut received);
                        line.clear();
                    }
                }
            }
        });
        Self { received, task }
    }

    /// What it has received so far.
    pub(super) fn received(&self) -> Received {
        lock(&self.received).clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(received: &Mutex<Received>) -> MutexGuard<'_, Received> {
    // Nothing in here panics half way.
    received.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The event that the next line of data belongs to.
#[derive(Default)]
struct Event {
    is_units: bool,
    is_alarm: bool,
}

impl Event {
    /// Takes one line of the stream.
    fn take(&mut self, line: &[u8], received: &mut Received) {
        if let Some(name) = line.strip_prefix(b"event: ") {
            let name = name.trim_ascii_end();
            *self = Self { is_units: name == b"units", is_alarm: name == b"alarm" };
            received.lagged += u64::from(name == b"lagged");
        } else if let Some(data) = line.strip_prefix(b"data: ") {
            if self.is_units {
                received.frames += 1;
                received.updates += units_in(data);
            } else if self.is_alarm {
                let id = after(data, b"\"id\":\"").and_then(|rest| rest.split(|byte| *byte == b'"').next());
                if let Some(id) = id {
                    let id = String::from_utf8_lossy(id).into_owned();
                    received.alarms.entry(id).or_insert_with(Instant::now);
                }
            }
        }
    }
}

/// Every unit says its device once.
fn units_in(data: &[u8]) -> u64 {
    let mut count = 0;
    let mut rest = data;
    while let Some(behind) = after(rest, b"\"device\":") {
        count += 1;
        rest = behind;
    }
    count
}

fn after<'d>(data: &'d [u8], what: &[u8]) -> Option<&'d [u8]> {
    let at = data.windows(what.len()).position(|window| window == what)?;
    Some(&data[at + what.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_alarms_of_a_stream_are_counted_line_by_line() {
        let (mut event, mut received) = (Event::default(), Received::default());
        let lines: [&[u8]; 6] = [
            b"id: 1\n",
            b"event: units\n",
            b"data: [{\"id\":\"f/a\",\"device\":\"a\"},{\"id\":\"f/b\",\"device\":\"b\"}]\n",
            b"event: alarm\n",
            b"data: {\"id\":\"f/a/1/0\",\"unit\":\"f/a\"}\n",
            b"event: lagged\n",
        ];
        lines.iter().for_each(|line| event.take(line, &mut received));
        assert_eq!((received.frames, received.updates, received.lagged), (1, 2, 1));
        assert!(received.alarms.contains_key("f/a/1/0"));
    }
}
