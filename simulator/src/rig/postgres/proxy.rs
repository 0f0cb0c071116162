//! What stands between the gateway and PostgreSQL, and cuts.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// How it treats connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    /// Both ways, everything.
    Passes,
    /// Ends a connection in the middle of the copied rows.
    CutsMidBatch,
    /// Ends it instead of passing a batch's COMMIT on.
    CutsBeforeCommit,
    /// Passes a batch's COMMIT on, waits for its answer, and ends the connection without passing that on.
    CutsAfterCommit,
}

/// The query message of PostgreSQL's protocol 3.0 that commits: type, length, text.
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";
/// The head of a copy's data message, before its length.
const COPY_DATA: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// The proxy; ended when dropped.
pub(super) struct Proxy {
    address: SocketAddr,
    mood: watch::Sender<Mood>,
    cut: Arc<AtomicU64>,
    server: JoinHandle<()>,
}

impl Proxy {
    /// Listens on loopback for connections to `port`.
    pub(super) async fn start(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (mood, seen) = watch::channel(Mood::Passes);
        let cut = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&cut);
        let server = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (seen, counted) = (seen.clone(), Arc::clone(&counted));
                connections.spawn(async move {
                    // Whoever of the two ends it: the other is told by the end of its connection.
                    if let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await
                        && pass(client, server, &seen).await.is_ok_and(|was_cut| was_cut)
                    {
                        counted.fetch_add(1, Ordering::Relaxed);
                    }
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, mood, cut, server })
    }

    /// Where it listens, on 127.0.0.1.
    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on, for connections that are open too.
    pub(super) fn be(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// Connections that it ended on purpose.
    pub(super) fn cut_count(&self) -> u64 {
        self.cut.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Passes bytes until one side ends or the mood cuts; whether it was the mood.
async fn pass(
    mut client: TcpStream,
    mut server: TcpStream,
    mood: &watch::Receiver<Mood>,
) -> io::Result<bool> {
    let (mut asked, mut told) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    // A session commits when it has checked its schema too: it is a batch's COMMIT that is cut.
    let mut has_rows = false;
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let bytes = &asked[..read?];
                if bytes.is_empty() {
                    return Ok(false);
                }
                let has = |what: &[u8]| bytes.windows(what.len()).any(|window| window == what);
                has_rows |= has(COPY_DATA);
                let now = *mood.borrow();
                match now {
                    Mood::CutsMidBatch if has(COPY_DATA) => {
                        server.write_all(&bytes[..bytes.len() / 2]).await?;
                        return Ok(true);
                    }
                    Mood::CutsBeforeCommit if has_rows && has(COMMIT) => return Ok(true),
                    Mood::CutsAfterCommit if has_rows && has(COMMIT) => {
                        server.write_all(bytes).await?;
                        // Whatever it says, and be it nothing: it goes no further.
                        _ = server.read(&mut told).await?;
                        return Ok(true);
                    }
                    _ => server.write_all(bytes).await?,
                }
            }
            read = server.read(&mut told) => {
                let bytes = &told[..read?];
                if bytes.is_empty() {
                    return Ok(false);
                }
                client.write_all(bytes).await?;
            }
        }
    }
}
