//! Why the gateway does not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::forward;
use crate::http::streets::StreetsError;
use crate::login::LoginError;
use crate::people::PasswordError;
use crate::pki::TlsError;
use crate::spool::SpoolError;

/// Why the gateway does not start. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener's address cannot be had.
    #[error("`{key}`: cannot listen on {address}: {source}; {help}", help = bind_help(.source))]
    Listen {
        /// The key of the configuration that names it.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The data directory cannot be made or used.
    #[error("`data_dir`: cannot use {path}: {source}; it must be a directory this user may write to")]
    DataDirectory {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The spool cannot be opened.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A forwarder cannot be started.
    #[error(transparent)]
    Forward(#[from] forward::StartError),
    /// The disclosure log cannot be read, so nothing could be sent.
    #[error("the disclosure log cannot be read: {dir}: {source}; it must be readable by this user", dir = .dir.display())]
    Disclosures {
        /// Its directory.
        dir: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The login secret cannot be used.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// Passwords cannot be hashed.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The streets cannot be shown.
    #[error(transparent)]
    Streets(#[from] StreetsError),
}

fn bind_help(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another process has this port: stop it (`ss -ltnp` names it) or configure another port"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need a privilege: configure a higher port or grant CAP_NET_BIND_SERVICE"
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address: configure one that it has, or 0.0.0.0"
        }
        _ => "check the address",
    }
}

impl StartError {
    /// Whether another attempt may succeed without anybody changing anything: a port or the spool is taken.
    #[must_use]
    pub fn is_occupied(&self) -> bool {
        match self {
            Self::Listen { .. } | Self::Spool(SpoolError::Locked { .. }) => true,
            Self::DataDirectory { .. }
            | Self::Spool(_)
            | Self::Tls(_)
            | Self::Forward(_)
            | Self::Disclosures { .. }
            | Self::Login(_)
            | Self::Password(_)
            | Self::Streets(_) => false,
        }
    }
}
