//! Certificates that an attacker might show.

use p256::ecdsa::SigningKey;
use p256::pkcs8::DecodePrivateKey as _;
use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose as Usage, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
    date_time_ymd,
};

/// A chain in DER and the key of its first certificate.
pub(crate) struct Shown {
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) key: SigningKey,
}

/// Signs for the authority of the devices under attack, as if its key had been misused, and for one of its own.
pub(crate) struct Forger {
    name: String,
    authority: Issuer<'static, KeyPair>,
    stranger: Issuer<'static, KeyPair>,
}

impl Forger {
    /// From the authority's certificate and key, PEM. `name` is what the devices expect.
    pub(crate) fn new(authority_pem: &str, authority_key_pem: &str, name: &str) -> Self {
        let key = KeyPair::from_pem(authority_key_pem).expect("a key");
        let authority = Issuer::from_ca_cert_pem(authority_pem, key).expect("an authority");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        // The same name as the real one: only the key differs.
        params.distinguished_name = CertificateParams::default().distinguished_name;
        let stranger = Issuer::new(params, KeyPair::generate().expect("a key"));
        Self { name: name.to_owned(), authority, stranger }
    }

    /// What a gateway's certificate is made of.
    pub(crate) fn gateway(&self) -> CertificateParams {
        self.named(&self.name)
    }

    pub(crate) fn named(&self, name: &str) -> CertificateParams {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![Usage::ServerAuth];
        params.not_before = date_time_ymd(2025, 1, 1);
        params.not_after = date_time_ymd(2040, 1, 1);
        params
    }

    /// A device's own certificate.
    pub(crate) fn device(&self) -> CertificateParams {
        let mut params = self.gateway();
        let uri = "urn:fieldpost:device:sim:unit-8:test".try_into().expect("ASCII");
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.extended_key_usages = vec![Usage::ClientAuth];
        params
    }

    /// Signed by the authority.
    pub(crate) fn signed(&self, params: &CertificateParams) -> Shown {
        issue(params, &self.authority)
    }

    /// Signed by an authority of ours.
    pub(crate) fn signed_by_stranger(&self, params: &CertificateParams) -> Shown {
        issue(params, &self.stranger)
    }

    /// Signed by a device's key, with the device's certificate behind it.
    pub(crate) fn signed_by_device(&self, params: &CertificateParams) -> Shown {
        let device = self.device();
        let key = KeyPair::generate().expect("a key");
        let certificate = device.signed_by(&key, &self.authority).expect("signed");
        let mut shown = issue(params, &Issuer::new(device, key));
        shown.chain.push(certificate.der().to_vec());
        shown
    }
}

fn issue(params: &CertificateParams, issuer: &Issuer<'_, KeyPair>) -> Shown {
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, issuer).expect("signed");
    let key = SigningKey::from_pkcs8_der(&key.serialize_der()).expect("a P-256 key");
    Shown { chain: vec![certificate.der().to_vec()], key }
}
