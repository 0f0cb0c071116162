//! A front door to knock at: an authority, a spool on a [`FaultyDisk`], and the door itself on a free port.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fieldpost_gateway::config::material::RevocationList;
use fieldpost_gateway::dedup::{Dedup, DedupBounds};
use fieldpost_gateway::downlink::{Downlink, DownlinkBounds};
use fieldpost_gateway::ingest::{ClockBounds, FrontDoor, IngestConfig};
use fieldpost_gateway::metrics::Metrics;
use fieldpost_gateway::pki::{Authority, DeviceRequest, Issued, Revoke, Validity};
use fieldpost_gateway::record::Record;
use fieldpost_gateway::spool::faulty::FaultyDisk;
use fieldpost_gateway::spool::{BatchLimits, Lsn, Spool, SpoolSettings};
use fieldpost_protocol::{DeviceId, ForceId, Mode};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
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
    pub(crate) config: IngestConfig,
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
        let mut authority = Authority::create(dir.path()).unwrap();
        let mut config = config();
        change(&mut config);
        let spool_dir = PathBuf::from("/spool");
        let (spool, _) = Spool::open(&spool_dir, settings, Arc::new(disk.clone())).unwrap();
        let downlink = Downlink::new(DownlinkBounds::default());
        let metrics = Metrics::new();
        let dedup = Dedup::new(DedupBounds::default());
        dedup.rebuild_from(&spool).await.unwrap();
        let tls = server_tls(&mut authority);
        let door = FrontDoor::start(
            config.clone(),
            tls,
            spool.clone(),
            dedup,
            downlink.clone(),
            Arc::clone(&metrics),
            CancellationToken::new(),
        )
        .await
        .unwrap();
        Self { door, disk, spool, downlink, metrics, authority, config, _dir: dir }
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

    /// Revokes a device's certificates and tells the door, as a reload does.
    pub(crate) fn revoke(&mut self, device: &str) {
        let device = DeviceId::try_new(device).unwrap();
        self.authority.revoke(&Revoke::Device(ForceId::try_new(FORCE).unwrap(), device)).unwrap();
        let list = RevocationList::load(&self.authority.list_path()).unwrap();
        self.config.revocation_list = Some(Arc::new(list));
        self.door.reload(self.config.clone());
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
            records.extend(batch.entries.iter().map(|entry| Record::decode(entry.lsn, &entry.payload).unwrap()));
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

fn config() -> IngestConfig {
    IngestConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        forces: Arc::new(HashSet::from([ForceId::try_new(FORCE).unwrap()])),
        revocation_list: None,
        connections_max: 1000,
        connect_deadline: PATIENCE,
        keep_alive_s_max: 300,
        session_expiry_s_max: 3600,
        packet_bytes_max: 8192,
        receive_max: 100,
        topic_alias_max: 8,
        clock: ClockBounds { future_ms_max: 120_000, past_ms_max: 7 * 24 * 3_600_000 },
    }
}

/// What the gateway's own TLS does: 1.3 only, client certificates required.
fn server_tls(authority: &mut Authority) -> Arc<rustls::ServerConfig> {
    let (chain, key) = credentials(&authority.issue_server(&["localhost".to_owned()], 30).unwrap());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(authority)), Arc::clone(&provider))
        .build()
        .unwrap();
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .unwrap();
    config.send_tls13_tickets = 0;
    Arc::new(config)
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
