//! The real gateway's front door in process, with its authority.

use std::path::PathBuf;
use std::sync::Arc;

use fieldpost_gateway::config::Config;
use fieldpost_gateway::config::template::TemplateValues;
use fieldpost_gateway::dedup::{Dedup, DedupBounds};
use fieldpost_gateway::downlink::{Downlink, DownlinkBounds};
use fieldpost_gateway::ingest::{FrontDoor, IngestConfig};
use fieldpost_gateway::init::{InitOptions, init};
use fieldpost_gateway::metrics::Metrics;
use fieldpost_gateway::pki::{Authority, FrontDoorTls, Issued};
use fieldpost_gateway::record::Record;
use fieldpost_gateway::spool::faulty::FaultyDisk;
use fieldpost_gateway::spool::{BatchLimits, Lsn, Spool, SpoolSettings};
use fieldpost_link::{Tls, TlsIdentity};
use fieldpost_protocol::{DeviceId, ForceId, Mode};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio_util::sync::CancellationToken;

use crate::body::PROVIDER;

pub(crate) const FORCE: &str = "sim";
pub(crate) const GATEWAY_NAME: &str = "localhost";
/// 1 January 2026.
pub(crate) const BUILT_UNIX_S: u32 = 1_767_225_600;

/// A running gateway.
pub(crate) struct Gateway {
    pub(crate) door: FrontDoor,
    pub(crate) downlink: Downlink,
    pub(crate) authority: Authority,
    spool: Spool,
    _dir: tempfile::TempDir,
}

impl Gateway {
    pub(crate) async fn open() -> Self {
        Self::open_with(|_| {}).await
    }

    pub(crate) async fn open_with(change: impl FnOnce(&mut IngestConfig)) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let values = TemplateValues {
            front_door_listen: "127.0.0.1:0".to_owned(),
            forces: vec![(FORCE.to_owned(), "Simulated".to_owned())],
            ..TemplateValues::default()
        };
        let options = InitOptions { values, ..InitOptions::default() };
        let made = init(&dir.path().join("gateway"), &options).expect("init succeeds");
        let config = Config::load(&made.config).expect("a fresh configuration loads");
        let tls = FrontDoorTls::new(&config.front_door).expect("its TLS can be set up");
        let disk = Arc::new(FaultyDisk::new());
        let (spool, _) =
            Spool::open(&PathBuf::from("/spool"), SpoolSettings::default(), disk).expect("a spool");
        let downlink = Downlink::new(DownlinkBounds::default());
        let dedup = Dedup::new(DedupBounds::default());
        dedup.rebuild_from(&spool).await.expect("an empty spool");
        let mut ingest = IngestConfig::new(&config);
        change(&mut ingest);
        let door = FrontDoor::start(
            ingest,
            tls.clone(),
            spool.clone(),
            dedup,
            downlink.clone(),
            Metrics::new(),
            CancellationToken::new(),
        )
        .await
        .expect("a free port");
        Self { door, downlink, authority: made.authority, spool, _dir: dir }
    }

    /// The TLS configuration of a device of this gateway.
    pub(crate) fn enrol(&mut self, device: &DeviceId) -> Tls {
        let force = ForceId::try_new(FORCE).expect("an identity");
        let issued = self.authority.issue_device(&force, device, Mode::Test, 30).expect("issued");
        tls_of(&issued, self.authority.certificate_pem())
    }

    /// Every record committed so far.
    pub(crate) async fn records(&self) -> Vec<Record> {
        let committed = self.spool.committed();
        let mut reader = self.spool.reader(Lsn(1));
        let mut records = Vec::new();
        let limits = BatchLimits { count_max: 1000, bytes_max: 1 << 20, age_ms_max: 0 };
        while reader.position() <= committed {
            let batch = reader.next_batch(limits).await.expect("the spool reads");
            records.extend(
                batch.entries().map(|entry| Record::decode(entry.lsn, &entry.payload).expect("a record")),
            );
        }
        records
    }
}

/// The TLS configuration of an issued device.
pub(crate) fn tls_of(issued: &Issued, authority_pem: &str) -> Tls {
    let certificate =
        CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).expect("a certificate");
    let key = PrivatePkcs8KeyDer::from_pem_slice(issued.key_pem.as_bytes()).expect("a key");
    let authority = CertificateDer::from_pem_slice(authority_pem.as_bytes()).expect("an authority");
    let identity = TlsIdentity {
        chain: &[&certificate],
        key_pkcs8: key.secret_pkcs8_der(),
        authorities: &[&authority],
        gateway_name: GATEWAY_NAME,
        built_unix_s: BUILT_UNIX_S,
    };
    Tls::new(&PROVIDER, &identity).expect("a good slot")
}
