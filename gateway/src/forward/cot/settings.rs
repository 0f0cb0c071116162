//! Where and as whom the gateway connects to a TAK server.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::picture::Spans;
use crate::config::material::{Authority, MaterialError, ServerIdentity};
use crate::forward::release::{Recipient, Release};
use crate::pki;

/// Of one server.
#[derive(Debug, Clone)]
pub(crate) struct TakSettings {
    /// Host name or address.
    pub(crate) host: String,
    /// TCP port.
    pub(crate) port: u16,
    /// The name that the server's certificate must have, if it is not the host.
    pub(crate) server_name: Option<String>,
    /// PEM of who issued the server's certificate. TAK servers have an authority of their own.
    pub(crate) authority: PathBuf,
    /// PEM of our certificate.
    pub(crate) certificate: PathBuf,
    /// PEM of its key.
    pub(crate) key: PathBuf,
    /// How events are written to it.
    pub(crate) style: Style,
    /// What it is told.
    pub(crate) terms: Terms,
}

/// How events are written. The default is the protocol's; what differs is for servers that do not take that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Style {
    /// No XML declaration stands before an event.
    pub(crate) omits_declaration: bool,
    /// No more events are written in a second, each in a write (and a TLS record) of its own. `None`: as they come.
    pub(crate) events_per_s_max: Option<NonZeroU32>,
}

impl Style {
    /// From one event to the next.
    pub(super) fn pause(self) -> Option<Duration> {
        self.events_per_s_max.map(|per_s| Duration::from_secs(1) / per_s.get())
    }

    /// As many events as go out in a quarter of a second: for no longer does an alarm wait behind others.
    pub(crate) fn at_once(self) -> Option<usize> {
        self.events_per_s_max.map(|per_s| (per_s.get() as usize / 4).max(1))
    }
}

/// What one TAK party is told, and how.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    /// The output's name; part of our own uid.
    pub(crate) name: String,
    /// Whether protobuf is spoken where both ends can.
    pub(crate) takes_protobuf: bool,
    /// What it is released.
    pub(crate) release: Release,
    /// The way to the disclosure log.
    pub(crate) recipient: Recipient,
    /// How long things stand there.
    pub(crate) spans: Spans,
}

/// The settings cannot work.
#[derive(Debug, thiserror::Error)]
pub enum TakError {
    /// A certificate or key cannot be used.
    #[error("{0}")]
    Material(#[from] MaterialError),
    /// rustls refused them.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] pki::TlsError),
    /// Not a name that a certificate can have.
    #[error("{name} is neither a host name nor an address")]
    Name {
        /// As configured.
        name: String,
    },
}

/// Both ends show a certificate; TLS 1.2 too, which TAK servers in use still speak.
pub(super) fn tls(settings: &TakSettings) -> Result<Arc<ClientConfig>, TakError> {
    let authority = Authority::load(&settings.authority)?;
    let identity = ServerIdentity::load(&settings.certificate, &settings.key)?;
    Ok(pki::mutual_client(&authority, &identity)?)
}

pub(super) fn server_name(settings: &TakSettings) -> Result<ServerName<'static>, TakError> {
    let name = settings.server_name.as_ref().unwrap_or(&settings.host);
    let bare = name.trim_matches(['[', ']']).to_owned();
    ServerName::try_from(bare).map_err(|_| TakError::Name { name: name.clone() })
}
