//! A tokio socket as a board's TCP socket, which counts segments and bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use embedded_io_async::{ErrorType, Read, Write};
use fieldpost_link::Dial;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What went over the wire, payload of TCP only. One write of ours is one segment; one read of ours at most one of theirs.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    up_segments: AtomicU64,
    up_bytes: AtomicU64,
    down_segments: AtomicU64,
    down_bytes: AtomicU64,
}

/// A reading of [`Meter`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) up_segments: u64,
    pub(crate) up_bytes: u64,
    pub(crate) down_segments: u64,
    pub(crate) down_bytes: u64,
}

impl Meter {
    pub(crate) fn read(&self) -> Reading {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Reading {
            up_segments: get(&self.up_segments),
            up_bytes: get(&self.up_bytes),
            down_segments: get(&self.down_segments),
            down_bytes: get(&self.down_bytes),
        }
    }
}

pub(crate) struct Io {
    tcp: TcpStream,
    meter: Arc<Meter>,
}

impl ErrorType for Io {
    type Error = std::io::Error;
}

impl Read for Io {
    async fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let count = self.tcp.read(buf).await?;
        self.meter.down_segments.fetch_add(1, Ordering::Relaxed);
        self.meter.down_bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

impl Write for Io {
    async fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        let count = self.tcp.write(buf).await?;
        self.meter.up_segments.fetch_add(1, Ordering::Relaxed);
        self.meter.up_bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }

    async fn flush(&mut self) -> std::io::Result<()> {
        self.tcp.flush().await
    }
}

/// Dials one address.
#[derive(Debug)]
pub(crate) struct TcpDial {
    pub(crate) address: SocketAddr,
    pub(crate) meter: Arc<Meter>,
}

impl Dial for TcpDial {
    type Stream<'a> = Io;
    type Error = std::io::Error;

    async fn dial(&mut self) -> std::io::Result<Io> {
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        Ok(Io { tcp, meter: Arc::clone(&self.meter) })
    }
}
