//! A whole gateway in this process: start, reload, failure, shutdown.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use fieldpost_gateway::config::template::TemplateValues;
use fieldpost_gateway::config::{Config, RELEASE_ALL};
use fieldpost_gateway::init::{InitOptions, init};
use fieldpost_gateway::pki::{Authority, Revoke};
use fieldpost_gateway::service::{self, RefreshError, ReloadError, Service, StartError};
use fieldpost_gateway::spool::faulty::FaultyDisk;
use fieldpost_protocol::{DeviceId, ForceId, Mode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::door::{Credentials, PATIENCE, credentials, roots};
use crate::forward::tak_listener::{self, issue};
use crate::mqtt::{Client, Connect, Heard, position};

/// A new gateway's directory on free ports, with a file sink, and its authority.
pub(crate) struct House {
    dir: tempfile::TempDir,
    authority: Authority,
}

impl House {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let free = "127.0.0.1:0".to_owned();
        let values = TemplateValues {
            front_door_listen: free.clone(),
            control_room_listen: free.clone(),
            metrics_listen: free,
            forces: vec![("sim".to_owned(), "Simulated force".to_owned())],
            appendix: format!(
                "[[forward.file]]\npath = \"events.ndjson\"\nbatch_age_ms_max = 0\n{RELEASE_ALL}\n"
            ),
        };
        let authority =
            init(dir.path(), &InitOptions { values, ..InitOptions::default() }).unwrap().authority;
        Self { dir, authority }
    }

    pub(crate) fn roots(&self) -> rustls::RootCertStore {
        roots(&self.authority)
    }

    pub(crate) fn authority(&mut self) -> &mut Authority {
        &mut self.authority
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn config(&self) -> Config {
        Config::load(&self.path("gateway.toml")).unwrap()
    }

    pub(crate) fn edit(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.path("gateway.toml")).unwrap();
        assert!(text.contains(from), "{from}");
        fs::write(self.path("gateway.toml"), text.replacen(from, to, 1)).unwrap();
    }

    pub(crate) async fn start(&self) -> Service {
        service::start(self.config()).await.unwrap()
    }

    pub(crate) fn issue(&mut self, device: &str) -> Credentials {
        let device = DeviceId::try_new(device).unwrap();
        credentials(&self.authority.issue_device(&force(), &device, Mode::Test, 30).unwrap())
    }

    async fn dial(&self, service: &Service, credentials: &Credentials) -> std::io::Result<Client> {
        Client::dial_at(service.front_door, roots(&self.authority), Some(credentials), 5).await
    }

    pub(crate) async fn connected(
        &self,
        service: &Service,
        device: &str,
        credentials: &Credentials,
    ) -> Client {
        let mut client = self.dial(service, credentials).await.unwrap();
        client.connect(&Connect::clean(device)).await;
        let connack = client.hear().await;
        assert!(matches!(connack, Heard::Connack { code: 0, .. }), "{connack:?}");
        client
    }

    /// The events in the file sink, once there are `count`.
    async fn delivered(&self, count: usize) -> Vec<serde_json::Value> {
        let read = || fs::read_to_string(self.path("events.ndjson")).unwrap_or_default();
        let arrived = async {
            while read().lines().count() < count {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, arrived).await.expect("the file sink delivers");
        read().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn force() -> ForceId {
    ForceId::try_new("sim").unwrap()
}

async fn publish(client: &mut Client, device: &str, seq: u32) {
    let packet_id = u16::try_from(seq).unwrap();
    client.publish(&format!("fp1/{device}/live"), packet_id, &position(Mode::Test, seq)).await;
    assert_eq!(client.hear().await, Heard::Puback { packet_id, code: 0 });
}

/// Status and body of a GET.
async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: localhost:{}\r\nconnection: close\r\n\r\n", address.port());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer)
}

#[tokio::test]
async fn record_passes_through_the_whole_gateway_once_across_a_restart() {
    let mut house = House::new();
    let own = house.issue("pc-1");
    let service = house.start().await;
    let mut client = house.connected(&service, "pc-1", &own).await;
    for seq in 1..=3 {
        publish(&mut client, "pc-1", seq).await;
    }
    assert_eq!(house.delivered(3).await[2]["id"], "sim.pc-1.1.3");
    let (status, metrics) = get(service.metrics, "/metrics").await;
    assert_eq!(status, 200);
    assert!(metrics.contains("fieldpost_spool_records_total 3"), "{metrics}");
    for address in [service.metrics, service.control_room] {
        assert_eq!(get(address, "/healthz").await.0, 200);
        assert_eq!(get(address, "/readyz").await.0, 200);
    }
    assert!(service.shutdown().await, "within the drain deadline");
    assert_eq!(client.hear().await, Heard::Disconnect { code: 0x8B }, "the device is told to come back");

    let service = house.start().await;
    let mut client = house.connected(&service, "pc-1", &own).await;
    publish(&mut client, "pc-1", 3).await;
    publish(&mut client, "pc-1", 4).await;
    assert_eq!(
        house.delivered(4).await[3]["id"],
        "sim.pc-1.1.4",
        "3 was recognised, and not forwarded again"
    );
    assert_eq!(service.spool.committed().0, 4);
    assert!(service.shutdown().await);
}

#[tokio::test]
async fn revoked_device_is_put_out_on_reload_and_stays_out_while_others_stay_in() {
    let mut house = House::new();
    let (lost, kept) = (house.issue("lost"), house.issue("kept"));
    let service = house.start().await;
    let mut lost_client = house.connected(&service, "lost", &lost).await;
    let mut kept_client = house.connected(&service, "kept", &kept).await;
    house.authority.revoke(&Revoke::Device(force(), DeviceId::try_new("lost").unwrap())).unwrap();
    service.reload(&house.config()).await.unwrap();
    assert!(matches!(lost_client.hear().await, Heard::Disconnect { .. }));
    publish(&mut kept_client, "kept", 1).await;
    // TLS 1.3: the refusal may reach the client only after its side of the handshake is done.
    if let Ok(mut back) = house.dial(&service, &lost).await {
        assert_eq!(back.hear().await, Heard::End);
    }
    assert!(service.shutdown().await);
}

#[tokio::test]
async fn renewed_revocation_list_is_taken_unasked_and_an_older_one_never() {
    let mut house = House::new();
    let (lost, kept) = (house.issue("lost"), house.issue("kept"));
    let list = house.authority.list_path();
    let older = fs::read(&list).unwrap();
    let service = house.start().await;
    assert!(!service.refresh_revocation_list().unwrap(), "unchanged");
    let mut lost_client = house.connected(&service, "lost", &lost).await;
    let mut kept_client = house.connected(&service, "kept", &kept).await;
    house.authority.revoke(&Revoke::Device(force(), DeviceId::try_new("lost").unwrap())).unwrap();
    assert!(service.refresh_revocation_list().unwrap());
    assert!(matches!(lost_client.hear().await, Heard::Disconnect { .. }));
    fs::write(&list, older).unwrap();
    assert!(matches!(service.refresh_revocation_list(), Err(RefreshError::Older)));
    fs::write(&list, "no list").unwrap();
    assert!(matches!(service.refresh_revocation_list(), Err(RefreshError::Material(_))));
    if let Ok(mut back) = house.dial(&service, &lost).await {
        assert_eq!(back.hear().await, Heard::End, "still shut out");
    }
    publish(&mut kept_client, "kept", 1).await;
    assert!(service.shutdown().await);
}

#[tokio::test]
async fn a_tak_client_that_a_renewed_list_names_is_put_out_and_another_stays() {
    let mut house = House::new();
    let tak = format!(
        "[tak]\nlisten = \"127.0.0.1:0\"\ncertificate = \"pki/server.pem\"\nkey = \"pki/server.key\"\n\
         client_authority = \"pki/ca.pem\"\nrevocation_list = \"pki/crl.pem\"\n\
         [[tak.client]]\nname = \"anna\"\n{RELEASE_ALL}\n[[tak.client]]\nname = \"bert\"\n{RELEASE_ALL}\n\
         [[forward.file]]"
    );
    house.edit("\n[[forward.file]]", &format!("\n{tak}"));
    let own = house.issue("pc-1");
    let (lost, kept) = (issue(house.authority(), "anna"), issue(house.authority(), "bert"));
    let list = house.authority.list_path();
    let older = fs::read(&list).unwrap();
    let service = house.start().await;
    let address = service.tak.unwrap();
    let mut anna = tak_listener::Client::connect(address, &house.authority, Some(&lost)).await.unwrap();
    let mut bert = tak_listener::Client::connect(address, &house.authority, Some(&kept)).await.unwrap();
    let offered = "t-x-takp-v";
    anna.until(offered).await;
    bert.until(offered).await;
    assert!(!service.refresh_tak_revocation_list().unwrap(), "unchanged");

    let tak_force = ForceId::try_new("tak").unwrap();
    house.authority.revoke(&Revoke::Device(tak_force, DeviceId::try_new("anna").unwrap())).unwrap();
    assert!(service.refresh_tak_revocation_list().unwrap());
    anna.until_end().await;
    // TLS 1.3: the refusal may reach the client only after its side of the handshake is done.
    if let Ok(mut back) = tak_listener::Client::connect(address, &house.authority, Some(&lost)).await {
        back.until_end().await;
        assert_eq!(back.heard, "");
    }
    fs::write(&list, older).unwrap();
    assert!(matches!(service.refresh_tak_revocation_list(), Err(RefreshError::Older)));

    let mut device = house.connected(&service, "pc-1", &own).await;
    publish(&mut device, "pc-1", 1).await;
    bert.until("fieldpost.test.sim.pc-1").await;
    assert!(service.shutdown().await);
}

#[tokio::test]
async fn reload_changes_forces_and_sinks_and_names_what_needs_a_restart() {
    let mut house = House::new();
    let own = house.issue("pc-1");
    let service = house.start().await;
    let mut client = house.connected(&service, "pc-1", &own).await;
    publish(&mut client, "pc-1", 1).await;
    house.delivered(1).await;
    house.edit("path = \"events.ndjson\"\nbatch", "path = \"elsewhere.ndjson\"\nbatch");
    house.edit("id = \"sim\"", "id = \"other\"");
    house.edit("#retain_hours = 24", "retain_hours = 1");
    let difference = service.reload(&house.config()).await.unwrap();
    assert_eq!(difference.now, ["force", "forward.file"]);
    assert_eq!(difference.restart, ["spool.retain_hours"]);
    assert!(matches!(client.hear().await, Heard::Disconnect { .. }), "its force is not served any more");
    house.edit("id = \"other\"", "id = \"sim\"");
    service.reload(&house.config()).await.unwrap();
    let mut client = house.connected(&service, "pc-1", &own).await;
    publish(&mut client, "pc-1", 2).await;
    let moved = async {
        while fs::read_to_string(house.path("elsewhere.ndjson")).unwrap_or_default().lines().count() < 1 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, moved).await.expect("the sink's new file is used");
    assert_eq!(house.delivered(1).await.len(), 1, "and the old one is left alone");
    house.edit("path = \"elsewhere.ndjson\"\nbatch", "path = \"events.ndjson\"\nbatch");
    assert_eq!(service.reload(&house.config()).await.unwrap().now, ["forward.file"], "and back again");
    publish(&mut client, "pc-1", 3).await;
    house.delivered(2).await;
    assert!(service.shutdown().await);
}

#[tokio::test]
async fn occupied_port_names_its_key_and_address_and_touches_nothing() {
    let house = House::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for (key, line) in [("front_door.listen", 0), ("control_room.listen", 1), ("metrics.listen", 2)] {
        let text = fs::read_to_string(house.path("gateway.toml")).unwrap();
        let at = text.match_indices("\"127.0.0.1:0\"").nth(line).unwrap().0;
        let mut bent = text.clone();
        bent.replace_range(at..at + "\"127.0.0.1:0\"".len(), &format!("\"{address}\""));
        let config = Config::from_text(&house.path("gateway.toml"), &bent, &[]).unwrap();
        let error = service::start(config).await.unwrap_err();
        let said = error.to_string();
        assert!(matches!(error, StartError::Listen { key: named, .. } if named == key), "{said}");
        assert!(
            said.contains(key) && said.contains(&address.to_string()) && said.contains("ss -ltnp"),
            "{said}"
        );
    }
    assert!(!house.path("data").exists());
}

#[tokio::test]
async fn second_gateway_on_the_same_data_is_refused() {
    let house = House::new();
    let service = house.start().await;
    let error = service::start(house.config()).await.unwrap_err();
    assert!(error.is_occupied() && error.to_string().contains("in use by another process"), "{error}");
    assert!(service.shutdown().await);
    assert!(house.start().await.shutdown().await, "free again");
}

#[tokio::test]
async fn failed_storage_is_not_ready_and_never_acknowledges() {
    let mut house = House::new();
    let own = house.issue("pc-1");
    let disk = FaultyDisk::new();
    let service = service::start_on(house.config(), Arc::new(disk.clone())).await.unwrap();
    let mut client = house.connected(&service, "pc-1", &own).await;
    publish(&mut client, "pc-1", 1).await;
    disk.fail_sync_after(0);
    client.publish("fp1/pc-1/live", 2, &position(Mode::Test, 2)).await;
    timeout(PATIENCE, service.storage_failed()).await.expect("the failure is noticed");
    assert!(!matches!(client.hear().await, Heard::Puback { .. }), "not durable, so not acknowledged");
    for address in [service.metrics, service.control_room] {
        let (status, body) = get(address, "/readyz").await;
        assert_eq!(status, 503);
        assert_eq!(body.contains("storage failed"), address == service.metrics, "{body}");
    }
    let (_, told_to_anybody) = get(service.control_room, "/readyz").await;
    assert!(told_to_anybody.ends_with("\r\n\r\nnot ready\n"), "{told_to_anybody}");
    assert!(get(service.metrics, "/metrics").await.1.contains("fieldpost_spool_health 2"));
    service.shutdown().await;
}

#[tokio::test]
async fn cursor_of_a_sink_that_left_the_configuration_goes_at_the_next_start() {
    let house = House::new();
    assert!(house.start().await.shutdown().await);
    house.edit("[[forward.file]]\npath", "[[forward.file]]\nname = \"new\"\npath");
    let service = house.start().await;
    let cursors: Vec<_> = service.spool.stats().cursors.into_iter().map(|cursor| cursor.name).collect();
    assert!(cursors.contains(&"new".to_owned()) && !cursors.contains(&"file".to_owned()), "{cursors:?}");
    assert!(service.shutdown().await);
}

#[tokio::test]
async fn sink_that_leaves_by_reload_lets_go_of_the_spool() {
    let house = House::new();
    let service = house.start().await;
    house.edit("[[forward.file]]\npath", "[[forward.file]]\nname = \"new\"\npath");
    service.reload(&house.config()).await.unwrap();
    let cursors: Vec<_> = service.spool.stats().cursors.into_iter().map(|cursor| cursor.name).collect();
    assert!(cursors.contains(&"new".to_owned()) && !cursors.contains(&"file".to_owned()), "{cursors:?}");
    assert!(service.shutdown().await);
}

#[tokio::test]
async fn sinks_that_a_reload_could_not_start_are_started_by_the_next() {
    let house = House::new();
    let service = house.start().await;
    fs::copy(house.path("pki/ca.pem"), house.path("cad-ca.pem")).unwrap();
    house.edit(
        "\n[[forward.file]]\npath",
        &format!(
            "\n[[forward.webhook]]\nurl = \"http://127.0.0.1:9/\"\nauthority = \"cad-ca.pem\"\n{RELEASE_ALL}\n\
             [[forward.file]]\npath"
        ),
    );
    let config = house.config();
    fs::remove_file(house.path("cad-ca.pem")).unwrap();
    assert!(matches!(service.reload(&config).await, Err(ReloadError::Forward(_))));
    fs::copy(house.path("pki/ca.pem"), house.path("cad-ca.pem")).unwrap();
    service.reload(&config).await.unwrap();
    let cursors: Vec<_> = service.spool.stats().cursors.into_iter().map(|cursor| cursor.name).collect();
    assert!(cursors.contains(&"webhook".to_owned()), "{cursors:?}");
    assert!(service.shutdown().await);
}

#[tokio::test]
async fn files_of_a_sink_replaced_under_their_names_are_read_again_on_reload() {
    let house = House::new();
    fs::copy(house.path("pki/ca.pem"), house.path("cad-ca.pem")).unwrap();
    house.edit(
        "\n[[forward.file]]\npath",
        &format!(
            "\n[[forward.webhook]]\nurl = \"http://127.0.0.1:9/\"\nauthority = \"cad-ca.pem\"\n{RELEASE_ALL}\n\
             [[forward.file]]\npath"
        ),
    );
    let config = house.config();
    let service = service::start(config.clone()).await.unwrap();
    assert_eq!(service.reload(&config).await.unwrap().now, [""; 0], "the same contents");
    // Checked when the configuration was read, replaced by rubbish since: whoever reads it again notices.
    fs::write(house.path("cad-ca.pem"), "rubbish").unwrap();
    assert!(matches!(service.reload(&config).await, Err(ReloadError::Forward(_))), "it was not read again");
    fs::copy(house.path("pki/ca.pem"), house.path("cad-ca.pem")).unwrap();
    service.reload(&config).await.unwrap();
    fs::copy(house.path("pki/server.pem"), house.path("cad-ca.pem")).unwrap();
    assert_eq!(service.reload(&config).await.unwrap().now, ["forward.webhook (files)"]);
    assert!(service.shutdown().await);
}

#[tokio::test]
async fn what_holds_positions_or_secrets_is_the_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let house = House::new();
    // Made by a package, open to all.
    fs::create_dir(house.path("data")).unwrap();
    let service = house.start().await;
    assert!(service.shutdown().await);
    let mut dirs = vec![house.path("data")];
    let mut files_count = 0;
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                dirs.push(entry.path());
                continue;
            }
            files_count += 1;
            let mode = entry.metadata().unwrap().permissions().mode();
            // A cursor is a number.
            let is_cursor = entry.path().extension().is_some_and(|kind| kind == "cursor");
            assert!(is_cursor || mode & 0o077 == 0, "{} {mode:o}", entry.path().display());
        }
    }
    assert!(files_count > 3);
}
