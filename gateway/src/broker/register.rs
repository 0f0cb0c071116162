//! The devices behind brokers: who they are, and the keys each may prove itself with.
//!
//! **Identity comes from a certificate here too**: not one that was shown in a handshake, but one that the operator has put
//! among `devices`. It must stand the same test as at the front door (authority, dates, revocation list), asked again every
//! [`RECHECK`]. A key is agreed on the device's first message (about 0.1 ms) and kept.
//!
//! While the gateways' envelope key is replaced there are two keys a certificate. The former has an end, and **from that
//! instant nothing that it made is believed**; what a device then still has, it seals anew once it is told the new one.

mod enrolled;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use fieldpost_protocol::{EnvelopeKey, Lane, topic};
use rustls_pki_types::{CertificateDer, UnixTime};

pub(super) use self::enrolled::Enrolled;
use super::refusal::Refusal;
use crate::config::BrokerLink;
use crate::config::material::EnvelopeSecret;
use crate::pki::{FrontDoorTls, Identity, device_identity};
use crate::sabotage::{self, Sabotage};
use crate::spool::Clock;

/// How old an answer about a certificate may be: what a revocation takes at most after the list was read.
const RECHECK: Duration = Duration::from_secs(30);

/// By the name in their topics.
type Devices = HashMap<Box<str>, Vec<Arc<Enrolled>>>;

/// Every device of one broker.
#[derive(Debug)]
pub(super) struct Register {
    /// Judges certificates; `None` where no device has one to show.
    tls: Option<FrontDoorTls>,
    clock: Clock,
    devices: RwLock<Devices>,
}

impl Register {
    /// The devices of `link`; `tls` judges their certificates at the time of `clock`.
    pub(super) fn new(link: &BrokerLink, tls: FrontDoorTls, clock: Clock) -> Self {
        let register = Self { tls: Some(tls), clock, devices: RwLock::default() };
        register.renew(link);
        register
    }

    /// Devices that the caller vouches for.
    pub(super) fn vouched_for(
        devices: impl IntoIterator<Item = (Identity, EnvelopeKey)>,
        clock: Clock,
    ) -> Self {
        let named = devices.into_iter().map(|(identity, key)| {
            let name = identity.device.as_str().into();
            (name, vec![Arc::new(Enrolled::vouched_for(identity, key))])
        });
        Self { tls: None, clock, devices: RwLock::new(named.collect()) }
    }

    /// Takes certificates and envelope keys anew. What is known of a device stays if its certificate does.
    pub(super) fn renew(&self, link: &BrokerLink) {
        let mut known = self.devices.write().unwrap_or_else(PoisonError::into_inner);
        let mut renewed = Devices::new();
        let mut odd_count = 0;
        for certificate in link.devices.iter() {
            let Some(all) = with_each_key(&known, link, certificate) else {
                odd_count += 1;
                continue;
            };
            for one in all {
                renewed.entry(one.identity.device.as_str().into()).or_default().push(one);
            }
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
        let (mut untrue, mut over) = (Refusal::DeviceUnknown, None);
        for enrolled in self.named(device) {
            match enrolled.prove(lane, payload) {
                Err(why) => untrue = why,
                Ok(()) => match self.judge(&enrolled) {
                    Ok(()) => return Ok((enrolled, lane)),
                    Err(why) => over = Some(why),
                },
            }
        }
        if sabotage::is(Sabotage::SkipTag)
            && let Some(anyone) = self.good(device).into_iter().next()
        {
            return Ok((anyone, lane));
        }
        // Says more: the tag is true, and what made it is over.
        Err(over.unwrap_or(untrue))
    }

    /// A device's certificates, each with every key: a broker's clients share one space of names.
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

    /// Whether certificate and key are good now.
    fn judge(&self, enrolled: &Enrolled) -> Result<(), Refusal> {
        let now_ms = self.clock.now_ms();
        if enrolled.has_ended(now_ms) {
            return Err(Refusal::KeyEnded);
        }
        let Some(papers) = &enrolled.papers else { return Ok(()) };
        let Some(tls) = &self.tls else { return Err(Refusal::Certificate) };
        let mut checked = lock(&papers.checked);
        let is_good = match *checked {
            Some((at, is_good)) if at.elapsed() < RECHECK => is_good,
            _ => {
                let chain = [papers.certificate.clone()];
                let now = UnixTime::since_unix_epoch(Duration::from_millis(now_ms));
                let is_good = tls.recheck(&chain, now).is_ok();
                *checked = Some((Instant::now(), is_good));
                is_good
            }
        };
        if is_good { Ok(()) } else { Err(Refusal::Certificate) }
    }
}

/// A certificate with each of the gateways' keys, the new one first. `None` if it is no device's.
fn with_each_key(
    known: &Devices,
    link: &BrokerLink,
    certificate: &CertificateDer<'static>,
) -> Option<Vec<Arc<Enrolled>>> {
    let name = device_identity(certificate).ok()?.device;
    let before = known.get(name.as_str()).into_iter().flatten();
    let before = before.filter_map(|one| Some((one, one.papers.as_ref()?)));
    let before: Vec<_> = before.filter(|(_, papers)| papers.certificate == *certificate).collect();
    let elsewhere = before.first().map(|(one, _)| Arc::clone(&one.elsewhere)).unwrap_or_default();
    let with_key = |secret: &Arc<EnvelopeSecret>, until_ms: Option<u64>| {
        let kept = before.iter().find(|(_, papers)| papers.secret.is(secret)).map(|(one, _)| Arc::clone(one));
        let one = kept.or_else(|| Enrolled::new(certificate, secret, &elsewhere).map(Arc::new))?;
        one.end_at(until_ms);
        // The list may have changed with the certificates.
        one.papers.iter().for_each(|papers| *lock(&papers.checked) = None);
        Some(one)
    };
    let current = with_key(&link.secret, None)?;
    let former = link.former.as_ref().and_then(|key| with_key(&key.secret, Some(key.until_ms)));
    Some([current].into_iter().chain(former).collect())
}

/// Locks whatever another thread may have left: every critical section leaves its data whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
