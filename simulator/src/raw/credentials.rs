//! Certificates for bare devices. Every one is issued with mode `test`: nothing here can look actual.

use std::{
    path::Path,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use fieldpost_gateway::pki::{Authority, AuthorityError, DeviceRequest, Issued, Validity};
use fieldpost_protocol::{DeviceId, ForceId, Mode};
use rustls::{ClientConfig, RootCertStore, client::Resumption};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use crate::fleet::tls::provider;

/// A device and what it shows to get in.
#[derive(Clone)]
pub struct Credentials {
    /// Its identity, and its MQTT client id.
    pub device: DeviceId,
    /// TLS 1.3 with its certificate, trusting the authority alone; suite and group of an image.
    pub tls: Arc<ClientConfig>,
}

/// Why devices could not be enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The authority refused.
    #[error("the authority refused: {0}")]
    Authority(#[from] AuthorityError),
    /// A certificate does not read back.
    #[error("a certificate that was just issued does not read back: {0}")]
    Material(String),
}

/// Enrols devices of one force at an authority.
pub struct Enrolment<'a> {
    /// Who issues.
    pub authority: &'a mut Authority,
    /// For which force.
    pub force: ForceId,
}

impl Enrolment<'_> {
    /// Enrols `count` devices named `{prefix}-{n}`, for a day.
    ///
    /// # Errors
    /// [`EnrolError`].
    pub fn enrol(&mut self, prefix: &str, count: usize) -> Result<Vec<Credentials>, EnrolError> {
        let roots = Arc::new(roots(self.authority.certificate_pem())?);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let validity = Validity::days_from(i64::try_from(now).unwrap_or(i64::MAX), 1);
        let requests = (0..count)
            .map(|n| {
                let device = DeviceId::try_new(&format!("{prefix}-{n:05}")).map_err(material)?;
                let force = self.force.clone();
                Ok(DeviceRequest { force, device, mode: Mode::Test, validity, replace: false })
            })
            .collect::<Result<Vec<_>, EnrolError>>()?;
        let issued = self.authority.issue_devices(&requests)?;
        requests
            .into_iter()
            .zip(issued)
            .map(|(request, one)| credentials(request.device, &one, &roots))
            .collect()
    }
}

fn credentials(
    device: DeviceId,
    issued: &Issued,
    roots: &Arc<RootCertStore>,
) -> Result<Credentials, EnrolError> {
    let chain = CertificateDer::pem_slice_iter(issued.certificate_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(material)?;
    let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).map_err(material)?;
    let mut tls = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(material)?
        .with_root_certificates(Arc::clone(roots))
        .with_client_auth_cert(chain, key)
        .map_err(material)?;
    // Of one server: room for more would be most of the memory of ten thousand devices.
    tls.resumption = Resumption::in_memory_sessions(8);
    Ok(Credentials { device, tls: Arc::new(tls) })
}

fn material(error: impl std::fmt::Display) -> EnrolError {
    EnrolError::Material(error.to_string())
}

fn roots(pem: &str) -> Result<RootCertStore, EnrolError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(material)?;
        roots.add(certificate).map_err(material)?;
    }
    Ok(roots)
}

/// Writes the authority's certificate and one server pair for a peer that reads files.
///
/// # Errors
/// [`EnrolError`].
pub fn write_peer_files(authority: &mut Authority, dir: &Path) -> Result<(), EnrolError> {
    let server = authority.issue_server(&["localhost".to_owned(), "127.0.0.1".to_owned()], 1)?;
    for (name, text) in
        [("server.pem", &server.certificate_pem), ("server.key", &server.key_pem), ("ca.pem", &server.ca_pem)]
    {
        std::fs::write(dir.join(name), text).map_err(material)?;
    }
    Ok(())
}
