//! A force system that takes events over HTTP and can be told to misbehave.
//!
//! It keeps the id of every event that it said yes to, and nothing else.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use super::RigError;

/// How it treats a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Mood {
    /// 200 for everything.
    Takes,
    /// Reads the request and never answers.
    Hangs,
    /// 500 for everything.
    Refuses,
    /// Closes after half of the body.
    ClosesMidBatch,
    /// Answers with bytes that are no HTTP.
    TalksRubbish,
    /// Takes everything, says 200, and breaks off within the answer: nobody can know.
    BreaksOff,
}

/// The server; ended when dropped.
pub(super) struct HttpSink {
    shared: Arc<Shared>,
    address: SocketAddr,
    server: Option<JoinHandle<()>>,
}

struct Shared {
    mood: watch::Sender<Mood>,
    taken: Mutex<HashMap<String, u32>>,
    /// Every id that came, whatever was answered.
    received: Mutex<HashMap<String, u32>>,
    connected: watch::Sender<u32>,
    progress: watch::Sender<()>,
}

impl HttpSink {
    /// Listens on loopback.
    pub(super) async fn start() -> Result<Self, RigError> {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let address = listener.local_addr().map_err(RigError::io("read an address"))?;
        let shared = Arc::new(Shared {
            mood: watch::channel(Mood::Takes).0,
            taken: Mutex::default(),
            received: Mutex::default(),
            connected: watch::channel(0).0,
            progress: watch::channel(()).0,
        });
        let server = Some(tokio::spawn(serve(listener, Arc::clone(&shared))));
        Ok(Self { shared, address, server })
    }

    /// Where events go.
    pub(super) fn url(&self) -> String {
        format!("http://{}/events", self.address)
    }

    /// From the next request on, and for those that hang.
    pub(super) fn be(&self, mood: Mood) {
        self.shared.mood.send_replace(mood);
    }

    /// Nobody listens any more.
    pub(super) fn go(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
        }
    }

    /// Somebody listens again, at the same place.
    pub(super) async fn come_back(&mut self) -> Result<(), RigError> {
        let listener = listen(self.address).await?;
        self.server = Some(tokio::spawn(serve(listener, Arc::clone(&self.shared))));
        Ok(())
    }

    /// How often it has said yes to each id.
    pub(super) fn taken(&self) -> HashMap<String, u32> {
        self.shared.taken().clone()
    }

    /// How often each id has come whole, whatever was answered.
    pub(super) fn received(&self) -> HashMap<String, u32> {
        self.shared.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until everything that was sent to it has been read: every connection is at its end.
    ///
    /// # Errors
    /// [`RigError::Hang`] after `most`.
    pub(super) async fn nobody_is_connected(&self, most: Duration) -> Result<(), RigError> {
        let mut connected = self.shared.connected.subscribe();
        let ended = connected.wait_for(|count| *count == 0);
        tokio::time::timeout(most, ended).await.map_err(|_| RigError::Hang(most)).map(drop)
    }

    /// Waits until it has said yes to every one of `keys`; false after `most`.
    pub(super) async fn has_all(&self, keys: &[String], most: Duration) -> bool {
        let mut seen = self.shared.progress.subscribe();
        let all = async {
            while !keys.iter().all(|key| self.shared.taken().contains_key(key)) {
                seen.changed().await.ok();
            }
        };
        tokio::time::timeout(most, all).await.is_ok()
    }
}

impl Shared {
    fn taken(&self) -> MutexGuard<'_, HashMap<String, u32>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HttpSink {
    fn drop(&mut self) {
        self.go();
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, RigError> {
    TcpListener::bind(address).await.map_err(RigError::io("listen as a force system"))
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // Ends with the server: nobody is left to be answered.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        shared.connected.send_modify(|count| *count += 1);
        connections.spawn(async move {
            let _open = Open(&shared);
            while answer(&mut stream, &shared).await.is_ok() {}
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Counts a connection until it ends, also with its server.
struct Open<'a>(&'a Shared);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.connected.send_modify(|count| *count -= 1);
    }
}

/// One request of HTTP/1.1 with a length, which is all that the gateway sends.
async fn answer(stream: &mut TcpStream, shared: &Shared) -> io::Result<()> {
    let mut bytes = Vec::new();
    let body = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4..at + 4 + length(&bytes[..at])?;
        }
        more(stream, &mut bytes).await?;
    };
    while bytes.len() < body.end {
        if *shared.mood.borrow() == Mood::ClosesMidBatch && bytes.len() >= body.start + body.len() / 2 {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        more(stream, &mut bytes).await?;
    }
    let events: Vec<Event> = serde_json::from_slice(&bytes[body])?;
    {
        let mut received = shared.received.lock().unwrap_or_else(PoisonError::into_inner);
        events.iter().for_each(|event| *received.entry(event.id.clone()).or_insert(0) += 1);
    }
    let mood = *shared.mood.borrow();
    match mood {
        Mood::Takes | Mood::BreaksOff => {
            // Taken before the answer: what is answered is held.
            for event in events {
                *shared.taken().entry(event.id).or_insert(0) += 1;
            }
            shared.progress.send_replace(());
            if mood == Mood::BreaksOff {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"half\":").await?;
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await
        }
        Mood::Refuses => {
            stream.write_all(b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n").await
        }
        Mood::TalksRubbish => {
            stream.write_all(b"\x15\x03\x01\x00\x02\x02\x28 200 OK, thank you\r\n\r\n").await?;
            Err(io::ErrorKind::ConnectionAborted.into())
        }
        Mood::ClosesMidBatch => Err(io::ErrorKind::ConnectionAborted.into()),
        Mood::Hangs => {
            // Until the mood changes: then it is closed, as a process is that comes to itself.
            let _ = shared.mood.subscribe().wait_for(|mood| *mood != Mood::Hangs).await;
            Err(io::ErrorKind::ConnectionAborted.into())
        }
    }
}

#[derive(serde::Deserialize)]
struct Event {
    id: String,
}

async fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<()> {
    match stream.read_buf(bytes).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

fn length(head: &[u8]) -> io::Result<usize> {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    length.ok_or_else(|| io::Error::other("a request without a length"))
}
