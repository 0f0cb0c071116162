//! The devices behind brokers: who they are, and the key each proves itself with.
//!
//! **Identity comes from a certificate here too**: not one that was shown in a handshake, but one that the operator has put
//! among `devices`. It must stand the same test as at the front door (authority, dates, revocation list), asked again every
//! [`RECHECK`]. The key is agreed on the device's first message (about 0.1 ms) and kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use fieldpost_protocol::{EnvelopeKey, Lane, topic};
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::elsewhere::Elsewhere;
use super::refusal::Refusal;
use crate::config::BrokerLink;
use crate::config::material::EnvelopeSecret;
use crate::pki::{FrontDoorTls, Identity, device_identity};
use crate::sabotage::{self, Sabotage};

/// How old an answer about a certificate may be: what a revocation takes at most after the list was read.
const RECHECK: Duration = Duration::from_secs(30);

/// Every device of one broker.
#[derive(Debug)]
pub(super) struct Register {
    tls: FrontDoorTls,
    devices: RwLock<HashMap<Box<str>, Vec<Arc<Enrolled>>>>,
}

/// One certificate of one device.
#[derive(Debug)]
pub(super) struct Enrolled {
    pub(super) identity: Identity,
    certificate: CertificateDer<'static>,
    /// An uncompressed point.
    public_key: Vec<u8>,
    secret: Arc<EnvelopeSecret>,
    key: OnceLock<Option<EnvelopeKey>>,
    /// When the certificate was last looked at, and whether it was good.
    checked: Mutex<Option<(Instant, bool)>>,
    elsewhere: Mutex<Elsewhere>,
}

impl Register {
    /// The devices of `link`; `tls` judges their certificates.
    pub(super) fn new(link: &BrokerLink, tls: FrontDoorTls) -> Self {
        let register = Self { tls, devices: RwLock::default() };
        register.renew(link);
        register
    }

    /// Takes the certificates anew. What is known of a device stays if its certificate does.
    pub(super) fn renew(&self, link: &BrokerLink) {
        let mut known = self.devices.write().unwrap_or_else(PoisonError::into_inner);
        let mut renewed: HashMap<Box<str>, Vec<Arc<Enrolled>>> = HashMap::new();
        let mut odd_count = 0;
        for certificate in link.devices.iter() {
            let Some(enrolled) = Enrolled::new(certificate, &link.secret) else {
                odd_count += 1;
                continue;
            };
            let name: Box<str> = enrolled.identity.device.as_str().into();
            let kept = known.get(&name).and_then(|of_name| {
                of_name.iter().find(|one| one.certificate == *certificate && one.secret.is(&link.secret))
            });
            let kept = kept.map_or_else(|| Arc::new(enrolled), Arc::clone);
            // The list may have changed with the certificates.
            *lock(&kept.checked) = None;
            renewed.entry(name).or_default().push(kept);
        }
        if odd_count > 0 {
            let path = link.devices_path.display();
            tracing::warn!(%path, odd_count, "certificates without a device identity or a P-256 key are passed over");
        }
        *known = renewed;
    }

    /// Whose message this is: a certificate of the device that the topic names must be good, and its key must have made the
    /// tag.
    ///
    /// # Errors
    /// [`Refusal`]: nobody's.
    pub(super) fn admit(&self, topic: &[u8], payload: &[u8]) -> Result<(Arc<Enrolled>, Lane), Refusal> {
        let topic = std::str::from_utf8(topic).map_err(|_| Refusal::Topic)?;
        let (device, lane) = topic::parse_uplink(topic).map_err(|_| Refusal::Topic)?;
        let mut refusal = Refusal::DeviceUnknown;
        for enrolled in self.named(device) {
            let outcome = self.judge(&enrolled).and_then(|()| enrolled.prove(lane, payload));
            match outcome {
                Ok(()) => return Ok((enrolled, lane)),
                Err(why) => refusal = why,
            }
        }
        Err(refusal)
    }

    /// The certificates of a device, by the name in its topics: a broker's clients share one space of names.
    fn named(&self, device: &str) -> Vec<Arc<Enrolled>> {
        let devices = self.devices.read().unwrap_or_else(PoisonError::into_inner);
        devices.get(device).cloned().unwrap_or_default()
    }

    /// Those of them that are good now: nobody else is spoken to, or believed.
    pub(super) fn good(&self, device: &str) -> Vec<Arc<Enrolled>> {
        let mut named = self.named(device);
        named.retain(|enrolled| self.judge(enrolled).is_ok());
        named
    }

    fn judge(&self, enrolled: &Enrolled) -> Result<(), Refusal> {
        let mut checked = lock(&enrolled.checked);
        let is_good = match *checked {
            Some((at, is_good)) if at.elapsed() < RECHECK => is_good,
            _ => {
                let chain = [enrolled.certificate.clone()];
                let is_good = self.tls.recheck(&chain, UnixTime::now()).is_ok();
                *checked = Some((Instant::now(), is_good));
                is_good
            }
        };
        if is_good { Ok(()) } else { Err(Refusal::Certificate) }
    }
}

impl Enrolled {
    /// `None` if the certificate is no device's, or its key not of P-256.
    fn new(certificate: &CertificateDer<'static>, secret: &Arc<EnvelopeSecret>) -> Option<Self> {
        let identity = device_identity(certificate).ok()?;
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let public_key = parsed.public_key().subject_public_key.data.to_vec();
        // 0x04, then both coordinates of 32 bytes (SEC 1, 2.3.3).
        (public_key.len() == 65 && public_key[0] == 4).then(|| Self {
            identity,
            certificate: certificate.clone(),
            public_key,
            secret: Arc::clone(secret),
            key: OnceLock::new(),
            checked: Mutex::default(),
            elsewhere: Mutex::default(),
        })
    }

    /// The key of this device, agreed on first use. `None` if its public key is no point of the curve.
    pub(super) fn key(&self) -> Option<&EnvelopeKey> {
        let Identity { force, device, .. } = &self.identity;
        let agree =
            || self.secret.agree(&self.public_key, |agreed| EnvelopeKey::derive(agreed, force, device));
        self.key.get_or_init(agree).as_ref()
    }

    fn prove(&self, lane: Lane, payload: &[u8]) -> Result<(), Refusal> {
        if sabotage::is(Sabotage::SkipTag) {
            return Ok(());
        }
        let key = self.key().ok_or(Refusal::Certificate)?;
        key.open(lane, payload).map(drop).map_err(Refusal::from)
    }

    /// What other gateways have said STORED of.
    pub(super) fn elsewhere(&self) -> MutexGuard<'_, Elsewhere> {
        lock(&self.elsewhere)
    }
}

/// Locks whatever another thread may have left: every critical section leaves its data whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
