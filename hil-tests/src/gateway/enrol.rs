//! Enrolment: a device's certificate and key, as its provisioning slot holds them.

use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use super::{FORCE, Gateway};
use crate::Failure;

/// What a device is given. DER throughout.
#[derive(Debug)]
pub struct Enrolled {
    /// Its id.
    pub device: String,
    /// Its own certificate first, then the chain.
    pub chain: Vec<Vec<u8>>,
    /// Its private key, PKCS #8.
    pub key: Vec<u8>,
    /// Who signs gateways.
    pub authorities: Vec<Vec<u8>>,
}

impl Gateway {
    /// Issues a certificate for a device of [`FORCE`]; `mode` is `actual`, `exercise` or `test`.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn enrol(&self, device: &str, mode: &str) -> Result<Enrolled, Failure> {
        let out = self.dir.join("enrolled");
        let (config, folder) = (self.config().display().to_string(), out.display().to_string());
        let issue = ["pki", "issue", "-c", &config, "--force", FORCE, "--device", device];
        self.command(&[issue.as_slice(), &["--mode", mode, "--out", &folder]].concat())?;
        let certificates = |name: String| -> Result<Vec<Vec<u8>>, Failure> {
            let path = out.join(name);
            let bad = |error: &dyn std::fmt::Display| {
                Failure::child("gateway", format!("{}: {error}", path.display()))
            };
            let found = CertificateDer::pem_file_iter(&path).map_err(|error| bad(&error))?;
            found.map(|one| one.map(|der| der.to_vec()).map_err(|error| bad(&error))).collect()
        };
        let key = PrivateKeyDer::from_pem_file(out.join(format!("{device}.key")));
        let key = key
            .map_err(|error| Failure::child("gateway", format!("wrote a key that does not read: {error}")))?;
        Ok(Enrolled {
            device: device.to_owned(),
            chain: certificates(format!("{device}.pem"))?,
            key: key.secret_der().to_vec(),
            authorities: certificates("ca.pem".to_owned())?,
        })
    }
}
