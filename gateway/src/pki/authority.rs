//! The local certificate authority: ECDSA P-256, one level (path length 0), certificates for devices and for servers.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand;
use fieldpost_protocol::{DeviceId, ForceId, Mode};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType,
    SerialNumber,
};
use time::OffsetDateTime;

use crate::config::material::RevocationList;

use super::files::{replace_file, write_new_private};
use super::identity::identity_uri;
use super::index::{Act, Entry, Index, Status, io_at, issue_device};

/// Ten years: longer than the devices it signs for, short enough to be renewed by somebody who remembers it.
const AUTHORITY_DAYS: u32 = 3650;
/// Certificates start an hour early: a device's clock may be behind.
const BACKDATE_S: i64 = 3600;
const DAY_S: i64 = 86_400;
const SERIAL_BYTES: usize = 16;
const CERTIFICATE: &str = "ca.pem";
const KEY: &str = "ca.key";
const INDEX: &str = "index.jsonl";
const LIST: &str = "crl.pem";
/// How long a revocation list is valid unless asked otherwise (days): a timer that runs weekly may fail three times.
pub(crate) const LIST_DAYS: u32 = 30;

/// The open authority of one directory. Holds its lock: another process waits in [`Authority::open`].
pub struct Authority {
    dir: PathBuf,
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
    index: Index,
}

/// A certificate with its key, as PEM. The key exists nowhere else.
#[derive(Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate_pem: String,
    /// Its private key, PKCS#8. Keep it secret.
    pub key_pem: String,
    /// The authority's certificate.
    pub ca_pem: String,
    /// Serial number in lower-case hexadecimal.
    pub serial: String,
}

/// One device to issue a certificate for.
#[derive(Debug, Clone)]
pub struct DeviceRequest {
    /// The force.
    pub force: ForceId,
    /// The device.
    pub device: DeviceId,
    /// The most real mode it may ever speak in.
    pub mode: Mode,
    /// When it is valid.
    pub validity: Validity,
    /// Revoke the device's active certificate, if it has one, instead of refusing.
    pub replace: bool,
}

/// From when until when a certificate is valid, unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// First second.
    pub from_s: i64,
    /// Last second.
    pub to_s: i64,
}

/// What to revoke.
#[derive(Debug, Clone)]
pub enum Revoke {
    /// Every active certificate of a device.
    Device(ForceId, DeviceId),
    /// One certificate, by its serial number in hexadecimal.
    Serial(String),
}

/// Why the authority refused or failed. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file could not be read or written.
    #[error("cannot use {path}: {source}")]
    Files {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The directory holds an authority already.
    #[error("{0} already holds an authority: use it, or name another directory")]
    Exists(PathBuf),
    /// The directory holds none.
    #[error("{0} holds no authority: `fieldpost init DIR` makes one")]
    Missing(PathBuf),
    /// The index is damaged other than at its end.
    #[error(
        "{path}:{line} is damaged ({detail}): restore it from a backup; certificates it forgets can never be revoked"
    )]
    DamagedIndex {
        /// The index.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        detail: String,
    },
    /// The device has an active certificate.
    #[error(
        "{device} already has an active certificate ({serial}): --replace revokes it and issues a new one"
    )]
    DeviceActive {
        /// Force and device, separated by a slash.
        device: String,
        /// The active certificate's serial number.
        serial: String,
    },
    /// Nothing to revoke.
    #[error("no active certificate of {0}: `fieldpost pki list` shows what there is")]
    NothingToRevoke(String),
    /// A name that fits no certificate.
    #[error("\"{0}\" is neither a DNS name nor an IP address")]
    ServerName(String),
    /// A certificate must have a name and at least a day.
    #[error("{0}")]
    Request(&'static str),
    /// The certificate library failed.
    #[error("cannot make the certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The operating system's random source failed.
    #[error("the operating system gave no random bytes")]
    Random,
}

impl Validity {
    /// `days` from an hour before `now_s`.
    #[must_use]
    pub fn days_from(now_s: i64, days: u32) -> Self {
        Self { from_s: now_s - BACKDATE_S, to_s: now_s + i64::from(days) * DAY_S }
    }
}

impl Authority {
    /// Makes a new authority in `dir`, which is made if needed and must not hold one.
    ///
    /// # Errors
    /// [`AuthorityError`]. If it fails halfway the directory holds no `ca.pem` and may be removed.
    pub fn create(dir: &Path) -> Result<Self, AuthorityError> {
        let now_s = now_s();
        fs::create_dir_all(dir).map_err(io_at(dir))?;
        if dir.join(CERTIFICATE).exists() {
            return Err(AuthorityError::Exists(dir.to_owned()));
        }
        let key = KeyPair::generate()?;
        let (serial, serial_hex) = random_serial()?;
        let validity = Validity::days_from(now_s, AUTHORITY_DAYS);
        let mut params = params("Fieldpost local authority", None, serial, validity)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        // Two authorities must not share a subject: revocation lists are matched by it.
        params.distinguished_name.push(DnType::OrganizationalUnitName, &serial_hex[..8]);
        let certificate_pem = params.self_signed(&key)?.pem();
        let mut index = Index::create(&dir.join(INDEX))?;
        index.append(vec![Act::CreateAuthority { serial: serial_hex, not_after_s: validity.to_s }], now_s)?;
        write_new_private(&dir.join(KEY), key.serialize_pem().as_bytes()).map_err(io_at(&dir.join(KEY)))?;
        // The certificate comes last: with it the authority exists.
        replace_file(&dir.join(CERTIFICATE), certificate_pem.as_bytes(), false)
            .map_err(io_at(&dir.join(CERTIFICATE)))?;
        let mut authority =
            Self { dir: dir.to_owned(), certificate_pem, issuer: Issuer::new(params, key), index };
        authority.crl(LIST_DAYS)?;
        Ok(authority)
    }

    /// Opens the authority in `dir`, waiting while another process has it open.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn open(dir: &Path) -> Result<Self, AuthorityError> {
        let certificate_path = dir.join(CERTIFICATE);
        if !certificate_path.exists() {
            return Err(AuthorityError::Missing(dir.to_owned()));
        }
        let certificate_pem = fs::read_to_string(&certificate_path).map_err(io_at(&certificate_path))?;
        let key_path = dir.join(KEY);
        let key = KeyPair::from_pem(&fs::read_to_string(&key_path).map_err(io_at(&key_path))?)?;
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, key)?;
        let index = Index::open(&dir.join(INDEX))?;
        let mut authority = Self { dir: dir.to_owned(), certificate_pem, issuer, index };
        if authority.index.list_is_owed
            || authority.written_list_number() != Some(authority.index.list_number)
        {
            // A crash came between an act and its list: finish it, or a revoked certificate stays welcome.
            authority.crl(LIST_DAYS)?;
        }
        Ok(authority)
    }

    /// The number of the list in `crl.pem`; `None` if there is none that can be read.
    fn written_list_number(&self) -> Option<u64> {
        let list = RevocationList::load(&self.list_path()).ok()?;
        u64::try_from(list.number?).ok()
    }

    /// Every certificate issued, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.index.entries
    }

    /// The authority's own certificate, PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Where the revocation list is written.
    #[must_use]
    pub fn list_path(&self) -> PathBuf {
        self.dir.join(LIST)
    }

    /// Issues a device certificate valid for `days` from now.
    ///
    /// # Errors
    /// [`AuthorityError::DeviceActive`] if the device has an active certificate, and the rest of [`AuthorityError`].
    pub fn issue_device(
        &mut self,
        force: &ForceId,
        device: &DeviceId,
        mode: Mode,
        days: u32,
    ) -> Result<Issued, AuthorityError> {
        let validity = Validity::days_from(now_s(), days);
        let request =
            DeviceRequest { force: force.clone(), device: device.clone(), mode, validity, replace: false };
        let mut issued = self.issue_devices(std::slice::from_ref(&request))?;
        Ok(issued.pop().expect("one request gives one certificate"))
    }

    /// Issues certificates for many devices with one sync of the index; all of them or none.
    ///
    /// # Errors
    /// As [`Authority::issue_device`].
    pub fn issue_devices(&mut self, requests: &[DeviceRequest]) -> Result<Vec<Issued>, AuthorityError> {
        let now_s = now_s();
        let mut acts = Vec::with_capacity(requests.len());
        let mut issued = Vec::with_capacity(requests.len());
        let mut revoked = false;
        let mut asked = HashSet::new();
        for request in requests {
            if !asked.insert((&request.force, &request.device)) {
                return Err(AuthorityError::Request("the same device is asked for twice"));
            }
            if request.validity.to_s <= request.validity.from_s {
                return Err(AuthorityError::Request("a certificate must be valid for at least a day"));
            }
            if let Some(active) = self.index.active_device(&request.force, &request.device, now_s) {
                if !request.replace {
                    return Err(AuthorityError::DeviceActive {
                        device: format!("{}/{}", request.force, request.device),
                        serial: active.serial.clone(),
                    });
                }
                acts.push(Act::Revoke { serial: active.serial.clone(), revoked_at_s: now_s });
                revoked = true;
            }
            let one = self.sign_device(request)?;
            let DeviceRequest { force, device, mode, validity, .. } = request;
            acts.push(issue_device(&one.serial, force, device, *mode, validity.to_s));
            issued.push(one);
        }
        self.index.append(acts, now_s)?;
        if revoked {
            self.crl(LIST_DAYS)?;
        }
        Ok(issued)
    }

    fn sign_device(&self, request: &DeviceRequest) -> Result<Issued, AuthorityError> {
        let (serial, serial_hex) = random_serial()?;
        let DeviceRequest { force, device, mode, validity, .. } = request;
        let mut params = params(device.as_str(), Some(force.as_str()), serial, *validity)?;
        params.subject_alt_names = vec![SanType::URI(identity_uri(force, device, *mode).try_into()?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, serial_hex)
    }

    /// Issues a server certificate for DNS names and IP addresses, valid for `days` from now.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn issue_server(&mut self, names: &[String], days: u32) -> Result<Issued, AuthorityError> {
        let now_s = now_s();
        let first = names
            .first()
            .ok_or(AuthorityError::Request("a server certificate needs a name or an address"))?;
        let (serial, serial_hex) = random_serial()?;
        let validity = Validity::days_from(now_s, days);
        let mut params = params(first, None, serial, validity)?;
        params.subject_alt_names = names.iter().map(|name| server_name(name)).collect::<Result<_, _>>()?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let issued = self.sign(params, serial_hex)?;
        let act = Act::IssueServer {
            serial: issued.serial.clone(),
            names: names.to_vec(),
            not_after_s: validity.to_s,
        };
        self.index.append(vec![act], now_s)?;
        Ok(issued)
    }

    fn sign(&self, mut params: CertificateParams, serial: String) -> Result<Issued, AuthorityError> {
        let key = KeyPair::generate()?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            ca_pem: self.certificate_pem.clone(),
            serial,
        })
    }

    /// Revokes, durably, then renews the revocation list. Returns the serial numbers revoked.
    ///
    /// If it fails after the index was written, the certificates count as revoked and the next [`Authority::crl`] lists
    /// them.
    ///
    /// # Errors
    /// [`AuthorityError::NothingToRevoke`] if nothing active matches, and the rest of [`AuthorityError`].
    pub fn revoke(&mut self, what: &Revoke) -> Result<Vec<String>, AuthorityError> {
        let now_s = now_s();
        let matches = |entry: &&Entry| match what {
            Revoke::Device(force, device) => entry.is_device(force, device),
            Revoke::Serial(serial) => entry.serial.eq_ignore_ascii_case(serial),
        };
        let active = |entry: &&Entry| entry.status(now_s) == Status::Active;
        let serials: Vec<_> = self
            .index
            .entries
            .iter()
            .filter(matches)
            .filter(active)
            .map(|entry| entry.serial.clone())
            .collect();
        if serials.is_empty() {
            return Err(AuthorityError::NothingToRevoke(match what {
                Revoke::Device(force, device) => format!("{force}/{device}"),
                Revoke::Serial(serial) => format!("serial {serial}"),
            }));
        }
        let acts = serials.iter().map(|serial| Act::Revoke { serial: serial.clone(), revoked_at_s: now_s });
        self.index.append(acts.collect(), now_s)?;
        self.crl(LIST_DAYS)?;
        Ok(serials)
    }

    /// Makes a new revocation list with the next number, valid for `days`, writes it to `crl.pem` and returns it.
    ///
    /// A revoked certificate leaves the list a day after it would have expired anyway (RFC 5280, 3.3).
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn crl(&mut self, days: u32) -> Result<String, AuthorityError> {
        let now_s = now_s();
        let next_update_s = now_s + i64::from(days.max(1)) * DAY_S;
        self.write_list(now_s - BACKDATE_S, next_update_s, now_s)
    }

    fn write_list(
        &mut self,
        this_update_s: i64,
        next_update_s: i64,
        now_s: i64,
    ) -> Result<String, AuthorityError> {
        let number = self.index.list_number + 1;
        let listed = self.index.entries.iter().filter(|entry| entry.not_after_s > now_s - DAY_S);
        let listed = listed.filter_map(|entry| Some((entry, entry.revoked_at_s?)));
        let revoked = listed.map(|(entry, revoked_at_s)| {
            Ok(RevokedCertParams {
                serial_number: SerialNumber::from(from_hex(&entry.serial)),
                revocation_time: at(revoked_at_s)?,
                reason_code: None,
                invalidity_date: None,
            })
        });
        let params = CertificateRevocationListParams {
            this_update: at(this_update_s)?,
            next_update: at(next_update_s)?,
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect::<Result<_, AuthorityError>>()?,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let pem = params.signed_by(&self.issuer)?.pem()?;
        self.index.append(vec![Act::RevocationList { number, next_update_s }], now_s)?;
        replace_file(&self.list_path(), pem.as_bytes(), false).map_err(io_at(&self.list_path()))?;
        Ok(pem)
    }

    #[cfg(test)]
    pub(super) fn write_list_for_tests(&mut self, this_update_s: i64, next_update_s: i64) {
        self.write_list(this_update_s, next_update_s, now_s()).unwrap();
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Authority").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// The key never reaches a log.
impl std::fmt::Debug for Issued {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Issued").field("serial", &self.serial).finish_non_exhaustive()
    }
}

fn params(
    common_name: &str,
    organisation: Option<&str>,
    serial: SerialNumber,
    validity: Validity,
) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    if let Some(organisation) = organisation {
        params.distinguished_name.push(DnType::OrganizationName, organisation);
    }
    params.serial_number = Some(serial);
    params.not_before = at(validity.from_s)?;
    params.not_after = at(validity.to_s)?;
    Ok(params)
}

fn server_name(name: &str) -> Result<SanType, AuthorityError> {
    if let Ok(ip) = name.parse() {
        return Ok(SanType::IpAddress(ip));
    }
    let refused = || AuthorityError::ServerName(name.to_owned());
    rustls_pki_types::DnsName::try_from(name).map_err(|_| refused())?;
    Ok(SanType::DnsName(name.try_into().map_err(|_| refused())?))
}

/// 126 random bits: positive, never zero, and 16 bytes in every certificate.
fn random_serial() -> Result<(SerialNumber, String), AuthorityError> {
    let mut bytes = [0_u8; SERIAL_BYTES];
    rand::fill(&mut bytes).map_err(|_| AuthorityError::Random)?;
    bytes[0] = (bytes[0] & 0x7F) | 0x40;
    let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((SerialNumber::from_slice(&bytes), hex))
}

fn from_hex(hex: &str) -> Vec<u8> {
    let byte = |at: usize| hex.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    (0..hex.len()).step_by(2).map_while(byte).collect()
}

fn at(unix_s: i64) -> Result<OffsetDateTime, AuthorityError> {
    OffsetDateTime::from_unix_timestamp(unix_s)
        .map_err(|_| AuthorityError::Request("the date lies outside what a certificate can hold"))
}

pub(super) fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
