//! Certificates, keys and revocation lists as loaded from PEM files: read once, checked once, held in memory.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use ::aws_lc_rs::agreement;
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// Largest PEM file read: a revocation list of 100,000 entries fits.
pub const PEM_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What a revocation list is called in a message.
const LIST: &str = "certificate revocation list";

/// A server's certificate chain with its key; they match.
pub struct ServerIdentity {
    /// Certificate file.
    pub certificate_path: PathBuf,
    /// Key file.
    pub key_path: PathBuf,
    /// For rustls.
    pub certified: Arc<CertifiedKey>,
    /// Unix seconds from which the certificate is valid.
    pub not_before_s: i64,
    /// Unix seconds after which it is not.
    pub not_after_s: i64,
    /// The key file may be read by others than its owner.
    pub key_readable_by_others: bool,
    /// The certificate may be shown by a server: no extended key usage, or one with serverAuth.
    pub is_for_servers: bool,
    /// It has a name or an address that a client can check.
    pub has_names: bool,
}

/// Certificates of an authority, usable as trust anchors.
pub struct Authority {
    /// The file.
    pub path: PathBuf,
    /// For rustls.
    pub roots: Arc<RootCertStore>,
    /// Raw subject names, to match revocation lists.
    pub subjects: Vec<Vec<u8>>,
    /// Unix seconds after which the first of them is not valid.
    pub not_after_s: i64,
}

/// A certificate revocation list, or several in one file.
pub struct RevocationList {
    /// The file.
    pub path: PathBuf,
    /// For rustls.
    pub lists: Vec<CertificateRevocationListDer<'static>>,
    /// Raw issuer names.
    pub issuers: Vec<Vec<u8>>,
    /// Unix seconds at which the first of them must have been renewed: after it every device is refused.
    pub next_update_s: i64,
    /// When the file was last written, if the file system says so; read before the file.
    pub modified_at: Option<SystemTime>,
    /// Number of the newest list, if it has one that fits.
    pub number: Option<u128>,
    /// Serial numbers of every revoked certificate, without leading zeros.
    pub revoked: HashSet<Vec<u8>>,
}

/// The private half of what devices behind a broker agree their keys with: P-256. It has no `Debug` that shows it.
pub struct EnvelopeSecret {
    /// The file.
    pub path: PathBuf,
    key: agreement::PrivateKey,
    /// An uncompressed point: tells it from another one.
    public: Vec<u8>,
}

/// Why a file is not usable. The text names the file and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum MaterialError {
    /// The file could not be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file holds no PEM section of the wanted kind, or a damaged one.
    #[error("{path} holds no usable {wanted}: {detail}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What was wanted.
        wanted: &'static str,
        /// What the parser said.
        detail: String,
    },
    /// The key belongs to another certificate.
    #[error("the key {key} does not belong to the certificate {certificate}")]
    KeyMismatch {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
    },
    /// rustls cannot use the key.
    #[error("the key {key} cannot be used: {detail}")]
    Key {
        /// The key file.
        key: PathBuf,
        /// What rustls said.
        detail: String,
    },
}

impl MaterialError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => {
                "check the path (a relative one counts from the directory of the configuration file) and its permissions"
            }
            Self::Pem { .. } => {
                "name a PEM file of this kind; `openssl x509 -in FILE -text` shows what a certificate is"
            }
            Self::KeyMismatch { .. } => "name the key that was made with this certificate",
            Self::Key { .. } => {
                "use a PKCS#8 PEM key: ECDSA P-256 or P-384, Ed25519, or RSA of 2048 bits or more"
            }
        }
    }

    /// The file to blame.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Unreadable { path, .. } | Self::Pem { path, .. } => path,
            Self::KeyMismatch { key, .. } | Self::Key { key, .. } => key,
        }
    }
}

impl ServerIdentity {
    /// Loads a chain and its key.
    ///
    /// # Errors
    /// [`MaterialError`].
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, MaterialError> {
        let chain = certificates(certificate)?;
        let facts = facts(certificate, &chain[0])?;
        let key_der = PrivateKeyDer::from_pem_slice(&read_bounded(key)?)
            .map_err(|error| pem(key, "private key", &error))?;
        let certified =
            CertifiedKey::from_der(chain, key_der, &aws_lc_rs::default_provider()).map_err(|error| {
                match error {
                    rustls::Error::InconsistentKeys(_) => MaterialError::KeyMismatch {
                        certificate: certificate.to_owned(),
                        key: key.to_owned(),
                    },
                    other => MaterialError::Key { key: key.to_owned(), detail: other.to_string() },
                }
            })?;
        Ok(Self {
            certificate_path: certificate.to_owned(),
            key_path: key.to_owned(),
            certified: Arc::new(certified),
            not_before_s: facts.not_before_s,
            not_after_s: facts.not_after_s,
            key_readable_by_others: readable_by_others(key),
            is_for_servers: facts.is_for_servers,
            has_names: facts.has_names,
        })
    }
}

impl Authority {
    /// Loads one or more authority certificates.
    ///
    /// # Errors
    /// [`MaterialError`].
    pub fn load(path: &Path) -> Result<Self, MaterialError> {
        Self::from_certificates(path, &certificates(path)?)
    }

    /// Takes authority certificates; `path` is who to blame.
    ///
    /// # Errors
    /// [`MaterialError::Pem`].
    pub fn from_certificates(
        path: &Path,
        certificates: &[CertificateDer<'static>],
    ) -> Result<Self, MaterialError> {
        let mut roots = RootCertStore::empty();
        let mut subjects = Vec::new();
        let mut not_after_first_s = i64::MAX;
        for certificate in certificates {
            let (_, parsed) =
                X509Certificate::from_der(certificate).map_err(|error| pem(path, "certificate", &error))?;
            if !parsed.is_ca() {
                return Err(pem(
                    path,
                    "authority certificate",
                    &"it is not a certificate authority's (basic constraints CA is not set)",
                ));
            }
            subjects.push(parsed.subject().as_raw().to_vec());
            not_after_first_s = not_after_first_s.min(parsed.validity().not_after.timestamp());
            roots.add(certificate.clone()).map_err(|error| pem(path, "authority certificate", &error))?;
        }
        Ok(Self { path: path.to_owned(), roots: Arc::new(roots), subjects, not_after_s: not_after_first_s })
    }
}

impl EnvelopeSecret {
    /// Loads a P-256 key, PKCS#8 PEM.
    ///
    /// # Errors
    /// [`MaterialError`].
    pub fn load(path: &Path) -> Result<Self, MaterialError> {
        let der = PrivateKeyDer::from_pem_slice(&read_bounded(path)?)
            .map_err(|error| pem(path, "private key", &error))?;
        let key = agreement::PrivateKey::from_private_key_der(&agreement::ECDH_P256, der.secret_der());
        let useless = |detail: &dyn fmt::Display| MaterialError::Key {
            key: path.to_owned(),
            detail: detail.to_string(),
        };
        let key = key.map_err(|error| useless(&error))?;
        let public = key.compute_public_key().map_err(|error| useless(&error))?.as_ref().to_vec();
        Ok(Self { path: path.to_owned(), key, public })
    }

    /// Whether two are the same key, read once.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.public == other.public
    }

    /// What both ends have in common: the x coordinate of the ECDH point with `public_key`, an uncompressed point. `None` if
    /// that is no point of P-256.
    pub fn agree<T>(&self, public_key: &[u8], use_it: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let peer = agreement::UnparsedPublicKey::new(&agreement::ECDH_P256, public_key);
        agreement::agree(&self.key, peer, (), |agreed| Ok(use_it(agreed))).ok()
    }
}

impl RevocationList {
    /// Loads one or more revocation lists.
    ///
    /// # Errors
    /// [`MaterialError`].
    pub fn load(path: &Path) -> Result<Self, MaterialError> {
        // Before the contents: a file replaced in between is noticed the next time.
        let modified_at = modified_at(path);
        Ok(Self { modified_at, ..Self::from_pem(path, &read_bounded(path)?)? })
    }

    /// Reads the contents of a file; `path` is who to blame.
    ///
    /// # Errors
    /// [`MaterialError::Pem`].
    pub fn from_pem(path: &Path, bytes: &[u8]) -> Result<Self, MaterialError> {
        let lists = CertificateRevocationListDer::pem_slice_iter(bytes)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| pem(path, LIST, &error))?;
        Self::from_lists(path, lists)
    }

    /// Takes one list or several; `path` is who to blame.
    ///
    /// # Errors
    /// [`MaterialError::Pem`].
    pub fn from_lists(
        path: &Path,
        lists: Vec<CertificateRevocationListDer<'static>>,
    ) -> Result<Self, MaterialError> {
        if lists.is_empty() {
            return Err(pem(path, LIST, &"no section -----BEGIN X509 CRL----- in it"));
        }
        let mut loaded = Self {
            path: path.to_owned(),
            lists: Vec::new(),
            issuers: Vec::new(),
            next_update_s: i64::MAX,
            modified_at: None,
            number: None,
            revoked: HashSet::new(),
        };
        for list in &lists {
            loaded.add(list).map_err(|detail| pem(path, LIST, &detail))?;
        }
        loaded.lists = lists;
        Ok(loaded)
    }

    fn add(&mut self, list: &[u8]) -> Result<(), String> {
        let (_, parsed) = x509_parser::revocation_list::CertificateRevocationList::from_der(list)
            .map_err(|error| error.to_string())?;
        let next_update = parsed.next_update().ok_or("it has no date of the next update")?;
        self.next_update_s = self.next_update_s.min(next_update.timestamp());
        self.issuers.push(parsed.issuer().as_raw().to_vec());
        let number = parsed.crl_number().and_then(|number| u128::try_from(number).ok());
        self.number = self.number.max(number);
        let serials = parsed.iter_revoked_certificates().map(|entry| canonical_serial(entry.raw_serial()));
        self.revoked.extend(serials);
        Ok(())
    }

    /// Whether the certificate with `serial` (big-endian bytes, any padding) is revoked.
    #[must_use]
    pub fn revokes(&self, serial: &[u8]) -> bool {
        self.revoked.contains(&canonical_serial(serial))
    }
}

/// A serial number without the leading zero that DER adds to keep it positive.
#[must_use]
pub fn canonical_serial(serial: &[u8]) -> Vec<u8> {
    let first = serial.iter().position(|byte| *byte != 0).unwrap_or(serial.len());
    serial[first..].to_vec()
}

impl fmt::Debug for ServerIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ServerIdentity")
            .field("certificate_path", &self.certificate_path)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for EnvelopeSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("EnvelopeSecret").field("path", &self.path).finish_non_exhaustive()
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Authority").field("path", &self.path).finish_non_exhaustive()
    }
}

impl fmt::Debug for RevocationList {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RevocationList")
            .field("path", &self.path)
            .field("revoked", &self.revoked.len())
            .finish_non_exhaustive()
    }
}

/// When a file was last written.
#[must_use]
pub fn modified_at(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

/// Every certificate in a PEM file; at least one.
///
/// # Errors
/// [`MaterialError`].
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, MaterialError> {
    let bytes = read_bounded(path)?;
    let chain = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| pem(path, "certificate", &error))?;
    if chain.is_empty() {
        return Err(pem(path, "certificate", &"no section -----BEGIN CERTIFICATE----- in it"));
    }
    Ok(chain)
}

/// What a server's certificate says about itself.
struct Facts {
    not_before_s: i64,
    not_after_s: i64,
    is_for_servers: bool,
    has_names: bool,
}

fn facts(path: &Path, certificate: &CertificateDer<'_>) -> Result<Facts, MaterialError> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|error| pem(path, "certificate", &error))?;
    let usage = parsed.extended_key_usage().map_err(|error| pem(path, "certificate", &error))?;
    let names = parsed.subject_alternative_name().map_err(|error| pem(path, "certificate", &error))?;
    let is_name =
        |name: &GeneralName<'_>| matches!(name, GeneralName::DNSName(_) | GeneralName::IPAddress(_));
    Ok(Facts {
        not_before_s: parsed.validity().not_before.timestamp(),
        not_after_s: parsed.validity().not_after.timestamp(),
        is_for_servers: usage.is_none_or(|usage| usage.value.server_auth || usage.value.any),
        has_names: names.is_some_and(|names| names.value.general_names.iter().any(is_name)),
    })
}

fn pem(path: &Path, wanted: &'static str, detail: &dyn fmt::Display) -> MaterialError {
    MaterialError::Pem { path: path.to_owned(), wanted, detail: detail.to_string() }
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, MaterialError> {
    let unreadable = |source| MaterialError::Unreadable { path: path.to_owned(), source };
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(unreadable(io::Error::other("it is not a file")));
    }
    if metadata.len() > PEM_BYTES_MAX {
        return Err(unreadable(io::Error::other(format!("it is larger than {PEM_BYTES_MAX} bytes"))));
    }
    fs::read(path).map_err(unreadable)
}

fn readable_by_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}
