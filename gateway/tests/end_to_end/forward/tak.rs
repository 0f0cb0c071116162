//! Cursor on Target to a TAK server over mutual TLS, as a configuration file starts it. The server is played here; the real
//! ones are in the rig `tak`.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use fieldpost_gateway::alarms::{Cause, Grade, Origin, Queue};
use fieldpost_gateway::config::template::TemplateValues;
use fieldpost_gateway::config::{Config, RELEASE_ALL};
use fieldpost_gateway::forward::Forwarders;
use fieldpost_gateway::init::{InitOptions, init};
use fieldpost_gateway::live::standing::{Quiet, Situation, StandingAlarm};
use fieldpost_gateway::live::unit::{UnitId, UnitName};
use fieldpost_gateway::pki::{Authority, DeviceRequest, Validity};
use fieldpost_protocol::{DeviceId, ForceId, Mode};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::rig::{Rig, disclosures, wait_for};

/// Files of both ends, made by one authority.
struct Papers {
    authority: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    acceptor: TlsAcceptor,
}

impl Papers {
    fn make(rig: &Rig) -> Self {
        let mut authority = Authority::create(&rig.path("tak-pki")).unwrap();
        let server = authority.issue_server(&["127.0.0.1".to_owned()], 1).unwrap();
        let request = DeviceRequest {
            force: ForceId::try_new("sim").unwrap(),
            device: DeviceId::try_new("gateway").unwrap(),
            mode: Mode::Test,
            validity: Validity::days_from(jiff::Timestamp::now().as_second(), 1),
            replace: false,
        };
        let client = authority.issue_devices(&[request]).unwrap().remove(0);
        let write = |name: &str, pem: &str| {
            let path = rig.path(name);
            std::fs::write(&path, pem).unwrap();
            path
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.certificate_pem().as_bytes()).unwrap()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let chain = CertificateDer::pem_slice_iter(server.certificate_pem.as_bytes()).map(Result::unwrap);
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(
                chain.collect(),
                PrivateKeyDer::from_pem_slice(server.key_pem.as_bytes()).unwrap(),
            )
            .unwrap();
        Self {
            authority: write("tak-ca.pem", authority.certificate_pem()),
            certificate: write("tak-client.pem", &client.certificate_pem),
            key: write("tak-client.key", &client.key_pem),
            acceptor: TlsAcceptor::from(Arc::new(config)),
        }
    }

    fn config(&self, rig: &Rig, port: u16, more: &str) -> Config {
        let appendix = format!(
            "[[forward.tak]]\nurl = \"tls://127.0.0.1:{port}\"\nauthority = {:?}\ncertificate = {:?}\nkey = {:?}\n\
             retry_delay_ms_max = 400\n{RELEASE_ALL}\n{more}",
            self.authority, self.certificate, self.key
        );
        let values = TemplateValues { appendix, ..TemplateValues::default() };
        let options = InitOptions { values, ..InitOptions::default() };
        Config::load(&init(&rig.path("gateway"), &options).unwrap().config).unwrap()
    }
}

/// A TAK server: keeps every byte of every connection; says `greeting` first and `answer` to a request for protobuf.
struct TakServer {
    bytes: Arc<Mutex<Vec<u8>>>,
    connections: Arc<Mutex<Vec<JoinHandle<()>>>>,
    port: u16,
    task: JoinHandle<()>,
}

impl TakServer {
    async fn start(papers: &Papers, greeting: &'static str, answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (bytes, connections) = (Arc::<Mutex<Vec<u8>>>::default(), Arc::<Mutex<Vec<_>>>::default());
        let (kept, acceptor, open) = (Arc::clone(&bytes), papers.acceptor.clone(), Arc::clone(&connections));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, kept) = (acceptor.clone(), Arc::clone(&kept));
                let one = tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    stream.write_all(greeting.as_bytes()).await.unwrap();
                    stream.flush().await.unwrap();
                    let mut buffer = vec![0; 65_536];
                    let mut has_answered = false;
                    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                        kept.lock().unwrap().extend_from_slice(&buffer[..count]);
                        let asks = String::from_utf8_lossy(&buffer[..count]).contains("t-x-takp-q");
                        if asks && !std::mem::replace(&mut has_answered, true) {
                            stream.write_all(answer.as_bytes()).await.unwrap();
                            stream.flush().await.unwrap();
                        }
                    }
                });
                open.lock().unwrap().push(one);
            }
        });
        Self { bytes, connections, port, task }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }

    fn events_count(&self, kind: &str) -> usize {
        self.text().matches(&format!("type=\"{kind}\" how")).count()
    }

    /// Every connection breaks; the listener stays.
    fn break_connections(&self) {
        self.connections.lock().unwrap().drain(..).for_each(|connection| connection.abort());
    }
}

impl Drop for TakServer {
    fn drop(&mut self) {
        self.task.abort();
        self.break_connections();
    }
}

const OFFICER: &str = "a-f-G-U-U-L-C";
const OFFER: &str = "<event version='2.0' uid='proto' type='t-x-takp-v' time='2026-01-01T00:00:00Z' \
    start='2026-01-01T00:00:00Z' stale='2026-01-01T00:01:00Z' how='m-g'><point lat='0' lon='0' hae='0' ce='999999' \
    le='999999'/><detail><TakControl><TakProtocolSupport version='1'/></TakControl></detail></event>";
const GRANT: &str = "<event version='2.0' uid='proto' type='t-x-takp-r' time='2026-01-01T00:00:00Z' \
    start='2026-01-01T00:00:00Z' stale='2026-01-01T00:01:00Z' how='m-g'><point lat='0' lon='0' hae='0' ce='999999' \
    le='999999'/><detail><TakControl><TakResponse status='true'/></TakControl></detail></event>";

#[tokio::test]
async fn a_tak_server_gets_every_position_and_alarm_and_the_picture_again_after_a_break() {
    let rig = Rig::new();
    let papers = Papers::make(&rig);
    let server = TakServer::start(&papers, "", "").await;
    let config = papers.config(&rig, server.port, "");
    rig.append(1..=300).await;
    rig.append_alarm(301).await;
    let mut forwarders =
        Forwarders::start(&config, &rig.spool, &rig.metrics, Quiet::shared(), &disclosures(&rig.path("log")))
            .unwrap();
    rig.until_drained().await;
    wait_for("every position", || server.events_count(OFFICER) == 300).await;
    wait_for("the alarm", || server.events_count("b-a-o-tbl") == 1).await;
    assert!(server.text().contains("uid=\"fieldpost.test.sim.pc%2E0001.1.301-9-1-1\""));
    server.break_connections();
    wait_for("the newest position again", || server.events_count(OFFICER) == 301).await;
    rig.append(302..=310).await;
    rig.until_drained().await;
    wait_for("what came after the break", || server.events_count(OFFICER) >= 310).await;
    forwarders.stop().await;
    assert!(rig.metrics.forward.snapshot()[0].delivered_count >= 310);
}

#[tokio::test]
async fn protobuf_is_spoken_where_the_server_offers_it_and_only_there() {
    let rig = Rig::new();
    let papers = Papers::make(&rig);
    let server = TakServer::start(&papers, OFFER, GRANT).await;
    let config = papers.config(&rig, server.port, "");
    let mut forwarders =
        Forwarders::start(&config, &rig.spool, &rig.metrics, Quiet::shared(), &disclosures(&rig.path("log")))
            .unwrap();
    wait_for("the request", || server.text().contains("<TakRequest version=\"1\"/>")).await;
    rig.append(1..=50).await;
    rig.until_drained().await;
    let frames = || server.bytes.lock().unwrap().iter().filter(|byte| **byte == 0xbf).count();
    wait_for("the positions as frames", || frames() >= 50).await;
    assert_eq!(server.events_count(OFFICER), 0, "no XML after the request");
    forwarders.stop().await;
}

#[tokio::test]
async fn a_server_that_shows_a_strangers_certificate_is_told_nothing_and_nothing_is_lost() {
    let rig = Rig::new();
    let papers = Papers::make(&rig);
    let other = Rig::new();
    let strangers = Papers::make(&other);
    let server = TakServer::start(&strangers, "", "").await;
    let config = papers.config(&rig, server.port, "");
    rig.append(1..=20).await;
    let mut forwarders =
        Forwarders::start(&config, &rig.spool, &rig.metrics, Quiet::shared(), &disclosures(&rig.path("log")))
            .unwrap();
    wait_for("a failure", || rig.metrics.forward.snapshot().iter().any(|figures| figures.is_failing)).await;
    assert_eq!(server.text(), "");
    assert_eq!(rig.metrics.forward.snapshot()[0].delivered_count, 0);
    forwarders.stop().await;
}

/// An alarm queue that the test writes.
#[derive(Default)]
struct Book {
    alarms: Mutex<Vec<StandingAlarm>>,
    changes: watch::Sender<u64>,
}

impl Book {
    fn write(&self, alarms: &[StandingAlarm]) {
        *self.alarms.lock().unwrap() = alarms.to_vec();
        self.changes.send_modify(|revision| *revision += 1);
    }
}

impl Situation for Book {
    fn name(&self, unit: &UnitId, at_ms: u64) -> UnitName {
        Quiet::default().name(unit, at_ms)
    }

    fn alarms(&self) -> Vec<StandingAlarm> {
        self.alarms.lock().unwrap().clone()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

#[tokio::test]
async fn an_alarm_is_told_again_until_a_person_closes_it_and_then_cancelled() {
    let rig = Rig::new();
    let papers = Papers::make(&rig);
    let server = TakServer::start(&papers, "", "").await;
    let config = papers.config(&rig, server.port, "alarm_repeat_s = 1\nalarm_stale_s = 3\n");
    let book = Arc::new(Book::default());
    let situation = Arc::clone(&book) as Arc<dyn Situation>;
    let log = disclosures(&rig.path("log"));
    let mut forwarders = Forwarders::start(&config, &rig.spool, &rig.metrics, situation, &log).unwrap();
    let alarm = StandingAlarm {
        id: "sim/pc-7/3/17".parse().unwrap(),
        callsign: "VT7".to_owned(),
        cause: Cause::Crash,
        grade: Grade::P1,
        mode: Mode::Actual,
        origin: Origin::Rule,
        queue: Queue::Operations,
        raised_at_ms: 1_790_000_000_000,
        position_udeg: Some((-127_758, 51_507_400)),
        is_acknowledged: false,
        is_taken_back: false,
        closed_at_ms: None,
    };
    book.write(std::slice::from_ref(&alarm));
    wait_for("the alarm of the book, again and again", || server.events_count("b-a-o-tbl") >= 3).await;
    server.break_connections();
    let before = server.events_count("b-a-o-tbl");
    wait_for("the alarm after the break", || server.events_count("b-a-o-tbl") > before).await;
    assert_eq!(server.events_count("b-a-o-can"), 0);
    let now_ms = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap();
    book.write(&[StandingAlarm { closed_at_ms: Some(now_ms), ..alarm }]);
    wait_for("its end", || server.events_count("b-a-o-can") == 1).await;
    forwarders.stop().await;
}
