//! One certificate of a device with one of the gateways' envelope keys: what it proves itself with, and what it is answered in.
//!
//! **Whoever proved itself with a key is answered under that key**, so a device that is still to be told the new one goes on
//! being heard and answered until the old one ends.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Instant;

use fieldpost_protocol::{EnvelopeKey, Lane};
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::lock;
use crate::broker::elsewhere::Elsewhere;
use crate::broker::refusal::Refusal;
use crate::config::material::EnvelopeSecret;
use crate::pki::{Identity, device_identity};
use crate::sabotage::{self, Sabotage};

/// The end of a key that has none, in ms of Unix time.
const NO_END: u64 = u64::MAX;

/// What other gateways have said STORED of one certificate's device, whichever key they said it under.
pub(super) type Heard = Arc<Mutex<Elsewhere>>;

/// One certificate of one device, with one envelope key of the gateways.
#[derive(Debug)]
pub(in crate::broker) struct Enrolled {
    pub(in crate::broker) identity: Identity,
    /// `None`: whoever brings the messages has seen to the identity.
    pub(super) papers: Option<Papers>,
    key: OnceLock<Option<EnvelopeKey>>,
    /// Unix ms from which nothing that the key made is believed.
    ends_ms: AtomicU64,
    /// Whether the log has named it as one that still uses a key with an end.
    was_named: AtomicBool,
    pub(super) elsewhere: Heard,
}

/// What shows whose a key is.
#[derive(Debug)]
pub(super) struct Papers {
    pub(super) certificate: CertificateDer<'static>,
    /// An uncompressed point.
    public_key: Vec<u8>,
    pub(super) secret: Arc<EnvelopeSecret>,
    /// When the certificate was last looked at, and whether it was good.
    pub(super) checked: Mutex<Option<(Instant, bool)>>,
}

impl Enrolled {
    /// `None` if the certificate is no device's, or its key not of P-256.
    pub(super) fn new(
        certificate: &CertificateDer<'static>,
        secret: &Arc<EnvelopeSecret>,
        elsewhere: &Heard,
    ) -> Option<Self> {
        let identity = device_identity(certificate).ok()?;
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let public_key = parsed.public_key().subject_public_key.data.to_vec();
        // 0x04, then both coordinates of 32 bytes (SEC 1, 2.3.3).
        let is_point = public_key.len() == 65 && public_key[0] == 4;
        let papers = Papers {
            certificate: certificate.clone(),
            public_key,
            secret: Arc::clone(secret),
            checked: Mutex::default(),
        };
        is_point.then(|| Self::with(identity, Some(papers), OnceLock::new(), Arc::clone(elsewhere)))
    }

    /// A device whose identity and key its caller vouches for.
    pub(super) fn vouched_for(identity: Identity, key: EnvelopeKey) -> Self {
        Self::with(identity, None, OnceLock::from(Some(key)), Heard::default())
    }

    fn with(
        identity: Identity,
        papers: Option<Papers>,
        key: OnceLock<Option<EnvelopeKey>>,
        elsewhere: Heard,
    ) -> Self {
        let (ends_ms, was_named) = (AtomicU64::new(NO_END), AtomicBool::new(false));
        Self { identity, papers, key, ends_ms, was_named, elsewhere }
    }

    /// The key of this device, agreed on first use. `None` if its public key is no point of the curve.
    pub(in crate::broker) fn key(&self) -> Option<&EnvelopeKey> {
        let Identity { force, device, .. } = &self.identity;
        let agree = || {
            let Papers { secret, public_key, .. } = self.papers.as_ref()?;
            secret.agree(public_key, |agreed| EnvelopeKey::derive(agreed, force, device))
        };
        self.key.get_or_init(agree).as_ref()
    }

    /// Whether its key made the tag.
    ///
    /// # Errors
    /// [`Refusal`]: it did not.
    pub(super) fn prove(&self, lane: Lane, payload: &[u8]) -> Result<(), Refusal> {
        let key = self.key().ok_or(Refusal::Certificate)?;
        key.open(lane, payload).map(drop).map_err(Refusal::from)
    }

    /// Gives the key an end in Unix ms, or none.
    pub(super) fn end_at(&self, until_ms: Option<u64>) {
        self.ends_ms.store(until_ms.unwrap_or(NO_END), Ordering::Relaxed);
    }

    pub(super) fn has_ended(&self, now_ms: u64) -> bool {
        now_ms >= self.ends_ms.load(Ordering::Relaxed) && !sabotage::is(Sabotage::OutliveKey)
    }

    /// Whether the key has an end: the device is to be told the new one before it.
    pub(in crate::broker) fn is_former(&self) -> bool {
        self.ends_ms.load(Ordering::Relaxed) != NO_END
    }

    /// Whether the log is still to name it; `may_say` is asked only then, and decides whether this is the time.
    pub(in crate::broker) fn is_to_be_named(&self, may_say: impl FnOnce() -> bool) -> bool {
        !self.was_named.load(Ordering::Relaxed) && may_say() && !self.was_named.swap(true, Ordering::Relaxed)
    }

    /// What other gateways have said STORED of.
    pub(in crate::broker) fn elsewhere(&self) -> MutexGuard<'_, Elsewhere> {
        lock(&self.elsewhere)
    }
}
