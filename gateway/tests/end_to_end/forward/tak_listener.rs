//! TAK clients that connect to the gateway over mutual TLS, as a configuration file lets them. PyTAK as a client is in the rig
//! `tak`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use fieldpost_gateway::audit::Series;
use fieldpost_gateway::audit::verify::verify;
use fieldpost_gateway::config::template::TemplateValues;
use fieldpost_gateway::config::{Config, RELEASE_ALL};
use fieldpost_gateway::forward::{Forwarders, TakRefusal};
use fieldpost_gateway::init::{InitOptions, init};
use fieldpost_gateway::live::standing::Quiet;
use fieldpost_gateway::pki::{Authority, DeviceRequest, Issued, Validity};
use fieldpost_protocol::{DeviceId, ForceId, Mode};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::rig::{PATIENCE, Rig, disclosures, wait_for};

/// The clients' authority, and a gateway that lets `room` and `neighbour` in.
struct House {
    rig: Rig,
    authority: Authority,
    config: Config,
}

impl House {
    fn new() -> Self {
        let rig = Rig::new();
        let mut authority = Authority::create(&rig.path("tak-pki")).unwrap();
        let server = authority.issue_server(&["127.0.0.1".to_owned()], 1).unwrap();
        let write = |name: &str, pem: &str| {
            let path = rig.path(name);
            std::fs::write(&path, pem).unwrap();
            path
        };
        let files: [PathBuf; 3] = [
            write("tak-ca.pem", authority.certificate_pem()),
            write("tak-server.pem", &server.certificate_pem),
            write("tak-server.key", &server.key_pem),
        ];
        let some = "release = { forces = [\"*\"], classes = [\"alarm\"], fields = [\"alarm\"], marking = \"official-sensitive\" }";
        let appendix = format!(
            "[tak]\nlisten = \"127.0.0.1:0\"\nclient_authority = {:?}\ncertificate = {:?}\nkey = {:?}\n\
             [[tak.client]]\nname = \"room\"\n{RELEASE_ALL}\n\
             [[tak.client]]\nname = \"next-door\"\ncommon_name = \"neighbour\"\n{some}\n",
            files[0], files[1], files[2]
        );
        let values = TemplateValues { appendix, ..TemplateValues::default() };
        let options = InitOptions { values, ..InitOptions::default() };
        let config = Config::load(&init(&rig.path("gateway"), &options).unwrap().config).unwrap();
        Self { rig, authority, config }
    }

    fn start(&self) -> Forwarders {
        let log = disclosures(&self.rig.path("log"));
        Forwarders::start(&self.config, &self.rig.spool, &self.rig.metrics, Quiet::shared(), &log).unwrap()
    }

    /// To whom the log says that something was sent.
    fn told(&self) -> Vec<(String, u64)> {
        let mut told = Vec::new();
        let dir = self.rig.path("log").join(Series::Disclosures.name());
        verify(&dir, &[], &mut |line| {
            told.extend(line.disclosure.iter().map(|said| (said.to.clone(), said.count)));
            Ok(())
        })
        .unwrap();
        told
    }
}

/// A certificate with the common name `name`.
pub(crate) fn issue(authority: &mut Authority, name: &str) -> Issued {
    let request = DeviceRequest {
        force: ForceId::try_new("tak").unwrap(),
        device: DeviceId::try_new(name).unwrap(),
        mode: Mode::Test,
        validity: Validity::days_from(jiff::Timestamp::now().as_second(), 1),
        replace: false,
    };
    authority.issue_devices(&[request]).unwrap().remove(0)
}

pub(crate) struct Client {
    pub(crate) stream: TlsStream<TcpStream>,
    pub(crate) heard: String,
}

impl Client {
    /// As who holds `issued`, or as nobody.
    pub(crate) async fn connect(
        address: SocketAddr,
        trusts: &Authority,
        issued: Option<&Issued>,
    ) -> std::io::Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(trusts.certificate_pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match issued {
            None => builder.with_no_client_auth(),
            Some(issued) => {
                let chain =
                    CertificateDer::pem_slice_iter(issued.certificate_pem.as_bytes()).map(Result::unwrap);
                let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain.collect(), key).unwrap()
            }
        };
        let tcp = TcpStream::connect(address).await?;
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
        Ok(Self { stream, heard: String::new() })
    }

    /// Reads until it was told so.
    pub(crate) async fn until(&mut self, what: &str) {
        let mut buffer = vec![0; 16_384];
        while !self.heard.contains(what) {
            let reading = tokio::time::timeout(PATIENCE, self.stream.read(&mut buffer));
            let count = reading.await.unwrap_or_else(|_| panic!("waited in vain for {what}")).unwrap();
            assert!(count > 0, "closed before {what}: {}", self.heard);
            self.heard.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    }

    /// Reads until the connection is over.
    pub(crate) async fn until_end(&mut self) {
        let mut buffer = vec![0; 16_384];
        let ended = async {
            while let Ok(count @ 1..) = self.stream.read(&mut buffer).await {
                self.heard.push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.expect("the gateway ends the connection");
    }
}

#[tokio::test]
async fn who_is_listed_is_told_what_they_are_released_and_nobody_else_is_told_anything() {
    let mut house = House::new();
    let mut forwarders = house.start();
    let address = forwarders.tak_address().unwrap();
    house.rig.append(1..=20).await;
    house.rig.until_drained().await;
    assert_eq!(house.told(), [], "nobody is there");

    let [room, neighbour, unlisted] =
        ["room", "neighbour", "unlisted"].map(|name| issue(&mut house.authority, name));
    let mut room = Client::connect(address, &house.authority, Some(&room)).await.unwrap();
    let mut neighbour = Client::connect(address, &house.authority, Some(&neighbour)).await.unwrap();
    room.until("fieldpost.test.sim.pc%2E0001").await;
    house.rig.append(21..=30).await;
    house.rig.append_alarm(31).await;
    room.until("b-a-o-tbl").await;
    neighbour.until("b-a-o-tbl").await;
    house.rig.until_drained().await;
    assert!(!neighbour.heard.contains("lat=\"51.5"), "it is released no position: {}", neighbour.heard);
    assert!(house.told().contains(&("next-door".to_owned(), 1)));
    let to_room: u64 = house.told().iter().filter(|(to, _)| to == "room").map(|(_, count)| count).sum();
    assert!(to_room >= 12, "the newest, ten more and the alarm: {to_room}");

    let before = house.told();
    let refused = |reason| house.rig.metrics.forward.tak.refused(reason).get();
    // In TLS 1.3 a client learns only when it reads that it is not wanted.
    let mut stranger = Client::connect(address, &house.authority, Some(&unlisted)).await.unwrap();
    assert!(!matches!(stranger.stream.read(&mut [0; 64]).await, Ok(1..)), "told something");
    let mut elsewhere = Authority::create(&house.rig.path("other-pki")).unwrap();
    let forged = issue(&mut elsewhere, "room");
    for certificate in [Some(&forged), None] {
        if let Ok(mut client) = Client::connect(address, &house.authority, certificate).await {
            assert!(!matches!(client.stream.read(&mut [0; 64]).await, Ok(1..)), "told something");
        }
    }
    wait_for("the refusals", || refused(TakRefusal::Tls) == 2 && refused(TakRefusal::Stranger) == 1).await;
    assert_eq!(house.told(), before);
    forwarders.stop().await;
}

#[tokio::test]
async fn a_reload_cuts_off_a_client_that_left_the_list_and_keeps_the_port() {
    let mut house = House::new();
    let port = crate::postgres_server::quiet_port();
    let path = house.config.path.clone();
    let text = std::fs::read_to_string(&path)
        .unwrap()
        .replace("listen = \"127.0.0.1:0\"\nclient", &format!("listen = \"127.0.0.1:{port}\"\nclient"));
    house.config = Config::from_text(&path, &text, &[]).unwrap();
    let mut forwarders = house.start();
    let address = forwarders.tak_address().unwrap();
    assert_eq!(address.port(), port);
    let [room, neighbour] = ["room", "neighbour"].map(|name| issue(&mut house.authority, name));
    let mut client = Client::connect(address, &house.authority, Some(&neighbour)).await.unwrap();
    client.until("t-x-takp-v").await;
    let text = text.replace("common_name = \"neighbour\"", "common_name = \"another\"");
    let config = Config::from_text(&path, &text, &[]).unwrap();
    forwarders.reload(&config, &house.rig.spool, &house.rig.metrics).await.unwrap();
    let mut rest = Vec::new();
    // However it is cut: with or without a closing word.
    drop(client.stream.read_to_end(&mut rest).await);
    let mut client = Client::connect(address, &house.authority, Some(&neighbour)).await.unwrap();
    assert!(!matches!(client.stream.read(&mut [0; 64]).await, Ok(1..)), "let in again");
    let mut client = Client::connect(address, &house.authority, Some(&room)).await.unwrap();
    client.until("t-x-takp-v").await;
    forwarders.stop().await;
}

#[tokio::test]
async fn a_reload_that_fails_leaves_every_output_as_it_was() {
    let mut house = House::new();
    let path = house.config.path.clone();
    let kept = house.rig.path("events.ndjson");
    let text = std::fs::read_to_string(&path).unwrap()
        + &format!("[[forward.file]]\npath = {kept:?}\n{RELEASE_ALL}\n");
    house.config = Config::from_text(&path, &text, &[]).unwrap();
    let mut forwarders = house.start();
    let address = forwarders.tak_address().unwrap();
    let room = issue(&mut house.authority, "room");
    let mut client = Client::connect(address, &house.authority, Some(&room)).await.unwrap();
    client.until("t-x-takp-v").await;
    let lines_count = || std::fs::read_to_string(&kept).unwrap_or_default().lines().count();

    let occupant = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("listen = \"{}\"\nclient", occupant.local_addr().unwrap());
    let elsewhere = text.replace("listen = \"127.0.0.1:0\"\nclient", &listen);
    let occupied = Config::from_text(&path, &elsewhere, &[]).unwrap();
    let failed = forwarders.reload(&occupied, &house.rig.spool, &house.rig.metrics).await.unwrap_err();
    assert!(failed.to_string().contains("tak.listen"), "{failed}");
    house.rig.append(1..=10).await;
    client.until("fieldpost.test.sim.pc%2E0001").await;
    wait_for("the file to go on", || lines_count() == 10).await;

    // The new output's cursor is somebody else's: that shows only once the old outputs have ended.
    let more = format!("[[forward.file]]\nname = \"more\"\npath = \"more.ndjson\"\n{RELEASE_ALL}\n");
    let _theirs = house.rig.spool.cursor("more").unwrap();
    let config = Config::from_text(&path, &(text + &more), &[]).unwrap();
    let failed = forwarders.reload(&config, &house.rig.spool, &house.rig.metrics).await.unwrap_err();
    assert!(failed.to_string().contains("more"), "{failed}");
    assert_eq!(forwarders.tak_address(), Some(address), "the port is still the one");
    let mut client = Client::connect(address, &house.authority, Some(&room)).await.unwrap();
    client.until("t-x-takp-v").await;
    house.rig.append(11..=20).await;
    wait_for("the file to go on again", || lines_count() == 20).await;
    forwarders.stop().await;
}
