//! The TLS side of one connection, on rustls' unbuffered interface.
//!
//! **An idle connection owns no buffer.** The buffered interface keeps 4 KiB a connection for records to come; here
//! records are received, opened and sealed in buffers of the worker thread, and a connection keeps only what cannot wait
//! there: a record cut in two, or sealed bytes that the kernel did not take.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus};
use rustls::{CertificateError, Error as TlsError, HandshakeKind};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;

use super::pipe::Pipe;
use super::reason::Reason;
use crate::pki::{FrontDoorTls, Identity, device_identity};

/// The longest record (RFC 8446 section 5.2: 5 + 2^14 + 256 bytes) and the head of the next.
const RECEIVE_BYTES: usize = 18 * 1024;

/// Room for the usual answer, some PUBACKs in a record; more is made when rustls asks.
const SEALED_BYTES: usize = 256;

/// How long a goodbye may take.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

thread_local! {
    static WIRE: RefCell<Wire> =
        RefCell::new(Wire { received: vec![0; RECEIVE_BYTES], sealed: Vec::with_capacity(RECEIVE_BYTES) });
}

/// Buffers of a worker thread, used only within one poll.
struct Wire {
    /// TLS records as they come; also where bytes go that nobody wants any more.
    received: Vec<u8>,
    /// TLS records to send.
    sealed: Vec<u8>,
}

/// An encrypted byte stream. Over a [`std::net::TcpStream`] it is between two event loops.
pub(super) struct Link<S = TcpStream> {
    tcp: S,
    tls: UnbufferedServerConnection,
    /// The beginning of a record. Empty between records.
    incoming: Vec<u8>,
    /// Sealed bytes that the kernel did not take. Empty unless the peer is slow.
    outgoing: Vec<u8>,
    /// What is in `outgoing` was never offered to the kernel: the session ticket, which leaves with the CONNACK.
    has_ticket: bool,
    /// What came in one flight with the end of the handshake.
    early: Vec<u8>,
    /// The peer has said close_notify.
    has_ended: bool,
    /// rustls has given up: nothing more is opened or sealed.
    has_failed: bool,
}

/// What [`Link::run`] is asked to do besides reading.
#[derive(Clone, Copy)]
enum Send<'a> {
    Nothing,
    Bytes(&'a [u8]),
    CloseNotify,
}

impl Link {
    /// Shakes hands and reads the identity from the verified certificate. **That of a resumed session is verified here**, as
    /// TLS does not: who may not come in any more is gone before a byte of MQTT is read.
    ///
    /// # Errors
    /// Why the peer is refused. It has been told by a TLS alert, as far as it listened.
    pub(super) async fn accept(
        tcp: TcpStream,
        door_tls: &FrontDoorTls,
    ) -> Result<(Self, Identity), (Reason, String)> {
        let tls = UnbufferedServerConnection::new(door_tls.server_config())
            .map_err(|error| (Reason::TlsHandshake, error.to_string()))?;
        let mut link = Self {
            tcp,
            tls,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            has_ticket: false,
            early: Vec::new(),
            has_ended: false,
            has_failed: false,
        };
        let shaken = poll_fn(|cx| link.poll_handshake(cx)).await;
        if let Err(error) = shaken.and_then(|()| link.recheck(door_tls)) {
            // A peer that does not listen misses its alert.
            _ = tokio::time::timeout(CLOSE_DEADLINE, link.end_write()).await;
            return Err((handshake_reason(&error), error.to_string()));
        }
        let certificate = link.tls.peer_certificates().and_then(<[_]>::first);
        let certificate = certificate.ok_or((Reason::CertificateMissing, String::new()))?;
        let identity =
            device_identity(certificate).map_err(|error| (Reason::IdentityMissing, error.to_string()))?;
        Ok((link, identity))
    }

    /// Whether the peer took up an earlier session.
    pub(super) fn is_resumed(&self) -> bool {
        self.tls.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Verifies the certificate of a resumed session; a full handshake has done so.
    fn recheck(&self, door_tls: &FrontDoorTls) -> io::Result<()> {
        if !self.is_resumed() {
            return Ok(());
        }
        let chain = self.tls.peer_certificates().unwrap_or_default();
        door_tls
            .recheck(chain, UnixTime::now())
            .map_err(|error| io::Error::new(io::ErrorKind::PermissionDenied, error))
    }

    /// Leaves the event loop of this thread; [`Link::attach`] enters another's.
    ///
    /// # Errors
    /// The system refuses to let the socket go; it is closed.
    pub(super) fn detach(self) -> io::Result<Link<std::net::TcpStream>> {
        self.over(TcpStream::into_std)
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // No early data: nothing is opened before the handshake is done, but the last flight may bring the CONNECT.
        let mut opened = Vec::new();
        while self.tls.is_handshaking() {
            ready!(self.poll_flush(cx))?;
            if ready!(self.poll_records(cx, &mut opened))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        self.early.append(&mut opened);
        self.has_ticket = true;
        Poll::Ready(Ok(()))
    }

    /// Reads once from the socket and opens every whole record, adding what was in them to `opened`. Returns the bytes
    /// read, 0 at the end of the stream.
    fn poll_records(&mut self, cx: &mut Context<'_>, opened: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        WIRE.with_borrow_mut(|Wire { received, .. }| {
            let kept = self.incoming.len();
            if kept == RECEIVE_BYTES {
                return Poll::Ready(Err(io::Error::other("a TLS message beyond every bound")));
            }
            let mut buffer = ReadBuf::new(&mut received[kept..]);
            ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut buffer))?;
            let count = buffer.filled().len();
            received[..kept].copy_from_slice(&self.incoming);
            let filled = &mut received[..kept + count];
            let used = if count == 0 { kept } else { self.advance(filled, opened, Send::Nothing)? };
            self.incoming.clear();
            self.incoming.extend_from_slice(&filled[used..]);
            if self.incoming.is_empty() {
                self.incoming = Vec::new();
            }
            Poll::Ready(Ok(count))
        })
    }

    /// Writes sealed bytes until the kernel has them all.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut written = 0;
        let outcome = loop {
            if written == self.outgoing.len() {
                break Poll::Ready(Ok(()));
            }
            match Pin::new(&mut self.tcp).poll_write(cx, &self.outgoing[written..]) {
                Poll::Ready(Ok(0)) => break Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => written += count,
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
        };
        self.outgoing.drain(..written);
        outcome
    }

    /// Ends the write side of TCP and takes what the peer still sends until it has seen that: closing over unread bytes
    /// would reset the connection under our last packet.
    async fn end_write(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_flush(cx)).await?;
        poll_fn(|cx| Pin::new(&mut self.tcp).poll_shutdown(cx)).await?;
        poll_fn(|cx| self.poll_discard(cx)).await
    }

    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        WIRE.with_borrow_mut(|wire| {
            loop {
                let mut buffer = ReadBuf::new(&mut wire.received);
                ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut buffer))?;
                if buffer.filled().is_empty() {
                    return Poll::Ready(Ok(()));
                }
            }
        })
    }

    /// [`Link::advance`] over the beginning of a record that is kept, which stays as it is: it is not whole.
    fn send(&mut self, send: Send<'_>) -> io::Result<()> {
        let mut incoming = std::mem::take(&mut self.incoming);
        let advanced = self.advance(&mut incoming, &mut Vec::new(), send);
        self.incoming = incoming;
        advanced.map(drop)
    }

    /// [`Link::run`] from the start of `incoming`; if it fails, adds the alert that tells the peer.
    fn advance(&mut self, incoming: &mut [u8], opened: &mut Vec<u8>, send: Send<'_>) -> io::Result<usize> {
        if self.has_failed {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut used = 0;
        self.run(incoming, &mut used, opened, send).map_err(|error| {
            self.has_failed = true;
            self.take_alert(&mut incoming[used..]);
            io::Error::new(io::ErrorKind::InvalidData, error)
        })?;
        Ok(used)
    }

    /// rustls gives the alert out on the next call, before it looks at any byte. Exactly one call, over the same bytes: a
    /// further one would meet the same fault again, and rustls asserts that it reports a fault once.
    fn take_alert(&mut self, incoming: &mut [u8]) {
        let UnbufferedStatus { state, .. } = self.tls.process_tls_records(incoming);
        if let Ok(ConnectionState::EncodeTlsData(mut data)) = state {
            encode_into(&mut self.outgoing, |buffer| encode(&mut data, buffer));
        }
    }

    /// Runs rustls until it needs more bytes: opens every whole record of `incoming` into `opened`, adds what has to be
    /// sent to `self.outgoing`. The first `used` bytes of `incoming` are done with.
    fn run(
        &mut self,
        incoming: &mut [u8],
        used: &mut usize,
        opened: &mut Vec<u8>,
        mut send: Send<'_>,
    ) -> Result<(), TlsError> {
        loop {
            let UnbufferedStatus { discard, state } = self.tls.process_tls_records(&mut incoming[*used..]);
            *used += discard;
            let mut record_discard = 0;
            let needs_more = match state? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        record_discard += record.discard;
                        opened.extend_from_slice(record.payload);
                    }
                    false
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    encode_into(&mut self.outgoing, |buffer| encode(&mut data, buffer));
                    false
                }
                ConnectionState::TransmitTlsData(data) => {
                    // In `outgoing`, which leaves in order.
                    data.done();
                    false
                }
                ConnectionState::WriteTraffic(mut traffic) => {
                    let mut is_exhausted = false;
                    let mut seal = |error| match error {
                        EncryptError::InsufficientSize(size) => Err(size.required_size),
                        EncryptError::EncryptExhausted => {
                            is_exhausted = true;
                            Ok(0)
                        }
                    };
                    match std::mem::replace(&mut send, Send::Nothing) {
                        Send::Nothing => {}
                        Send::Bytes(bytes) => encode_into(&mut self.outgoing, |buffer| {
                            traffic.encrypt(bytes, buffer).or_else(&mut seal)
                        }),
                        Send::CloseNotify => encode_into(&mut self.outgoing, |buffer| {
                            traffic.queue_close_notify(buffer).or_else(&mut seal)
                        }),
                    }
                    if is_exhausted {
                        return Err(TlsError::EncryptError);
                    }
                    true
                }
                ConnectionState::PeerClosed => {
                    self.has_ended = true;
                    false
                }
                // More bytes are needed, or both sides are closed. Early data is not enabled; a state that a later rustls may add is waited out.
                _ => true,
            };
            *used += record_discard;
            if needs_more {
                return Ok(());
            }
        }
    }
}

impl Link<std::net::TcpStream> {
    /// Enters the event loop of this thread. What came meanwhile is found.
    ///
    /// # Errors
    /// The event loop takes no more; the socket is closed.
    pub(super) fn attach(self) -> io::Result<Link> {
        self.over(TcpStream::from_std)
    }
}

impl<S> Link<S> {
    fn over<T>(self, form: impl FnOnce(S) -> io::Result<T>) -> io::Result<Link<T>> {
        let Self { tcp, tls, incoming, outgoing, has_ticket, early, has_ended, has_failed } = self;
        Ok(Link { tcp: form(tcp)?, tls, incoming, outgoing, has_ticket, early, has_ended, has_failed })
    }
}

impl Pipe for Link {
    /// Reads and opens what is there into `opened`, which is empty afterwards only at the end of the stream.
    fn poll_read(&mut self, cx: &mut Context<'_>, opened: &mut Vec<u8>) -> Poll<io::Result<()>> {
        opened.clear();
        opened.append(&mut self.early);
        while opened.is_empty() && !self.has_ended {
            if ready!(self.poll_records(cx, opened))? == 0 {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Seals and writes `bytes`, emptying it, once the kernel has taken what came before. Ready when the kernel has all.
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &mut Vec<u8>) -> Poll<io::Result<()>> {
        if bytes.is_empty() || !self.has_ticket {
            ready!(self.poll_flush(cx))?;
        }
        if bytes.is_empty() {
            return Poll::Ready(Ok(()));
        }
        // Sealed and written in the thread's buffer: the connection's own is used only if the kernel does not take all.
        let sealed = WIRE.with_borrow_mut(|wire| std::mem::take(&mut wire.sealed));
        let ticket = std::mem::replace(&mut self.outgoing, sealed);
        self.outgoing.extend_from_slice(&ticket);
        self.has_ticket = false;
        self.send(Send::Bytes(bytes))?;
        bytes.clear();
        let written = self.poll_flush(cx);
        let sealed = std::mem::take(&mut self.outgoing);
        self.outgoing.extend_from_slice(&sealed);
        WIRE.with_borrow_mut(|wire| {
            wire.sealed = sealed;
            wire.sealed.clear();
        });
        written
    }

    /// Writes `bytes` and close_notify, then ends our side.
    async fn close(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        if !self.has_failed {
            poll_fn(|cx| self.poll_write(cx, bytes)).await?;
            self.send(Send::CloseNotify)?;
        }
        self.end_write().await
    }
}

/// Bytes written, or bytes needed.
fn encode<Data>(data: &mut EncodeTlsData<'_, Data>, buffer: &mut [u8]) -> Result<usize, usize> {
    data.encode(buffer).or_else(|error| match error {
        EncodeError::InsufficientSize(size) => Err(size.required_size),
        EncodeError::AlreadyEncoded => Ok(0),
    })
}

/// Lets `write` fill the end of `out`; it says how many bytes it wrote, or how many it needs.
fn encode_into(out: &mut Vec<u8>, mut write: impl FnMut(&mut [u8]) -> Result<usize, usize>) {
    let start = out.len();
    let mut room = SEALED_BYTES;
    loop {
        out.resize(start + room, 0);
        match write(&mut out[start..]) {
            Ok(count) => return out.truncate(start + count),
            Err(required) => room = required.max(room + 1),
        }
    }
}

/// Whose fault a failed handshake is, as far as rustls tells.
fn handshake_reason(error: &io::Error) -> Reason {
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) else {
        return Reason::TlsHandshake;
    };
    match error {
        TlsError::NoCertificatesPresented => Reason::CertificateMissing,
        TlsError::InvalidCertificate(error) => match error {
            CertificateError::Revoked => Reason::CertificateRevoked,
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Reason::CertificateExpired,
            CertificateError::ExpiredRevocationList
            | CertificateError::ExpiredRevocationListContext { .. } => Reason::RevocationListExpired,
            _ => Reason::CertificateUnknown,
        },
        _ => Reason::TlsHandshake,
    }
}
