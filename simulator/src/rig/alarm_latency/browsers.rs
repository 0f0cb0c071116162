//! The browsers: how one gets in, and those that read too slowly.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{super::gateway::Launch, RigError, events::Events};
use crate::check::http::{Http, HttpError};

/// What a slow browser's kernel takes for it, in bytes.
const SLOW_RECEIVE_BYTES: u32 = 4_096;
/// And how often it takes that.
const SLOW_EVERY: Duration = Duration::from_millis(250);
/// How long a slow browser may take to read up to the word that it lagged, once it reads as fast as it can.
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

/// Opens the live stream.
pub(super) async fn open_stream(http: &Http) -> Result<Incoming, RigError> {
    let answer = http.get("/api/v1/stream").await.map_err(failed("open the stream"))?;
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
    reading: JoinSet<bool>,
    /// Open, and never asked for a byte.
    _stuck: Vec<Incoming>,
}

impl Slow {
    pub(super) async fn start(door: &Door, count: usize, over: &CancellationToken) -> Result<Self, RigError> {
        let mut slow = Self { reading: JoinSet::new(), _stuck: Vec::new() };
        for number in 0..count {
            let http = door.log_in(&format!("slow-{number}"), Some(SLOW_RECEIVE_BYTES)).await?;
            slow.reading.spawn(read_slowly(open_stream(&http).await?, over.clone()));
        }
        if count > 0 {
            let http = door.log_in("stuck", Some(SLOW_RECEIVE_BYTES)).await?;
            slow._stuck.push(open_stream(&http).await?);
        }
        Ok(slow)
    }

    /// How many were told that they lagged. `over` must have been cancelled.
    pub(super) async fn end(self) -> usize {
        self.reading.join_all().await.into_iter().filter(|told| *told).count()
    }
}

/// Whether it was told, in the end, that it lagged.
async fn read_slowly(mut stream: Incoming, over: CancellationToken) -> bool {
    let mut events = Events::default();
    let mut is_told = false;
    while !over.is_cancelled() {
        let Some(Ok(frame)) = stream.frame().await else { break };
        if let Some(bytes) = frame.data_ref() {
            events.take(bytes, |event| is_told |= event.name == b"lagged");
        }
        tokio::time::sleep(SLOW_EVERY).await;
    }
    let catching_up = async {
        while !is_told {
            let Some(Ok(frame)) = stream.frame().await else { break };
            if let Some(bytes) = frame.data_ref() {
                events.take(bytes, |event| is_told |= event.name == b"lagged");
            }
        }
    };
    // What did not come in time was not told.
    _ = timeout(CATCH_UP_MAX, catching_up).await;
    is_told
}
