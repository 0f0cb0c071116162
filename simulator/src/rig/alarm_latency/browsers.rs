//! The browsers: how one gets in, and those that read too slowly.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    super::{broker::scrape, gateway::Launch},
    RigError,
    events::Events,
};
use crate::check::http::{Http, HttpError};

/// What a slow browser's kernel takes for it, in bytes.
const SLOW_RECEIVE_BYTES: u32 = 4_096;
/// And how often it takes that.
const SLOW_EVERY: Duration = Duration::from_millis(250);
/// The gateway's count of pages that have fallen behind.
const LAGGED: &str = "fieldpost_live_pages_lagged_total ";
/// From one look at it to the next.
const LOOK: Duration = Duration::from_millis(100);
/// How long a slow browser may take to read up to the word that it lagged, once it reads as fast as it can: 5 MiB at most.
const CATCH_UP_MAX: Duration = Duration::from_secs(20);

/// The way to the control room.
#[derive(Clone)]
pub(super) struct Door {
    binary: PathBuf,
    dir: PathBuf,
    launch: Launch,
    address: SocketAddr,
    tls: Arc<ClientConfig>,
}

impl Door {
    /// To the gateway of `dir`, trusting its authority.
    pub(super) fn new(
        binary: &Path,
        dir: &Path,
        launch: &Launch,
        address: SocketAddr,
    ) -> Result<Self, RigError> {
        let mut roots = RootCertStore::empty();
        let certificates = CertificateDer::pem_file_iter(dir.join("pki/ca.pem"));
        for certificate in certificates.map_err(RigError::cannot("read the authority's certificate"))? {
            let certificate = certificate.map_err(RigError::cannot("read the authority's certificate"))?;
            roots.add(certificate).map_err(RigError::cannot("trust the authority"))?;
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(RigError::cannot("speak TLS 1.3"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (binary, dir, launch) = (binary.to_path_buf(), dir.to_path_buf(), launch.clone());
        Ok(Self { binary, dir, launch, address, tls: Arc::new(tls) })
    }

    /// A browser whose operator has logged in with a link of their own.
    pub(super) async fn log_in(&self, operator: &str, receive_bytes: Option<u32>) -> Result<Http, RigError> {
        let mut command = Command::new(&self.binary);
        command.args(["login", "--operator", operator, "-c"]).arg(self.dir.join("gateway.toml"));
        self.launch.set_environment(&mut command);
        let output = command.output().map_err(RigError::io("run `fieldpost login`"))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let link = said.split_whitespace().find_map(|word| word.split_once("/login?"));
        let (_, question) = link.ok_or_else(|| RigError::Cannot {
            what: "log in".to_owned(),
            why: String::from_utf8_lossy(&output.stderr).into_owned(),
        })?;
        let mut http = Http::new(&self.address.to_string()).over_tls(Arc::clone(&self.tls));
        if let Some(bytes) = receive_bytes {
            http = http.with_receive_bytes(bytes);
        }
        http.log_in(&format!("/login?{question}")).await.map_err(failed("log in"))?;
        Ok(http)
    }
}

pub(super) fn failed(what: &str) -> impl FnOnce(HttpError) -> RigError {
    RigError::cannot(what)
}

/// Opens the live stream, behind the event `last_id` if there is one.
pub(super) async fn open_stream(http: &Http, last_id: Option<&str>) -> Result<Incoming, RigError> {
    let cursor = last_id.map(|id| format!("?cursor={id}")).unwrap_or_default();
    let answer = http.get(&format!("/api/v1/stream{cursor}")).await.map_err(failed("open the stream"))?;
    if answer.status() != hyper::StatusCode::OK {
        return Err(RigError::Cannot {
            what: "open the stream".to_owned(),
            why: answer.status().to_string(),
        });
    }
    Ok(answer.into_body())
}

/// Browsers that read too slowly, and one that does not read.
pub(super) struct Slow {
    reading: JoinSet<Result<(), RigError>>,
    told_count: Arc<AtomicUsize>,
    /// Open, and never asked for a byte.
    _stuck: Vec<Incoming>,
}

impl Slow {
    pub(super) async fn start(door: &Door, count: usize, over: &CancellationToken) -> Result<Self, RigError> {
        let mut slow = Self { reading: JoinSet::new(), told_count: Arc::default(), _stuck: Vec::new() };
        for number in 0..count {
            let http = door.log_in(&format!("slow-{number}"), Some(SLOW_RECEIVE_BYTES)).await?;
            let stream = open_stream(&http, None).await?;
            let page = SlowPage {
                http,
                stream,
                events: Events::default(),
                last_id: None,
                is_told: false,
                told_count: Arc::clone(&slow.told_count),
            };
            slow.reading.spawn(page.read(over.clone()));
        }
        if count > 0 {
            let http = door.log_in("stuck", Some(SLOW_RECEIVE_BYTES)).await?;
            slow._stuck.push(open_stream(&http, None).await?);
        }
        Ok(slow)
    }

    /// Waits until all have fallen behind as far as the gateway lets them, at most `patience`: if they do not, they are not told so,
    /// and that is the verdict's.
    pub(super) async fn have_lagged(&self, metrics: SocketAddr, patience: Duration) -> Result<(), RigError> {
        let (all, give_up) = (self.reading.len(), Instant::now() + patience);
        // The one that is stuck lags first, and once: it is never told.
        let behind = all + self._stuck.len();
        while self.told_count.load(Ordering::Relaxed) < all && Instant::now() < give_up {
            let text = scrape(metrics).map_err(RigError::io("read the metrics"))?;
            let lagged = text.lines().find_map(|line| line.strip_prefix(LAGGED));
            if lagged.and_then(|lagged| lagged.parse().ok()).is_some_and(|lagged: usize| lagged >= behind) {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// How many were told that they lagged. `over` must have been cancelled.
    pub(super) async fn end(self) -> Result<usize, RigError> {
        self.reading.join_all().await.into_iter().collect::<Result<(), _>>()?;
        Ok(self.told_count.load(Ordering::Relaxed))
    }
}

/// A page that reads too slowly.
///
/// Linux ends the connection of one whose window is never open for as much as waits at the other end (`TCP_USER_TIMEOUT`), on
/// loopback after a dozen seconds, however steadily it reads. It comes back then, as a browser does by itself.
struct SlowPage {
    http: Http,
    stream: Incoming,
    events: Events,
    last_id: Option<String>,
    is_told: bool,
    /// How many pages have been told that they lagged.
    told_count: Arc<AtomicUsize>,
}

impl SlowPage {
    /// Reads slowly until all is `over`, then as fast as it can, until it has been told that it lagged.
    async fn read(mut self, over: CancellationToken) -> Result<(), RigError> {
        while !over.is_cancelled() {
            self.read_some().await?;
            _ = timeout(SLOW_EVERY, over.cancelled()).await;
        }
        let catching_up = async {
            while !self.is_told {
                self.read_some().await?;
            }
            Ok(())
        };
        // What did not come in time was not told.
        timeout(CATCH_UP_MAX, catching_up).await.unwrap_or(Ok(()))
    }

    /// What comes next; if the stream has ended, the stream behind what came last.
    async fn read_some(&mut self) -> Result<(), RigError> {
        let Some(Ok(frame)) = self.stream.frame().await else {
            self.events = Events::default();
            self.stream = open_stream(&self.http, self.last_id.as_deref()).await?;
            return Ok(());
        };
        let Some(bytes) = frame.data_ref() else { return Ok(()) };
        self.events.take(bytes, |event| {
            if event.name == b"lagged" && !std::mem::replace(&mut self.is_told, true) {
                self.told_count.fetch_add(1, Ordering::Relaxed);
            }
            if !event.id.is_empty() {
                self.last_id = Some(String::from_utf8_lossy(event.id).into_owned());
            }
        });
        Ok(())
    }
}
