//! One gateway with every kind of output at once: of each the trace says what became of a message there, and no more than is known.

use std::fs;

use fieldpost_gateway::config::RELEASE_ALL;
use fieldpost_gateway::config::material::{Authority, ServerIdentity};
use fieldpost_gateway::forward::release::Release;
use fieldpost_gateway::live::system_now_ms;
use fieldpost_gateway::login::Operator;
use fieldpost_gateway::machines::{Change, Machines, NewMachine};
use fieldpost_gateway::pki;
use fieldpost_gateway::service::Service;
use fieldpost_protocol::Mode;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::alarm;
use crate::control_room::browser::{Browser, Stream};
use crate::forward::nats_server::NatsServer;
use crate::forward::rig::wait_for;
use crate::forward::tak_listener::{self, issue};
use crate::forward::webhook_server::{Inbox, WebhookServer};
use crate::mqtt::{Client, Heard, position};
use crate::postgres_server::Cluster;
use crate::process::binary;
use crate::service::House;

const DEVICE: &str = "pc-1";
/// Those with a cursor.
const OUTPUTS: [&str; 10] =
    ["file", "nats", "postgres", "webhook", "partner", "tak", "room", "away", "avl", "avl-actual"];
const SENT: &str = "nobody there says whether it was taken";

/// Takes what comes on any connection.
async fn swallow(mut stream: impl AsyncRead + Unpin) {
    let mut buffer = [0; 4096];
    while let Ok(1..) = stream.read(&mut buffer).await {}
}

/// A server that takes everything and says nothing, by TLS if `tls` says how. Its port.
async fn listener(tls: Option<TlsAcceptor>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                match tls {
                    None => swallow(stream).await,
                    Some(tls) => swallow(tls.accept(stream).await.unwrap()).await,
                }
            });
        }
    });
    port
}

/// What the outputs of [`OUTPUTS`] speak to.
struct Systems {
    nats: NatsServer,
    webhook: WebhookServer,
    database: Cluster,
}

impl Systems {
    async fn start() -> Self {
        let (nats, webhook) = (NatsServer::start().await, WebhookServer::start(Inbox::default()).await);
        let database = Cluster::start(&[]).unwrap();
        database.sql("postgres", "CREATE ROLE gateway LOGIN").unwrap();
        database.sql("postgres", "CREATE SCHEMA trace AUTHORIZATION gateway").unwrap();
        Self { nats, webhook, database }
    }

    /// Their part of the configuration.
    async fn tables(&self, house: &mut House) -> String {
        let pki = house.path("pki");
        let client = issue(house.authority(), "gateway");
        fs::write(house.path("tak.pem"), client.certificate_pem).unwrap();
        fs::write(house.path("tak.key"), client.key_pem).unwrap();
        let identity = ServerIdentity::load(&pki.join("server.pem"), &pki.join("server.key")).unwrap();
        let authority = Authority::load(&pki.join("ca.pem")).unwrap();
        let tls = TlsAcceptor::from(pki::mutual_server(&identity, &authority, None).unwrap());
        let (tak, avl) = (listener(Some(tls)).await, listener(None).await);
        let nats = self.nats.url();
        let (webhook, database) = (self.webhook.url(), self.database.url("gateway", "postgres"));
        let one_force = RELEASE_ALL.replacen("[\"*\"]", "[\"sim\"]", 1);
        let alarms = RELEASE_ALL.replacen("classes = [\"*\"]", "classes = [\"alarm\"]", 1);
        format!(
            "[tak]\nlisten = \"127.0.0.1:0\"\ncertificate = \"pki/server.pem\"\nkey = \"pki/server.key\"\n\
             client_authority = \"pki/ca.pem\"\n[[tak.client]]\nname = \"room\"\n{RELEASE_ALL}\n\
             [[tak.client]]\nname = \"away\"\n{RELEASE_ALL}\n\
             [[forward.nats]]\nurl = {nats:?}\n{RELEASE_ALL}\n[[forward.webhook]]\nurl = {webhook:?}\n{RELEASE_ALL}\n\
             [[forward.postgres]]\nurl = {database:?}\nschema = \"trace\"\n{RELEASE_ALL}\n\
             [[forward.tak]]\nurl = \"tls://127.0.0.1:{tak}\"\nserver_name = \"localhost\"\nauthority = \"pki/ca.pem\"\n\
             certificate = \"tak.pem\"\nkey = \"tak.key\"\n{RELEASE_ALL}\n\
             [[forward.nmea]]\nname = \"avl\"\nurl = \"tcp://127.0.0.1:{avl}\"\nmodes = \"every\"\n{one_force}\n\
             [[forward.nmea]]\nname = \"avl-actual\"\nurl = \"tcp://127.0.0.1:{avl}\"\n{one_force}\n\
             [[forward.file]]\nname = \"partner\"\npath = \"partner.ndjson\"\n{alarms}\n"
        )
    }
}

/// Makes two machines; the token of the one that fetches.
fn machines(house: &House) -> String {
    let data_dir = house.config().data_dir;
    fs::create_dir_all(&data_dir).unwrap();
    let machines = Machines::new(&data_dir);
    let add = |name: &str| {
        let new = NewMachine { name: name.to_owned(), release: Release::everything(), days: 1 };
        machines.add(new, Change { by: "test".to_owned(), at_ms: system_now_ms() }).unwrap()
    };
    add("idle");
    add("gis").reveal().to_owned()
}

/// Until the feed had the record.
async fn fetched(feed: &mut Stream, class: &str, seq: u32) {
    let id = format!("sim.{DEVICE}.1.{seq}");
    while feed.next_of(class).await.expect("the feed goes on").json()["id"] != id.as_str() {}
}

async fn publish(device: &mut Client, lane: &str, packet_id: u16, payload: &[u8]) {
    device.publish(&format!("fp1/{DEVICE}/{lane}"), packet_id, payload).await;
    assert_eq!(device.hear().await, Heard::Puback { packet_id, code: 0 });
}

/// Until every output's turn is over.
async fn drained(service: &Service) {
    let committed = service.spool.committed();
    wait_for("every output", || {
        let cursors = service.spool.stats().cursors;
        let done =
            |name: &&&str| cursors.iter().any(|cursor| cursor.name == **name && cursor.position >= committed);
        OUTPUTS.iter().filter(done).count() == OUTPUTS.len()
    })
    .await;
}

/// What the command says of a sequence, and `output: what` of each output, without its times.
fn standing(house: &House, seq: u32) -> (String, Vec<String>) {
    let config = house.path("gateway.toml");
    let asked = binary().args(["trace", "-c"]).arg(config).args([DEVICE, &seq.to_string()]).output().unwrap();
    let text = String::from_utf8([&asked.stdout[..], &asked.stderr].concat()).unwrap();
    let of_outputs = text.lines().filter_map(|line| Some(line.split_once("  output ")?.1));
    let standing = of_outputs.filter(|said| !said.contains(": sent")).map(str::to_owned).collect();
    (text, standing)
}

fn expect(house: &House, seq: u32, expected: &[(&str, &str)]) -> String {
    let (text, mut said) = standing(house, seq);
    let mut expected: Vec<_> = expected.iter().map(|(name, what)| format!("{name}: {what}")).collect();
    said.sort_unstable();
    expected.sort_unstable();
    assert_eq!(said, expected, "{text}");
    text
}

fn is_sent(text: &str, output: &str) -> bool {
    // Perhaps several times: a system may be slow to answer.
    text.lines().any(|line| line.starts_with("  20") && line.contains(&format!("  output {output}: sent")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_every_output_it_is_told_what_it_took_what_passed_it_by_and_why() {
    let (mut house, systems) = (House::new(), Systems::start().await);
    let tables = systems.tables(&mut house).await;
    house.edit("\n[[forward.file]]", &format!("\n{tables}[[forward.file]]"));
    let token = machines(&house);
    let (own, room) = (house.issue(DEVICE), issue(house.authority(), "room"));
    let service = house.start().await;
    let address = service.tak.unwrap();
    let mut room = tak_listener::Client::connect(address, house.authority(), Some(&room)).await.unwrap();
    room.until("t-x-takp-v").await;
    tokio::spawn(swallow(room.stream));
    let gis = Browser::new(service.control_room).with("authorization", &format!("Bearer {token}"));
    let mut feed = gis.stream_at("/api/v1/feed").await;

    let mut device = house.connected(&service, DEVICE, &own).await;
    // The second is older than the first.
    publish(&mut device, "live", 1, &position(Mode::Test, 2)).await;
    publish(&mut device, "live", 2, &position(Mode::Test, 1)).await;
    fetched(&mut feed, "position", 1).await;
    drained(&service).await;
    publish(&mut device, "alarm", 3, &alarm(4)).await;
    fetched(&mut feed, "alarm", 4).await;
    drained(&service).await;

    let away = "passed over (older, or nobody-there)";
    let yes = ["file", "nats", "postgres", "webhook"].map(|name| (name, "accepted"));
    let fetchers = [("machine.gis", SENT), ("machine.idle", "may fetch it and has not")];
    let newest = [
        ("partner", "withheld (class)"),
        ("tak", SENT),
        ("room", SENT),
        ("away", away),
        ("avl", SENT),
        ("avl-actual", "passed over (not-actual)"),
    ];
    let text = expect(&house, 2, &[&yes[..], &fetchers, &newest].concat());
    for output in ["file", "nats", "postgres", "webhook", "tak", "room", "avl", "machine.gis"] {
        assert!(is_sent(&text, output), "{output}: {text}");
    }
    assert!(text.lines().any(|line| line.starts_with("  20") && line.contains("  STORED as ")), "{text}");
    let older = [
        ("partner", "withheld (class)"),
        ("tak", "passed over (older)"),
        ("room", away),
        ("away", away),
        ("avl", "passed over (older)"),
        ("avl-actual", "passed over (not-actual)"),
    ];
    expect(&house, 1, &[&yes[..], &fetchers, &older].concat());
    let raised = [
        ("partner", "accepted"),
        ("tak", SENT),
        ("room", SENT),
        ("away", "passed over (closed, or another alarm of its unit stood there, or nobody-there)"),
        ("avl", "passed over (no-word)"),
        ("avl-actual", "passed over (no-word)"),
    ];
    let text = expect(&house, 4, &[&yes[..], &fetchers, &raised].concat());
    let accepted = text.lines().find(|line| line.ends_with("output partner: accepted")).unwrap();
    assert!(accepted.starts_with("  20"), "of an alarm the time is kept: {text}");

    // Over HTTP the disclosure log is left alone, and what it alone knows is not told.
    let login = service.login.issue(&Operator::try_new("anna").unwrap(), system_now_ms()).unwrap();
    let mut page = Browser::new(service.control_room);
    let answer = page.get(&format!("/login?token={login}")).await;
    page.keep_cookie(&answer);
    let told = page.get(&format!("/api/v1/trace?device=sim/{DEVICE}&seq=2")).await.json();
    let outputs = told[0]["entries"][0]["outputs"].as_array().unwrap();
    let state = |name: &str| outputs.iter().find(|output| output["name"] == name).unwrap()["state"].clone();
    assert_eq!((state("file"), state("partner")), ("not-known".into(), "withheld".into()));
    assert!(outputs.iter().all(|output| output["sent"].is_null()), "{outputs:?}");
    assert!(service.shutdown().await);
}
