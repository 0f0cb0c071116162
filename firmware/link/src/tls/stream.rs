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

use embedded_io_async::{Error as _, ErrorKind, ErrorType, Read, Write};
use fieldpost_protocol::limits::{FRAME_BYTES_MAX, TOPIC_BYTES_MAX};
use rustls::{Error as TlsError, client::UnbufferedClientConnection};

use self::engine::Engine;
use super::{config::Tls, verify::Refusal};

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

/// Why a stream came to nothing. Never carries what was on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum TlsFailure {
    /// The transport failed.
    Transport,
    /// The transport ended without a goodbye: cut off, perhaps by somebody.
    CutOff,
    /// The gateway is none.
    Refused(Refusal),
    /// The gateway showed no certificate.
    NoCertificate,
    /// The gateway speaks no TLS 1.3 of ours.
    Version,
    /// The gateway ended it, by this alert of RFC 8446 section 6; for a refused device certificate, in the 40s.
    Alert(u8),
    /// A record or handshake message over [`RECEIVE_BYTES`], or a handshake over [`HANDSHAKE_BYTES_MAX`].
    TooLarge,
    /// A record that does not open: damaged, or not from the gateway.
    Damaged,
    /// Anything else against the protocol.
    Protocol,
    /// Our own: no random numbers, no memory in the buffers.
    Internal,
}

impl TlsFailure {
    /// For the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transport => "transport failed",
            Self::CutOff => "cut off",
            Self::Refused(Refusal::Shape) => "gateway certificate unreadable",
            Self::Refused(Refusal::Role) => "gateway certificate not made for a gateway",
            Self::Refused(Refusal::Dates) => "gateway certificate expired or not valid yet",
            Self::Refused(Refusal::Chain) => "gateway certificate of an unknown authority",
            Self::Refused(Refusal::Name) => "gateway certificate for another name",
            Self::Refused(Refusal::Possession) => "gateway does not hold its certificate's key",
            Self::NoCertificate => "gateway without a certificate",
            Self::Version => "gateway without TLS 1.3",
            Self::Alert(_) => "gateway refused us",
            Self::TooLarge => "gateway sent more than fits",
            Self::Damaged => "damaged record",
            Self::Protocol => "gateway broke the TLS protocol",
            Self::Internal => "TLS cannot go on",
        }
    }

    fn of(error: &TlsError) -> Self {
        if let Some(refusal) = Refusal::behind(error) {
            return Self::Refused(refusal);
        }
        match error {
            TlsError::NoCertificatesPresented => Self::NoCertificate,
            TlsError::PeerIncompatible(_) => Self::Version,
            TlsError::AlertReceived(alert) => Self::Alert(u8::from(*alert)),
            TlsError::DecryptError => Self::Damaged,
            TlsError::PeerSentOversizedRecord => Self::TooLarge,
            TlsError::FailedToGetRandomBytes | TlsError::EncryptError => Self::Internal,
            _ => Self::Protocol,
        }
    }
}

impl core::fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl core::error::Error for TlsFailure {}

impl embedded_io_async::Error for TlsFailure {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Transport | Self::CutOff => ErrorKind::ConnectionReset,
            Self::TooLarge | Self::Damaged | Self::Protocol => ErrorKind::InvalidData,
            Self::Internal => ErrorKind::OutOfMemory,
            _ => ErrorKind::PermissionDenied,
        }
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
            Err(error) => {
                let _kind = error.kind();
                Err(self.engine.fail(TlsFailure::Transport))
            }
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
