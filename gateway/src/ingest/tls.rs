//! The TLS side of one connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::{AlertDescription, CertificateError, Error as TlsError, ServerConfig};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::reason::Reason;
use crate::pki::{Identity, device_identity};

/// An encrypted byte stream from a device whose certificate was verified.
#[derive(Debug)]
pub(super) struct Link {
    stream: TlsStream<TcpStream>,
}

impl Link {
    /// Shakes hands and reads the identity from the verified certificate.
    ///
    /// # Errors
    /// Why the peer is refused. It has been told by a TLS alert.
    pub(super) async fn accept(
        stream: TcpStream,
        config: Arc<ServerConfig>,
    ) -> Result<(Self, Identity), (Reason, String)> {
        let stream = TlsAcceptor::from(config)
            .accept(stream)
            .await
            .map_err(|error| (handshake_reason(&error), error.to_string()))?;
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let certificate = certificate.ok_or((Reason::CertificateMissing, String::new()))?;
        let identity =
            device_identity(certificate).map_err(|error| (Reason::IdentityMissing, error.to_string()))?;
        Ok((Self { stream }, identity))
    }

    /// Reads what is there into `buffer`; 0 at the end of the stream.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Writes from the front of `bytes`, removing what was taken, until all is with the kernel.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &mut Vec<u8>) -> Poll<io::Result<()>> {
        while !bytes.is_empty() {
            let taken = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
            bytes.drain(..taken);
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Says goodbye: close_notify, then the write side of TCP.
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    /// Throws away what the peer still sends, so that closing does not reset the connection under our last packet.
    pub(super) fn poll_discard(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(self.stream.get_mut().0).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
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
        TlsError::AlertReceived(AlertDescription::CloseNotify) => Reason::PeerClosed,
        _ => Reason::TlsHandshake,
    }
}
