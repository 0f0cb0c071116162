//! A gateway that runs elsewhere: its front door, its authority's directory, and what of its output can be checked from here.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
};

use fieldpost_gateway::pki::{Authority, AuthorityError};

use super::Gateway;
use crate::{
    fleet::{
        connection::FrontDoor,
        enrol::{EnrolError, Enrolment, enrol},
    },
    world::force::FORCE,
};

/// Where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outside {
    /// `host:port` of its front door; the certificate must show the host.
    pub gateway: String,
    /// The directory of the authority that issues its device certificates.
    pub authority: PathBuf,
    /// A one-time link to its page, from `fieldpost login`.
    pub link: Option<String>,
    /// Its NDJSON file, empty at the start.
    pub events: Option<PathBuf>,
}

/// Why it cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OutsideError {
    /// The address means nothing.
    #[error("cannot find {0}: {1}; write HOST:PORT of the front door")]
    Address(String, io::Error),
    /// The authority cannot be opened.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// Devices cannot be enrolled.
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    /// The enrolment panicked.
    #[error("the enrolment panicked: {0}")]
    Panicked(#[from] tokio::task::JoinError),
}

impl Outside {
    pub(super) async fn open(
        self,
        names: Vec<String>,
        enrolment: Enrolment,
    ) -> Result<Gateway, OutsideError> {
        let authority_dir = self.authority.clone();
        let gateway = self.gateway.clone();
        let work = move || {
            let address = resolve(&gateway)?;
            let mut authority = Authority::open(&authority_dir)?;
            let issued = enrol(&mut authority, FORCE, &names, enrolment)?;
            Ok::<_, OutsideError>((address, authority.certificate_pem().to_owned(), issued))
        };
        let (address, authority_pem, issued) = tokio::task::spawn_blocking(work).await??;
        let server_name = self.gateway.rsplit_once(':').map_or(self.gateway.as_str(), |(host, _)| host);
        let server_name = server_name.trim_matches(['[', ']']).to_owned();
        Ok(Gateway {
            host: None,
            front_door: FrontDoor { address, server_name },
            authority_pem,
            issued,
            events: self.events,
            page_link: self.link,
            people_link: None,
        })
    }
}

fn resolve(gateway: &str) -> Result<SocketAddr, OutsideError> {
    let failed = |error| OutsideError::Address(gateway.to_owned(), error);
    let mut addresses = gateway.to_socket_addrs().map_err(failed)?;
    addresses.next().ok_or_else(|| failed(io::Error::other("the name has no address")))
}
