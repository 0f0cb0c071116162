//! A front door to knock at: a directory as `fieldpost init` makes it, a spool on a [`FaultyDisk`], and the door itself
//! on a free port.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fieldpost_gateway::config::Config;
use fieldpost_gateway::config::template::TemplateValues;
use fieldpost_gateway::dedup::{Dedup, DedupBounds};
use fieldpost_gateway::downlink::{Downlink, DownlinkBounds};
use fieldpost_gateway::ingest::{FrontDoor, IngestConfig, Reason};
use fieldpost_gateway::init::{InitOptions, init};
use fieldpost_gateway::metrics::Metrics;
use fieldpost_gateway::pki::{Authority, DeviceRequest, FrontDoorTls, Issued, Revoke, Validity};
use fieldpost_gateway::record::Record;
use fieldpost_gateway::spool::faulty::FaultyDisk;
use fieldpost_gateway::spool::{BatchLimits, Lsn, Spool, SpoolSettings};
use fieldpost_protocol::{DeviceId, ForceId, Mode};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_util::sync::CancellationToken;

/// Longer than any step of a test takes; a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The force that the test door serves.
pub(crate) const FORCE: &str = "sim";

/// A running front door with everything it needs.
pub(crate) struct TestDoor {
    pub(crate) door: FrontDoor,
    pub(crate) disk: FaultyDisk,
    pub(crate) spool: Spool,
    pub(crate) downlink: Downlink,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) authority: Authority,
    tls: FrontDoorTls,
    config_path: PathBuf,
    _dir: tempfile::TempDir,
}

/// A certificate chain and its key.
pub(crate) type Credentials = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl TestDoor {
    /// With limits that no test meets by accident.
    pub(crate) async fn open() -> Self {
        Self::with(|_| {}, SpoolSettings::default()).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut IngestConfig), settings: SpoolSettings) -> Self {
        Self::on(FaultyDisk::new(), change, settings).await
    }

    pub(crate) async fn on(
        disk: FaultyDisk,
        change: impl FnOnce(&mut IngestConfig),
        settings: SpoolSettings,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let values = TemplateValues {
            front_door_listen: "127.0.0.1:0".to_owned(),
            forces: vec![(FORCE.to_owned(), "Simulated".to_owned())],
            ..TemplateValues::default()
        };
        let options = InitOptions { values, ..InitOptions::default() };
        let made = init(&dir.path().join("gateway"), &options).unwrap();
        let config = Config::load(&made.config).unwrap();
        let tls = FrontDoorTls::new(&config.front_door).unwrap();
        let mut ingest = IngestConfig::new(&config);
        ingest.connect_deadline = PATIENCE;
        change(&mut ingest);
        let (spool, _) = Spool::open(&PathBuf::from("/spool"), settings, Arc::new(disk.clone())).unwrap();
        let downlink = Downlink::new(DownlinkBounds::default());
        let metrics = Metrics::new();
        let dedup = Dedup::new(DedupBounds::default());
        dedup.rebuild_from(&spool).await.unwrap();
        let door = FrontDoor::start(
            ingest,
            tls.clone(),
            spool.clone(),
            dedup,
            downlink.clone(),
            Arc::clone(&metrics),
            CancellationToken::new(),
        )
        .await
        .unwrap();
        let (authority, config_path) = (made.authority, made.config);
        Self { door, disk, spool, downlink, metrics, authority, tls, config_path, _dir: dir }
    }

    pub(crate) fn issue(&mut self, force: &str, device: &str, mode: Mode) -> Credentials {
        let (force, device) = (ForceId::try_new(force).unwrap(), DeviceId::try_new(device).unwrap());
        credentials(&self.authority.issue_device(&force, &device, mode, 30).unwrap())
    }

    pub(crate) fn issue_expired(&mut self, device: &str) -> Credentials {
        let request = DeviceRequest {
            force: ForceId::try_new(FORCE).unwrap(),
            device: DeviceId::try_new(device).unwrap(),
            mode: Mode::Test,
            validity: Validity { from_s: 1_600_000_000, to_s: 1_600_100_000 },
            replace: false,
        };
        credentials(&self.authority.issue_devices(&[request]).unwrap()[0])
    }

    /// Revokes a device's certificates and reloads, in the order a reload of the gateway has.
    pub(crate) fn revoke(&mut self, device: &str) {
        let device = DeviceId::try_new(device).unwrap();
        self.authority.revoke(&Revoke::Device(ForceId::try_new(FORCE).unwrap(), device)).unwrap();
        let config = Config::load(&self.config_path).unwrap();
        self.tls.renew(&config.front_door).unwrap();
        self.door.reload(IngestConfig::new(&config));
    }

    /// Waits until one connection was refused for `reason`, and no other for any.
    pub(crate) async fn refused(&self, reason: Reason) {
        self.until(reason.as_str(), |door| door.metrics.ingest.refused(reason).get() == 1).await;
        let all: u64 = Reason::ALL.iter().map(|reason| self.metrics.ingest.refused(*reason).get()).sum();
        assert_eq!(all, 1, "one refusal has one reason");
    }

    /// Waits until one connection ended for `reason`.
    pub(crate) async fn ended(&self, reason: Reason) {
        self.until(reason.as_str(), |door| door.metrics.ingest.ended(reason).get() == 1).await;
    }

    /// Every record committed so far.
    pub(crate) async fn records(&self) -> Vec<Record> {
        let committed = self.spool.committed();
        let mut reader = self.spool.reader(Lsn(1));
        let mut records = Vec::new();
        let limits = BatchLimits { count_max: 1000, bytes_max: 1 << 20, age_ms_max: 0 };
        while reader.position() <= committed {
            let batch = reader.next_batch(limits).await.unwrap();
            assert!(batch.gap.is_none(), "the spool lost entries");
            records.extend(batch.records().map(|record| record.clone().unwrap()));
        }
        records
    }

    /// Waits until `is_true` holds; panics after [`PATIENCE`].
    pub(crate) async fn until(&self, what: &str, is_true: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !is_true(self) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never came true: {what}"));
    }
}

pub(crate) fn roots(authority: &Authority) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.certificate_pem().as_bytes()).unwrap()).unwrap();
    roots
}

pub(crate) fn credentials(issued: &Issued) -> Credentials {
    let chain = CertificateDer::pem_slice_iter(issued.certificate_pem.as_bytes());
    let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
    (chain, PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).unwrap())
}
