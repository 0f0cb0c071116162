//! Bad input, as it looks from both sides of the real binary: what the device is told, and what the operator finds in
//! the log, the metrics and the spool. And after each of them: a good device is served, and nothing is lost.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use fieldpost_gateway::config::RELEASE_ALL;
use fieldpost_gateway::pki::{Authority, DeviceRequest, Revoke, Validity};
use fieldpost_gateway::service;
use fieldpost_gateway::spool::faulty::FaultyDisk;
use fieldpost_protocol::{Alarm, AlarmCause, Class, DeviceId, ForceId, Mode};
use rustix::process::Signal;
use rustls::RootCertStore;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::door::{Credentials, PATIENCE, credentials, roots};
use crate::forward::webhook_server::{Inbox, Knob, WebhookServer};
use crate::mqtt::{Client, Connect, Heard, a_position, envelope, head, now_ms, position};
use crate::postgres_server::quiet_port;
use crate::process::{Process, binary, get, metric_in, new_gateway, until_metric};
use crate::service::House;

/// The force that `fieldpost init` configures.
const FORCE: &str = "demo";

fn authority_of(dir: &tempfile::TempDir) -> Authority {
    Authority::open(&dir.path().join("pki")).unwrap()
}

fn device(name: &str) -> DeviceId {
    DeviceId::try_new(name).unwrap()
}

fn issue(authority: &mut Authority, force: &str, name: &str) -> Credentials {
    let force = ForceId::try_new(force).unwrap();
    credentials(&authority.issue_device(&force, &device(name), Mode::Test, 30).unwrap())
}

fn issue_expired(authority: &mut Authority, name: &str) -> Credentials {
    let request = DeviceRequest {
        force: ForceId::try_new(FORCE).unwrap(),
        device: device(name),
        mode: Mode::Test,
        validity: Validity { from_s: 1_600_000_000, to_s: 1_600_100_000 },
        replace: false,
    };
    credentials(&authority.issue_devices(&[request]).unwrap()[0])
}

/// Where a device connects, and whom it trusts.
struct Gate {
    address: SocketAddr,
    roots: RootCertStore,
}

impl Gate {
    fn of(process: &Process, authority: &Authority) -> Self {
        Self { address: process.front_door, roots: roots(authority) }
    }

    async fn dial(&self, own: Option<&Credentials>) -> std::io::Result<Client> {
        Client::dial_at(self.address, self.roots.clone(), own, 5).await
    }

    async fn connected(&self, name: &str, own: &Credentials) -> Client {
        let mut client = self.dial(Some(own)).await.unwrap();
        client.connect(&Connect::clean(name)).await;
        let connack = client.hear().await;
        assert!(matches!(connack, Heard::Connack { code: 0, .. }), "{connack:?}");
        client
    }
}

/// Publishes and hears that it is stored.
async fn stored(client: &mut Client, topic: &str, packet_id: u16, payload: &[u8]) {
    client.publish(topic, packet_id, payload).await;
    assert_eq!(client.hear().await, Heard::Puback { packet_id, code: 0 });
}

/// What the spool in a directory holds, as `fieldpost spool export` prints it.
fn exported(spool: &Path) -> Vec<serde_json::Value> {
    let export = binary().args(["spool", "export", "--dir"]).arg(spool).output().unwrap();
    assert_eq!(export.status.code(), Some(0), "{}", String::from_utf8_lossy(&export.stderr));
    let lines = String::from_utf8(export.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn every_refused_certificate_is_told_to_the_device_and_named_to_the_operator() {
    let dir = new_gateway();
    let mut authority = authority_of(&dir);
    let elsewhere = tempfile::tempdir().unwrap();
    let unknown = issue(&mut Authority::create(elsewhere.path()).unwrap(), FORCE, "pc-1");
    let expired = issue_expired(&mut authority, "pc-2");
    let revoked = issue(&mut authority, FORCE, "pc-3");
    authority.revoke(&Revoke::Device(ForceId::try_new(FORCE).unwrap(), device("pc-3"))).unwrap();
    let good = issue(&mut authority, FORCE, "pc-4");
    let mut process = Process::started_in(&dir);
    let gate = Gate::of(&process, &authority);
    for (own, alert, reason) in [
        (None, "CertificateRequired", "certificate-missing"),
        (Some(&unknown), "UnknownCA", "certificate-unknown"),
        (Some(&expired), "CertificateExpired", "certificate-expired"),
        (Some(&revoked), "CertificateRevoked", "certificate-revoked"),
    ] {
        // In TLS 1.3 a client hears of its refusal after its own side of the handshake is done.
        let told = match gate.dial(own).await {
            Err(error) => error.to_string(),
            Ok(mut client) => {
                assert_eq!(client.hear().await, Heard::End);
                client.broken.expect("an alert, not just an end")
            }
        };
        assert!(told.contains(alert), "{reason}: {told}");
        let events = process.log_until("connection refused");
        assert_eq!(events.last().unwrap()["reason"], reason, "{events:#?}");
        let series = format!("fieldpost_ingest_refused_total{{reason=\"{reason}\"}}");
        process.until_metric(&series, 1.0);
    }
    let mut client = gate.connected("pc-4", &good).await;
    stored(&mut client, "fp1/pc-4/live", 1, &position(Mode::Test, 1)).await;
}

#[tokio::test]
async fn a_foreign_force_and_a_foreign_client_id_are_refused_by_name() {
    let dir = new_gateway();
    let mut authority = authority_of(&dir);
    let foreign = issue(&mut authority, "elsewhere", "pc-1");
    let own = issue(&mut authority, FORCE, "pc-2");
    let mut process = Process::started_in(&dir);
    let gate = Gate::of(&process, &authority);
    for (own, client_id, code, reason, unit) in [
        (&foreign, "pc-1", 0x87, "force-unknown", "elsewhere/pc-1"),
        (&own, "pc-3", 0x85, "client-id", "demo/pc-2"),
    ] {
        let mut client = gate.dial(Some(own)).await.unwrap();
        client.connect(&Connect::clean(client_id)).await;
        let told = client.hear().await;
        assert!(matches!(told, Heard::Connack { code: heard, .. } if heard == code), "{told:?}");
        assert_eq!(client.hear().await, Heard::End);
        let events = process.log_until("connection refused");
        let said = events.last().unwrap();
        assert!(said["reason"] == reason && said["unit"] == unit, "{said:#?}");
        process.until_metric(&format!("fieldpost_ingest_refused_total{{reason=\"{reason}\"}}"), 1.0);
    }
}

#[tokio::test]
async fn what_a_good_device_sends_wrong_is_kept_or_refused_counted_and_stops_nothing() {
    let dir = new_gateway();
    let mut authority = authority_of(&dir);
    let own = issue(&mut authority, FORCE, "pc-1");
    let mut process = Process::started_in(&dir);
    let gate = Gate::of(&process, &authority);
    let mut client = gate.connected("pc-1", &own).await;

    stored(&mut client, "fp1/pc-1/live", 1, b"not an envelope").await;
    stored(&mut client, "fp1/pc-1/live", 2, &position(Mode::Actual, 2)).await;
    stored(&mut client, "fp1/pc-1/alarm", 3, &position(Mode::Test, 3)).await;
    let mut body = [0; 64];
    let body = a_position().encode(&mut body).unwrap().to_vec();
    let year_ms = 365 * 24 * 3_600_000;
    for (packet_id, time_ms) in [(4, now_ms() + year_ms), (5, now_ms() - year_ms)] {
        let mut head = head(Class::POSITION, Mode::Test, u32::from(packet_id));
        head.time_ms = time_ms;
        stored(&mut client, "fp1/pc-1/live", packet_id, &envelope(head, &body)).await;
    }
    client.publish("fp1/pc-2/live", 6, &position(Mode::Test, 6)).await;
    assert_eq!(client.hear().await, Heard::Puback { packet_id: 6, code: 0x87 });

    // Packets that no device of ours would send end the connection, and say why; the next connection is served.
    let oversized = &[0x32, 0x80, 0x80, 0x40][..];
    for (bytes, code, reason) in [(oversized, 0x95, "too-large"), (&[0xC1, 0], 0x81, "malformed")] {
        client.send(bytes).await;
        assert_eq!(client.hear().await, Heard::Disconnect { code }, "{reason}");
        let events = process.log_until("device disconnected");
        let said = events.last().unwrap();
        assert!(said["reason"] == reason && said["unit"] == "demo/pc-1", "{said:#?}");
        client = gate.connected("pc-1", &own).await;
    }
    let whole = client.publish_bytes("fp1/pc-1/live", 7, &[], &position(Mode::Test, 7));
    client.send(&whole[..whole.len() - 1]).await;
    drop(client);
    process.until_metric("fieldpost_ingest_ended_total{reason=\"peer-closed\"}", 1.0);
    let mut client = gate.connected("pc-1", &own).await;
    stored(&mut client, "fp1/pc-1/live", 7, &position(Mode::Test, 7)).await;

    for (series, count) in [
        ("quarantined_total{reason=\"envelope\"}", 1.0),
        ("quarantined_total{reason=\"above-ceiling\"}", 1.0),
        ("quarantined_total{reason=\"wrong-lane\"}", 1.0),
        ("ended_total{reason=\"too-large\"}", 1.0),
        ("ended_total{reason=\"malformed\"}", 1.0),
        ("clock_future_total", 1.0),
        ("clock_ancient_total", 1.0),
        ("foreign_topics_total", 1.0),
    ] {
        process.until_metric(&format!("fieldpost_ingest_{series}"), count);
    }
    let kept = exported(&dir.path().join("data/spool"));
    let kept: Vec<_> = kept.iter().map(|row| row["reason"].as_str().unwrap_or("-")).collect();
    assert_eq!(kept, ["envelope", "above-ceiling", "wrong-lane", "-", "-", "-"]);
}

#[tokio::test]
async fn strangers_on_the_port_are_refused_and_disturb_nobody() {
    let dir = new_gateway();
    let mut authority = authority_of(&dir);
    let own = issue(&mut authority, FORCE, "pc-1");
    let mut process = Process::started_in(&dir);
    let gate = Gate::of(&process, &authority);
    let mut client = gate.connected("pc-1", &own).await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(gate.address).await.unwrap());
    }
    for (packet_id, garbage) in
        (1..).zip([&b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..], &[0; 64], &[0xFF; 3000]])
    {
        let mut stream = TcpStream::connect(gate.address).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        let mut answer = Vec::new();
        // A TLS alert (type 21) or nothing, and the end; or a reset because not all of the garbage was read.
        let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
        assert!(ended.is_err() || answer.is_empty() || answer[0] == 21, "{answer:?}");
        let events = process.log_until("connection refused");
        assert_eq!(events.last().unwrap()["reason"], "tls-handshake", "{events:#?}");
        stored(&mut client, "fp1/pc-1/live", packet_id, &position(Mode::Test, u32::from(packet_id))).await;
    }
    process.until_metric("fieldpost_ingest_connections", 101.0);
    process.until_metric("fieldpost_ingest_devices", 1.0);
    drop(silent);
    process.until_metric("fieldpost_ingest_connections", 1.0);
}

/// Settings of a spool that is soon full, and a sink that takes nothing, so that nothing may be deleted.
fn tighten(config: &Path) {
    let text = fs::read_to_string(config).unwrap();
    let text = text.replace("#segment_bytes = 16777216", "segment_bytes = 2097152");
    let text = text.replace("#reserve_bytes = 33554432", "reserve_bytes = 2097152");
    let nobody = SocketAddr::from(([127, 0, 0, 1], quiet_port()));
    let sink = format!("\n[[forward.webhook]]\nurl = \"http://{nobody}/\"\n{RELEASE_ALL}\n");
    fs::write(config, text + &sink).unwrap();
}

/// A record that fills the spool quickly.
fn large(seq: u32) -> Vec<u8> {
    envelope(head(Class(0x0A), Mode::Test, seq), &[0x55; 1000])
}

/// The story of a full disk, from the device's and the operator's side. Returns how many records were sent.
async fn full_disk(
    gate: &Gate,
    own: &Credentials,
    metrics: SocketAddr,
    fill: impl Fn(),
    free: impl Fn(),
) -> u32 {
    let mut client = gate.connected("pc-1", own).await;
    fill();
    let (mut sent, mut acknowledged) = (0_u16, 0_u16);
    let health = || metric_in(&get(metrics, "/metrics"), "fieldpost_spool_health");
    let mut is_full = false;
    while !is_full {
        // Fewer at once than a connection may hold back: an alarm behind them must still be read.
        for _ in 0..20 {
            sent += 1;
            client.publish("fp1/pc-1/backlog", sent, &large(u32::from(sent))).await;
        }
        while acknowledged < sent && !is_full {
            client.ping().await;
            acknowledged += pubacks_before_pong(&mut client).await;
            is_full = health() > 0.0;
        }
        assert!(sent < 20_000, "the disk does not fill");
    }
    // From here on nothing but alarms is acknowledged.
    for _ in 0..20 {
        sent += 1;
        client.publish("fp1/pc-1/backlog", sent, &position(Mode::Test, u32::from(sent))).await;
    }
    let mut body = [0; 64];
    let alarm = Alarm { cause: AlarmCause::BUTTON, silent: false, position: None, position_age_s: 0 };
    let body = alarm.encode(&mut body).unwrap().to_vec();
    client.publish("fp1/pc-1/alarm", 60_000, &envelope(head(Class::ALARM, Mode::Test, 60_000), &body)).await;
    let mut heard = client.hear().await;
    while heard != (Heard::Puback { packet_id: 60_000, code: 0 }) {
        assert!(matches!(heard, Heard::Puback { code: 0, .. }), "{heard:?}");
        acknowledged += 1;
        heard = client.hear().await;
    }
    client.ping().await;
    acknowledged += pubacks_before_pong(&mut client).await;
    assert!(acknowledged < sent, "what cannot be stored is not acknowledged");
    let ready = get(metrics, "/readyz");
    assert!(
        ready.starts_with("HTTP/1.1 200 ") && ready.contains("the spool is full: only alarms"),
        "{ready}"
    );

    // Alarms fill the reserve as well. Then nothing is stored any more, and that is said.
    let mut alarms = 0_u16;
    let held = sent - acknowledged;
    let is_unready = || get(metrics, "/readyz").starts_with("HTTP/1.1 503 ");
    while !is_unready() {
        for _ in 0..20 {
            let frame = envelope(head(Class(0x1A), Mode::Test, 100_000 + u32::from(alarms)), &[0x55; 1000]);
            client.publish("fp1/pc-1/alarm", 61_000 + alarms % 1000, &frame).await;
            alarms += 1;
        }
        // As a device does: no more under way than the gateway takes from one connection.
        while acknowledged + held < sent + alarms && !is_unready() {
            client.ping().await;
            acknowledged += pubacks_before_pong(&mut client).await;
        }
        assert!(alarms < 20_000, "the reserve has no end");
    }
    assert!(get(metrics, "/readyz").contains("the reserve for alarms too"));
    sent += alarms;
    client.ping().await;
    acknowledged += pubacks_before_pong(&mut client).await;
    assert!(acknowledged < sent, "what cannot be stored is not acknowledged");

    free();
    while acknowledged < sent {
        let heard = client.hear().await;
        assert!(matches!(heard, Heard::Puback { code: 0, .. }), "{heard:?}");
        acknowledged += 1;
    }
    until_metric(metrics, "fieldpost_spool_health", 0.0);
    let records_count = u32::from(sent) + 1;
    until_metric(metrics, "fieldpost_ingest_records_total", f64::from(records_count));
    assert!(!get(metrics, "/readyz").contains("the spool is full"));
    records_count
}

async fn pubacks_before_pong(client: &mut Client) -> u16 {
    let mut count = 0;
    loop {
        match client.hear().await {
            Heard::Pingresp => return count,
            Heard::Puback { code: 0, .. } => count += 1,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_lived_through_and_nothing_is_lost() {
    let mut house = House::new();
    tighten(&house.path("gateway.toml"));
    let own = house.issue("pc-1");
    let disk = FaultyDisk::new();
    let service = service::start_on(house.config(), Arc::new(disk.clone())).await.unwrap();
    let gate = Gate { address: service.front_door, roots: house.roots() };
    let (fill, free) = (|| disk.set_space(Some(0)), || disk.set_space(None));
    full_disk(&gate, &own, service.metrics, fill, free).await;
    assert!(service.shutdown().await);
}

/// `fieldpost run` with its data directory on a tmpfs of its own, which goes with the process. Mounting needs root or
/// user namespaces, which Debian 12 has on.
fn on_small_disk(dir: &tempfile::TempDir, bytes: u32) -> Command {
    let mut apart = vec!["unshare", "--mount"];
    if !rustix::process::geteuid().is_root() {
        apart.extend(["--user", "--map-root-user"]);
    }
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    let mount = format!("mount -t tmpfs -o size={bytes} tmpfs \"$0\"");
    let mut command = Command::new(apart[0]);
    command.args(&apart[1..]).args(["sh", "-c", &format!("{mount} && exec \"$1\" run -c \"$2\"")]);
    command.arg(&data).arg(env!("CARGO_BIN_EXE_fieldpost")).arg(dir.path().join("gateway.toml"));
    command
}

#[tokio::test]
async fn a_full_file_system_is_said_in_the_log_and_recovers_when_space_returns() {
    let dir = new_gateway();
    tighten(&dir.path().join("gateway.toml"));
    let mut authority = authority_of(&dir);
    let own = issue(&mut authority, FORCE, "pc-1");
    let command = on_small_disk(&dir, 16 << 20);
    let mut process = Process::run(Arc::clone(&dir), command);
    // The mount is the process's own; this is the way in.
    let data = PathBuf::from(format!("/proc/{}/root{}", process.id(), dir.path().join("data").display()));
    let ballast = data.join("ballast");
    let fill = || {
        let file = fs::File::create(&ballast).unwrap();
        let mut at = 0;
        while let Ok(written) = file.write_at(&[1; 4096], at) {
            at += written as u64;
        }
    };
    let gate = Gate::of(&process, &authority);
    let free = || fs::remove_file(&ballast).unwrap();
    let records_count = full_disk(&gate, &own, process.metrics, fill, free).await;
    let events = process.log_until("spool is full");
    assert!(events.last().unwrap()["cause"].as_str().unwrap().contains("No space left"), "{events:#?}");
    process.log_until("spool has room again");
    let rows = exported(&data.join("spool"));
    // The gateway's own words on the time stand among them.
    let of_devices = rows.iter().filter(|row| row["kind"] == "envelope");
    let mut keys: Vec<_> = of_devices.map(|row| row["key"].as_str().unwrap().to_owned()).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), records_count as usize, "everything is there once");
    process.signal(Signal::TERM);
    process.log_until("gateway stopped");
    assert_eq!(process.wait().code(), Some(0));
}

/// The end of the last segment that holds anything: its path and the offset after its last byte that is not zero.
fn tail(spool: &Path) -> (PathBuf, u64) {
    let segments = fs::read_dir(spool).unwrap().map(|entry| entry.unwrap().path());
    let path =
        segments.filter(|path| path.extension().is_some_and(|extension| extension == "seg")).max().unwrap();
    let bytes = fs::read(&path).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    (path, end as u64)
}

#[tokio::test]
async fn a_tail_torn_by_a_power_cut_is_cut_off_said_and_costs_nothing_acknowledged() {
    let dir = new_gateway();
    let mut authority = authority_of(&dir);
    let own = issue(&mut authority, FORCE, "pc-1");
    let process = Process::started_in(&dir);
    let gate = Gate::of(&process, &authority);
    let mut client = gate.connected("pc-1", &own).await;
    for n in 1..=20 {
        stored(&mut client, "fp1/pc-1/live", n, &position(Mode::Test, u32::from(n))).await;
    }
    let spool = dir.path().join("data/spool");
    let (segment, before) = tail(&spool);
    // The write that the power cut interrupts: the test hears its PUBACK only to know that it is in the file.
    stored(&mut client, "fp1/pc-1/live", 21, &position(Mode::Test, 21)).await;
    process.kill();
    let (same, after) = tail(&spool);
    assert!(same == segment && after > before);
    let file = fs::OpenOptions::new().write(true).open(&segment).unwrap();
    let torn_at = before + (after - before) * 2 / 3;
    file.write_at(&vec![0; usize::try_from(after - torn_at).unwrap()], torn_at).unwrap();

    let mut process = Process::started_in(&dir);
    let events = process.log_until("spool recovered");
    let said = events.last().unwrap();
    assert!(
        said["torn_bytes"].as_u64().unwrap() > 0 && said["damaged"] == 0 && said["last"] == 20,
        "{said:#?}"
    );
    let gate = Gate::of(&process, &authority);
    let mut client = gate.connected("pc-1", &own).await;
    // What the device never heard of it sends again; what it heard of is there, and only once.
    for n in 20..=21 {
        stored(&mut client, "fp1/pc-1/live", n, &position(Mode::Test, u32::from(n))).await;
    }
    let keys: Vec<_> = exported(&spool).iter().map(|row| row["key"].as_str().unwrap().to_owned()).collect();
    let expected: Vec<_> = (1..=21).map(|n| format!("demo.pc-1.1.{n}")).collect();
    assert_eq!(keys, expected);
}

#[tokio::test]
async fn sigterm_tells_devices_to_come_back_and_leaves_everything_acknowledged() {
    let dir = new_gateway();
    let mut authority = authority_of(&dir);
    let own = issue(&mut authority, FORCE, "pc-1");
    let mut process = Process::started_in(&dir);
    let mut client = Gate::of(&process, &authority).connected("pc-1", &own).await;
    for n in 1..=5 {
        stored(&mut client, "fp1/pc-1/live", n, &position(Mode::Test, u32::from(n))).await;
    }
    process.signal(Signal::TERM);
    assert_eq!(client.hear().await, Heard::Disconnect { code: 0x8B });
    assert_eq!(client.hear().await, Heard::End);
    process.log_until("gateway stopped");
    assert_eq!(process.wait().code(), Some(0));
    assert_eq!(exported(&dir.path().join("data/spool")).len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_in_trouble_is_named_to_the_operator_and_nothing_to_the_device() {
    let inbox = Inbox::with_script([
        Knob::Answer(500, None),
        Knob::Answer(400, None),
        Knob::HangAfterTaking,
        Knob::Answer(503, None),
    ]);
    let sink = WebhookServer::start(inbox).await;
    let dir = new_gateway();
    let config = dir.path().join("gateway.toml");
    let text = fs::read_to_string(&config).unwrap();
    let forward = "name = \"cad\"\nattempt_ms_max = 1000\nretry_delay_ms_min = 10\nretry_delay_ms_max = 100";
    fs::write(
        &config,
        format!("{text}\n[[forward.webhook]]\nurl = \"{}\"\n{forward}\n{RELEASE_ALL}\n", sink.url()),
    )
    .unwrap();
    let mut authority = authority_of(&dir);
    let own = issue(&mut authority, FORCE, "pc-1");
    let mut process = Process::started_in(&dir);
    let mut client = Gate::of(&process, &authority).connected("pc-1", &own).await;
    let refused = "fieldpost_forward_refused_total{forwarder=\"cad\",reason=\"content\"}";
    for n in 1..=2 {
        stored(&mut client, "fp1/pc-1/live", n, &position(Mode::Test, u32::from(n))).await;
        if n == 1 {
            // 500, then 400: the event is set aside with its reason, and the rest goes on.
            let events = process.log_until("the sink refused events for good");
            assert!(events.iter().any(|event| event["reason"] == "failing"), "{events:#?}");
            let aside = fs::read_to_string(dir.path().join("data/refused/cad.ndjson")).unwrap();
            assert!(aside.contains("demo.pc-1.1.1"), "{aside}");
            process.until_metric(refused, 1.0);
        }
    }
    let events = process.log_until("delivering again");
    assert!(
        events.iter().any(|event| event["reason"] == "timeout" && event["forwarder"] == "cad"),
        "{events:#?}"
    );
    process.until_metric("fieldpost_forward_delivered_total{forwarder=\"cad\"}", 1.0);
    process.until_metric("fieldpost_forward_failing{forwarder=\"cad\"}", 0.0);
    assert!(sink.inbox.ids().iter().all(|id| id == "demo.pc-1.1.2"));

    drop(sink);
    stored(&mut client, "fp1/pc-1/live", 3, &position(Mode::Test, 3)).await;
    process.until_metric("fieldpost_forward_failing{forwarder=\"cad\"}", 1.0);
    let ready = process.ask("/readyz");
    assert!(
        ready.starts_with("HTTP/1.1 200 ") && ready.contains("sink cad does not accept: 1 records wait"),
        "{ready}"
    );
}
