//! The GNSS receiver on UART1, as `embedded_io_async::Read`.
//!
//! ```text
//!  UART1 (one byte) --interrupt--> pipe (1 KiB) --> Gnss::read
//! ```
//!
//! The pipe holds a second of a receiver at 9600 baud. **A byte that finds it full is dropped and counted**; the sentence it
//! belonged to then fails its checksum.

use core::{
    convert::Infallible,
    sync::atomic::{AtomicU32, Ordering},
};

use embassy_sync::{blocking_mutex::raw::CriticalSectionRawMutex, pipe::Pipe};

use super::uart;

const PIPE_BYTES: usize = 1024;

static PIPE: Pipe<CriticalSectionRawMutex, PIPE_BYTES> = Pipe::new();
static DROPPED_BYTES: AtomicU32 = AtomicU32::new(0);

/// The receiver. There is one.
pub(crate) struct Gnss(());

impl Gnss {
    pub(super) fn start() -> Self {
        uart::GNSS.start_rx();
        Self(())
    }

    /// Bytes that found the pipe full so far. Wraps.
    pub(crate) fn dropped_bytes() -> u32 {
        DROPPED_BYTES.load(Ordering::Relaxed)
    }
}

impl embedded_io_async::ErrorType for Gnss {
    type Error = Infallible;
}

/// Cancel-safe: bytes are taken only when the future completes.
impl embedded_io_async::Read for Gnss {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        Ok(PIPE.read(buffer).await)
    }
}

pub(super) fn on_interrupt() {
    uart::GNSS.clear_rx_interrupt();
    while let Some(byte) = uart::GNSS.read() {
        if PIPE.try_write(&[byte]).is_err() {
            DROPPED_BYTES.fetch_add(1, Ordering::Relaxed);
        }
    }
}
