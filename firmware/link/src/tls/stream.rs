//! An encrypted byte stream on any `embedded-io-async` one.
//!
//! ```text
//!  read  <- opened <- rustls <- received <- io          every arrow is a buffer of the caller's; rustls runs between
//!  write -> plain  -> rustls -> sealed   -> io          two awaits and never across one
//! ```
//!
//! **rustls is called while its output has somewhere to go, and exactly once more after it has failed** (that call gives
//! the alert); then the stream is dead and says so. Bytes rustls is done with go even when it failed.
//!
//! A flush is one TLS record (22 bytes more than it carries) and should be one TCP segment: write everything that
//! belongs together, then flush.
//!
//! # Cancel-safety
//! As far as `io` is cancel-safe (embassy-net's and tokio's sockets are): a dropped `read` has taken no bytes, a dropped
//! `write` either all it would have reported or none, and a dropped `flush` is continued by the next. `connect` is not:
//! dropping it drops the connection.

mod engine;

use embedded_io_async::{ErrorType, Read, Write};
use fieldpost_protocol::limits::{FRAME_BYTES_MAX, TOPIC_BYTES_MAX};
use rustls::client::UnbufferedClientConnection;

use self::engine::Engine;
use super::{config::Tls, failure::TlsFailure};

/// The longest record that the gateway sends (it is told so by its own configuration), and the longest handshake message
/// that is looked at: a CertificateRequest with more names does not fit, whatever the heap could hold.
pub const RECEIVE_BYTES: usize = 2048;

/// All a gateway may send before the handshake is done. Ours sends about 1 KiB; an intermediate authority adds 0.6.
pub const HANDSHAKE_BYTES_MAX: usize = 8 * 1024;

/// The largest publish: a frame, its topic, MQTT's header; so that it is one record.
const PLAIN_BYTES: usize = FRAME_BYTES_MAX + TOPIC_BYTES_MAX + 16;

/// The device's last flight (chain, signature, Finished), or the largest record.
const SEALED_BYTES: usize = 2048;

/// The buffers of one stream, for a `static`: 7.2 KiB.
#[derive(Debug)]
pub struct StreamBuffers {
    received: [u8; RECEIVE_BYTES],
    opened: [u8; RECEIVE_BYTES],
    plain: [u8; PLAIN_BYTES],
    sealed: [u8; SEALED_BYTES],
}

impl StreamBuffers {
    /// Empty.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            received: [0; RECEIVE_BYTES],
            opened: [0; RECEIVE_BYTES],
            plain: [0; PLAIN_BYTES],
            sealed: [0; SEALED_BYTES],
        }
    }
}

impl Default for StreamBuffers {
    fn default() -> Self {
        Self::new()
    }
}

/// An encrypted stream to a gateway that has proved who it is.
pub struct TlsStream<'b, IO> {
    io: IO,
    engine: Engine<'b>,
    /// Bytes before the handshake was done; counts no further.
    handshake_bytes: usize,
}

impl<'b, IO: Read + Write> TlsStream<'b, IO> {
    /// Shakes hands on a connected transport.
    ///
    /// # Errors
    /// [`TlsFailure`]. The gateway has been told by an alert, as far as the transport took it at once.
    pub async fn connect(tls: &Tls, io: IO, buffers: &'b mut StreamBuffers) -> Result<Self, TlsFailure> {
        let connection = UnbufferedClientConnection::new(tls.config.clone(), tls.gateway.clone())
            .map_err(|error| TlsFailure::of(&error))?;
        let mut stream = Self { io, engine: Engine::new(connection, buffers), handshake_bytes: 0 };
        match stream.shake_hands().await {
            Ok(()) => Ok(stream),
            Err(failure) => {
                // The alert, if there is one. A transport that does not take it does not hear it.
                _ = stream.send_sealed().await;
                Err(failure)
            }
        }
    }

    async fn shake_hands(&mut self) -> Result<(), TlsFailure> {
        self.engine.run()?;
        loop {
            self.send_sealed().await?;
            if !self.engine.is_handshaking() {
                return Ok(());
            }
            self.handshake_bytes += self.receive().await?;
            if self.handshake_bytes > HANDSHAKE_BYTES_MAX {
                return Err(TlsFailure::TooLarge);
            }
            self.engine.run()?;
        }
    }

    /// Says goodbye: what is written, close_notify. Continue it until it is done or drop the stream.
    ///
    /// # Errors
    /// [`TlsFailure`].
    pub async fn close(&mut self) -> Result<(), TlsFailure> {
        self.flush().await?;
        self.engine.seal_goodbye()?;
        self.send_sealed().await
    }

    /// One read of the transport into `received`. At its end, an error: TLS has a goodbye of its own.
    async fn receive(&mut self) -> Result<usize, TlsFailure> {
        let room = self.engine.room();
        if room.is_empty() {
            return Err(self.engine.fail(TlsFailure::TooLarge));
        }
        match self.io.read(room).await {
            Ok(0) => Err(self.engine.fail(TlsFailure::CutOff)),
            Ok(count) => {
                self.engine.note_received(count);
                Ok(count)
            }
            Err(_) => Err(self.engine.fail(TlsFailure::Transport)),
        }
    }

    /// Writes what is sealed. Continues where a dropped call left off.
    async fn send_sealed(&mut self) -> Result<(), TlsFailure> {
        let mut has_sent = false;
        while !self.engine.sealed().is_empty() {
            match self.io.write(self.engine.sealed()).await {
                Ok(0) | Err(_) => return Err(self.engine.fail(TlsFailure::Transport)),
                Ok(count) => self.engine.note_sent(count),
            }
            has_sent = true;
        }
        if has_sent && self.io.flush().await.is_err() {
            return Err(self.engine.fail(TlsFailure::Transport));
        }
        Ok(())
    }
}

impl<IO> ErrorType for TlsStream<'_, IO> {
    type Error = TlsFailure;
}

impl<IO: Read + Write> Read for TlsStream<'_, IO> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, TlsFailure> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            let taken = self.engine.take_opened(buf);
            if taken > 0 {
                return Ok(taken);
            }
            if self.engine.has_ended() {
                return Ok(0);
            }
            // rustls may have something to say (a key update): its place must be free before it runs again.
            self.send_sealed().await?;
            self.receive().await?;
            self.engine.run()?;
            self.send_sealed().await?;
        }
    }
}

impl<IO: Read + Write> Write for TlsStream<'_, IO> {
    /// Buffers; nothing leaves before a flush, unless the buffer is full.
    async fn write(&mut self, buf: &[u8]) -> Result<usize, TlsFailure> {
        if self.engine.plain_is_full() {
            self.flush().await?;
        }
        self.engine.add_plain(buf)
    }

    async fn flush(&mut self) -> Result<(), TlsFailure> {
        self.send_sealed().await?;
        self.engine.seal_plain()?;
        self.send_sealed().await
    }
}
