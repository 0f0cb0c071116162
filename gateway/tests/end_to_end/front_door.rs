//! Who gets through the front door, what the rest is told, and what is written down about it.

use std::io::Write;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use fieldpost_gateway::ingest::{IngestConfig, Reason};
use fieldpost_gateway::pki::Authority;
use fieldpost_gateway::spool::SpoolSettings;
use fieldpost_protocol::Mode;
use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::door::{Credentials, FORCE, PATIENCE, TestDoor, credentials, roots};
use crate::mqtt::{Client, Connect, Heard, packet, position, text};

/// In TLS 1.3 a client hears of its refusal after its own side of the handshake is done.
async fn is_refused_by_tls(door: &TestDoor, credentials: Option<&Credentials>, reason: Reason) {
    if let Ok(mut client) = Client::dial(door, credentials, 5).await {
        assert_eq!(client.hear().await, Heard::End);
    }
    door.refused(reason).await;
}

#[tokio::test]
async fn without_a_certificate_nobody_gets_in() {
    let door = TestDoor::open().await;
    is_refused_by_tls(&door, None, Reason::CertificateMissing).await;
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let door = TestDoor::open().await;
    let elsewhere = tempfile::tempdir().unwrap();
    let mut stranger = Authority::create(elsewhere.path()).unwrap();
    let (force, device) = (FORCE.parse().unwrap(), "pc-1".parse().unwrap());
    let issued = stranger.issue_device(&force, &device, Mode::Test, 1).unwrap();
    is_refused_by_tls(&door, Some(&credentials(&issued)), Reason::CertificateUnknown).await;
}

#[tokio::test]
async fn a_server_certificate_is_not_a_devices() {
    let mut door = TestDoor::open().await;
    let issued = door.authority.issue_server(&["localhost".to_owned()], 1).unwrap();
    is_refused_by_tls(&door, Some(&credentials(&issued)), Reason::CertificateUnknown).await;
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let mut door = TestDoor::open().await;
    let expired = door.issue_expired("pc-1");
    is_refused_by_tls(&door, Some(&expired), Reason::CertificateExpired).await;
}

#[tokio::test]
async fn a_revoked_certificate_loses_its_connection_and_does_not_get_back_in() {
    let mut door = TestDoor::open().await;
    let credentials = door.issue(FORCE, "pc-1", Mode::Test);
    let mut client = Client::dial(&door, Some(&credentials), 5).await.unwrap();
    client.connect(&Connect::clean("pc-1")).await;
    client.hear().await;
    let mut other = Client::connected(&mut door, "pc-2").await;
    door.revoke("pc-1");
    let told = tokio::time::timeout(Duration::from_secs(1), client.hear()).await;
    assert_eq!(told, Ok(Heard::Disconnect { code: 0x87 }));
    assert_eq!(client.hear().await, Heard::End);
    door.ended(Reason::CertificateRevoked).await;
    is_refused_by_tls(&door, Some(&credentials), Reason::CertificateRevoked).await;
    other.ping().await;
    assert_eq!(other.hear().await, Heard::Pingresp);
}

#[tokio::test]
async fn a_session_is_taken_up_again_but_not_by_a_device_that_was_revoked() {
    let mut door = TestDoor::open().await;
    let (chain, key) = door.issue(FORCE, "pc-1", Mode::Test);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots(&door.authority))
        .with_client_auth_cert(chain, key)
        .unwrap();
    let (address, config) = (door.door.address(), Arc::new(config));
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let mut client = Client::dial_with(address, &config, 5).await.unwrap();
        client.connect(&Connect::clean("pc-1")).await;
        assert!(matches!(client.hear().await, Heard::Connack { code: 0, .. }));
        assert_eq!(client.handshake_kind(), Some(kind));
    }
    assert_eq!(door.metrics.ingest.resumed.get(), 1);
    door.revoke("pc-1");
    let mut client = Client::dial_with(address, &config, 5).await.unwrap();
    assert_eq!(client.handshake_kind(), Some(HandshakeKind::Resumed));
    client.connect(&Connect::clean("pc-1")).await;
    assert_eq!(client.hear().await, Heard::End);
    door.refused(Reason::CertificateRevoked).await;
    assert_eq!(door.metrics.ingest.resumed.get(), 1);
}

#[tokio::test]
async fn a_device_of_a_force_that_is_not_configured_is_refused() {
    let mut door = TestDoor::open().await;
    let credentials = door.issue("elsewhere", "pc-1", Mode::Test);
    for (level, code) in [(5, 0x87), (4, 5)] {
        let mut client = Client::dial(&door, Some(&credentials), level).await.unwrap();
        client.connect(&Connect::clean("pc-1")).await;
        assert_eq!(client.hear().await, refusal(code));
        assert_eq!(client.hear().await, Heard::End);
    }
    door.until("both counted", |door| door.metrics.ingest.refused(Reason::ForceUnknown).get() == 2).await;
}

/// Connects as `pc-1` with `connect` and returns the answer.
async fn answer(door: &mut TestDoor, level: u8, connect: &Connect<'_>) -> Heard {
    let credentials = door.issue(FORCE, "pc-1", Mode::Test);
    let mut client = Client::dial(door, Some(&credentials), level).await.unwrap();
    client.connect(connect).await;
    let answer = client.hear().await;
    assert_eq!(client.hear().await, Heard::End);
    answer
}

fn refusal(code: u8) -> Heard {
    Heard::Connack { session_present: false, code, properties: Vec::new() }
}

#[tokio::test]
async fn the_client_id_must_be_the_device_id() {
    for (level, code) in [(5, 0x85), (4, 2)] {
        for wrong in ["pc-2", ""] {
            let mut door = TestDoor::open().await;
            assert_eq!(answer(&mut door, level, &Connect::clean(wrong)).await, refusal(code));
            door.refused(Reason::ClientId).await;
        }
    }
}

#[tokio::test]
async fn a_will_is_refused_because_it_would_not_be_honoured() {
    for (level, code, properties) in [(5, 0x83, 1), (4, 5, 0)] {
        let mut door = TestDoor::open().await;
        let mut will = vec![0; properties];
        text("fp1/pc-1/live", &mut will);
        text("gone", &mut will);
        let connect = Connect { flags: 0b110, after: &will, ..Connect::clean("pc-1") };
        assert_eq!(answer(&mut door, level, &connect).await, refusal(code));
        door.refused(Reason::Will).await;
    }
}

#[tokio::test]
async fn another_mqtt_version_is_refused_with_a_code() {
    let mut door = TestDoor::open().await;
    assert_eq!(answer(&mut door, 3, &Connect::clean("pc-1")).await, refusal(1));
    door.refused(Reason::VersionUnsupported).await;
}

#[tokio::test]
async fn connack_announces_every_limit() {
    let limits = |config: &mut IngestConfig| {
        config.packet_bytes_max = 8192;
        config.receive_max = 256;
        config.topic_alias_max = 8;
        config.keep_alive_s_max = 300;
        config.session_expiry_s_max = 86_400;
    };
    let mut door = TestDoor::with(limits, SpoolSettings::default()).await;
    let credentials = door.issue(FORCE, "pc-1", Mode::Test);
    let mut client = Client::dial(&door, Some(&credentials), 5).await.unwrap();
    // Session expiry of for ever, keep-alive off: both are cut.
    let forever = [0x11, 0xFF, 0xFF, 0xFF, 0xFF];
    client.connect(&Connect { keep_alive_s: 0, properties: &forever, ..Connect::clean("pc-1") }).await;
    let Heard::Connack { code: 0, session_present: false, properties } = client.hear().await else {
        panic!("connected");
    };
    let announced = |property: &[u8]| properties.windows(property.len()).any(|found| found == property);
    assert!(announced(&[0x21, 1, 0]), "receive maximum 256: {properties:?}");
    assert!(announced(&[0x24, 1]), "maximum quality 1");
    assert!(announced(&[0x25, 0]), "no retained messages");
    assert!(announced(&[0x27, 0, 0, 0x20, 0]), "packets of 8 KiB");
    assert!(announced(&[0x22, 0, 8]), "eight topic aliases");
    assert!(
        announced(&[0x28, 0]) && announced(&[0x29, 0]) && announced(&[0x2A, 0]),
        "no other subscriptions"
    );
    assert!(announced(&[0x13, 1, 0x2C]), "keep-alive of 300 s");
    assert!(announced(&[0x11, 0, 1, 0x51, 0x80]), "session expiry of a day");
}

#[tokio::test]
async fn a_device_publishes_its_own_topics_only() {
    let mut door = TestDoor::open().await;
    let mut client = Client::connected(&mut door, "pc-1").await;
    let foreign = ["fp1/pc-2/live", "fp1/pc-1/down", "fp1/pc-1/live/x", "other", "$SYS/x"];
    for (packet_id, topic) in (1..).zip(foreign) {
        client.publish(topic, packet_id, &position(Mode::Test, 0)).await;
        assert_eq!(client.hear().await, Heard::Puback { packet_id, code: 0x87 }, "{topic}");
    }
    assert_eq!(door.metrics.ingest.foreign_topics.get(), 5);
    assert_eq!(door.records().await.len(), 0);
    client.publish("fp1/pc-1/live", 9, &position(Mode::Test, 0)).await;
    assert_eq!(client.hear().await, Heard::Puback { packet_id: 9, code: 0 });
}

#[tokio::test]
async fn a_device_subscribes_its_own_downlink_only() {
    for (level, refused) in [(5, 0x87), (4, 0x80)] {
        let mut door = TestDoor::open().await;
        let credentials = door.issue(FORCE, "pc-1", Mode::Test);
        let mut client = Client::dial(&door, Some(&credentials), level).await.unwrap();
        client.connect(&Connect::clean("pc-1")).await;
        client.hear().await;
        for topic in ["fp1/pc-2/down", "fp1/+/down", "#", "$share/g/fp1/pc-1/down", "fp1/pc-1/live"] {
            let answer = client.subscribe(3, topic).await;
            assert_eq!(answer, Heard::Suback { packet_id: 3, codes: vec![refused] }, "{topic}");
        }
        let answer = client.subscribe(4, "fp1/pc-1/down").await;
        assert_eq!(answer, Heard::Suback { packet_id: 4, codes: vec![1] });
    }
}

/// Sends bytes on a fresh connection and expects DISCONNECT with `code`, counted as `reason`.
async fn is_ended(bytes: &[u8], code: u8, reason: Reason) {
    let mut door = TestDoor::open().await;
    let mut client = Client::connected(&mut door, "pc-1").await;
    client.send(bytes).await;
    assert_eq!(client.hear().await, Heard::Disconnect { code }, "{reason:?}: {bytes:02x?}");
    assert_eq!(client.hear().await, Heard::End);
    door.ended(reason).await;
    assert_eq!(door.records().await.len(), 0);
}

#[tokio::test]
async fn an_oversized_packet_is_refused_at_its_fixed_header() {
    // A publish of 1 MiB: only its five bytes of header are ever sent.
    is_ended(&[0x32, 0x80, 0x80, 0x40], 0x95, Reason::TooLarge).await;
    is_ended(&[0x32, 0x81, 0x40], 0x95, Reason::TooLarge).await;
}

#[tokio::test]
async fn malformed_packets_end_the_connection_with_the_code_of_their_fault() {
    let no_packet_id = packet(0x32, &[0, 1, b'a']);
    let packet_id_zero = packet(0x32, b"\0\x0dfp1/pc-1/live\0\0\0x");
    let alias_zero = packet(0x32, b"\0\x0dfp1/pc-1/live\0\x01\x03\x23\0\0x");
    let alias_twice = packet(0x32, b"\0\x0dfp1/pc-1/live\0\x01\x06\x23\0\x01\x23\0\x01x");
    let wrong_property = packet(0x32, b"\0\x0dfp1/pc-1/live\0\x01\x02\x24\x01x");
    let wildcard = packet(0x32, b"\0\x0a fp1/+/live\0\x01\0x");
    let not_text = packet(0x32, b"\0\x02\xff\xfe\0\x01\0x");
    let property_overrun = packet(0x32, b"\0\x0dfp1/pc-1/live\0\x01\x7fx");
    let cases: [(&[u8], u8, Reason); 15] = [
        (&[0x32, 0xFF, 0xFF, 0xFF, 0xFF], 0x81, Reason::Malformed),
        (&[0x36, 2, 0, 0], 0x81, Reason::Malformed),
        (&[0x80, 0], 0x81, Reason::Malformed),
        (&[0x82, 2, 0, 1], 0x81, Reason::Malformed),
        (&[0xC1, 0], 0x81, Reason::Malformed),
        (&[0xD0, 0], 0x82, Reason::ProtocolError),
        (&[0x00, 0], 0x82, Reason::ProtocolError),
        (&no_packet_id, 0x81, Reason::Malformed),
        (&packet_id_zero, 0x81, Reason::Malformed),
        (&alias_zero, 0x94, Reason::TopicAliasInvalid),
        (&alias_twice, 0x82, Reason::ProtocolError),
        (&wrong_property, 0x81, Reason::Malformed),
        (&wildcard[..], 0x81, Reason::Malformed),
        (&not_text, 0x81, Reason::Malformed),
        (&property_overrun, 0x81, Reason::Malformed),
    ];
    for (bytes, code, reason) in cases {
        is_ended(bytes, code, reason).await;
    }
}

#[tokio::test]
async fn what_is_not_served_is_said() {
    is_ended(&packet(0x34, b"\0\x0dfp1/pc-1/live\0\x01\0x"), 0x9B, Reason::QosNotSupported).await;
    is_ended(&packet(0x33, b"\0\x0dfp1/pc-1/live\0\x01\0x"), 0x9A, Reason::RetainNotSupported).await;
    is_ended(&packet(0x32, b"\0\x0afp1/+/live\0\x01\0x"), 0x90, Reason::TopicInvalid).await;
    is_ended(&packet(0x32, b"\0\0\0\x01\x03\x23\0\x09x"), 0x94, Reason::TopicAliasInvalid).await;
    is_ended(&packet(0x32, b"\0\0\0\x01\x03\x23\0\x01x"), 0x94, Reason::TopicAliasInvalid).await;
    is_ended(&packet(0xF0, &[0, 0]), 0x82, Reason::ProtocolError).await;
}

#[tokio::test]
async fn a_packet_cut_off_by_the_end_of_the_stream_leaves_nothing() {
    let mut door = TestDoor::open().await;
    let mut client = Client::connected(&mut door, "pc-1").await;
    let whole = client.publish_bytes("fp1/pc-1/live", 1, &[], &position(Mode::Test, 0));
    client.send(&whole[..whole.len() - 1]).await;
    drop(client);
    door.ended(Reason::PeerClosed).await;
    assert_eq!(door.records().await.len(), 0);
}

#[tokio::test]
async fn a_packet_may_come_in_any_pieces() {
    let mut door = TestDoor::open().await;
    let mut client = Client::connected(&mut door, "pc-1").await;
    let whole = client.publish_bytes("fp1/pc-1/live", 1, &[], &position(Mode::Test, 0));
    for byte in &whole {
        client.send(std::slice::from_ref(byte)).await;
    }
    assert_eq!(client.hear().await, Heard::Puback { packet_id: 1, code: 0 });
}

#[tokio::test]
async fn one_deadline_runs_from_accept_to_connect() {
    let short = |config: &mut IngestConfig| {
        config.connect_deadline = Duration::from_secs(2);
    };
    // Nothing at all; a TLS handshake that stays without CONNECT; a CONNECT that comes a byte at a time.
    let door = TestDoor::with(short, SpoolSettings::default()).await;
    let mut silent = TcpStream::connect(door.door.address()).await.unwrap();
    let closed = tokio::time::timeout(PATIENCE, silent.read(&mut [0; 16])).await.unwrap();
    assert!(matches!(closed, Ok(0) | Err(_)));
    door.refused(Reason::ConnectDeadline).await;

    let mut door = TestDoor::with(short, SpoolSettings::default()).await;
    let credentials = door.issue(FORCE, "pc-1", Mode::Test);
    let mut client = Client::dial(&door, Some(&credentials), 5).await.unwrap();
    client.send(&[0x10, 30, 0]).await;
    assert_eq!(client.hear().await, Heard::End);
    door.refused(Reason::ConnectDeadline).await;
}

#[tokio::test]
async fn the_first_packet_must_be_connect() {
    let mut door = TestDoor::open().await;
    let credentials = door.issue(FORCE, "pc-1", Mode::Test);
    let mut client = Client::dial(&door, Some(&credentials), 5).await.unwrap();
    client.ping().await;
    assert_eq!(client.hear().await, Heard::End);
    door.refused(Reason::ConnectMissing).await;
}

#[tokio::test]
async fn connections_beyond_the_limit_are_refused_before_tls() {
    let mut door = TestDoor::with(|config| config.connections_max = 1, SpoolSettings::default()).await;
    let _first = Client::connected(&mut door, "pc-1").await;
    let credentials = door.issue(FORCE, "pc-2", Mode::Test);
    assert!(Client::dial(&door, Some(&credentials), 5).await.is_err());
    door.refused(Reason::ConnectionLimit).await;
}

#[tokio::test]
async fn a_topic_alias_names_its_topic_for_the_rest_of_the_connection() {
    let mut door = TestDoor::open().await;
    let mut client = Client::connected(&mut door, "pc-1").await;
    let alias = [0x23, 0, 8];
    let named = client.publish_bytes("fp1/pc-1/backlog", 1, &alias, &position(Mode::Test, 0));
    let by_alias = client.publish_bytes("", 2, &alias, &position(Mode::Test, 1));
    client.send(&[named, by_alias].concat()).await;
    assert_eq!(client.hear().await, Heard::Puback { packet_id: 1, code: 0 });
    assert_eq!(client.hear().await, Heard::Puback { packet_id: 2, code: 0 });
    let lanes: Vec<_> = door.records().await.iter().map(|record| record.lane).collect();
    assert_eq!(lanes, [fieldpost_protocol::Lane::Backlog; 2]);
}

#[tokio::test]
async fn a_topic_of_one_letter_is_the_lane_of_the_device_that_the_certificate_names() {
    let mut door = TestDoor::open().await;
    let credentials = door.issue(FORCE, "pc-1", Mode::Test);
    for level in [4, 5] {
        let mut client = Client::dial(&door, Some(&credentials), level).await.unwrap();
        client.connect(&Connect::clean("pc-1")).await;
        client.hear().await;
        client.publish("b", 1, &position(Mode::Test, u32::from(level))).await;
        assert_eq!(client.hear().await, Heard::Puback { packet_id: 1, code: 0 });
    }
    let records = door.records().await;
    let lanes: Vec<_> = records.iter().map(|record| record.lane).collect();
    assert_eq!(lanes, [fieldpost_protocol::Lane::Backlog; 2]);
    assert!(records.iter().all(|record| record.device.as_str() == "pc-1"));
}

#[tokio::test]
async fn an_alias_of_a_foreign_topic_stays_foreign() {
    let mut door = TestDoor::open().await;
    let mut client = Client::connected(&mut door, "pc-1").await;
    for (packet_id, topic) in [(1, "fp1/pc-2/live"), (2, "")] {
        let bytes = client.publish_bytes(topic, packet_id, &[0x23, 0, 1], &position(Mode::Test, 0));
        client.send(&bytes).await;
        assert_eq!(client.hear().await, Heard::Puback { packet_id, code: 0x87 });
    }
}

#[tokio::test]
async fn the_newer_connection_takes_over() {
    let mut door = TestDoor::open().await;
    let credentials = door.issue(FORCE, "pc-1", Mode::Test);
    let mut old = Client::dial(&door, Some(&credentials), 5).await.unwrap();
    old.connect(&Connect::clean("pc-1")).await;
    old.hear().await;
    let mut new = Client::dial(&door, Some(&credentials), 5).await.unwrap();
    new.connect(&Connect::clean("pc-1")).await;
    assert!(matches!(new.hear().await, Heard::Connack { code: 0, .. }));
    assert_eq!(old.hear().await, Heard::Disconnect { code: 0x8E });
    assert_eq!(old.hear().await, Heard::End);
    door.ended(Reason::TakenOver).await;
    new.publish("fp1/pc-1/live", 1, &position(Mode::Test, 0)).await;
    assert_eq!(new.hear().await, Heard::Puback { packet_id: 1, code: 0 });
    assert_eq!(door.downlink.connected().len(), 1);
}

#[tokio::test]
async fn silence_beyond_one_and_a_half_keep_alives_ends_the_connection() {
    let mut door = TestDoor::open().await;
    let credentials = door.issue(FORCE, "pc-1", Mode::Test);
    let mut client = Client::dial(&door, Some(&credentials), 5).await.unwrap();
    let since = std::time::Instant::now();
    client.connect(&Connect { keep_alive_s: 1, ..Connect::clean("pc-1") }).await;
    client.hear().await;
    assert_eq!(client.hear().await, Heard::Disconnect { code: 0x8D });
    assert!(since.elapsed() >= Duration::from_millis(1400), "{:?}", since.elapsed());
    door.ended(Reason::KeepAlive).await;
}

#[tokio::test]
async fn a_drain_sends_what_is_due_and_asks_devices_to_come_back() {
    let mut door = TestDoor::open().await;
    let mut client = Client::connected(&mut door, "pc-1").await;
    door.disk.hold_syncs();
    client.publish("fp1/pc-1/live", 7, &position(Mode::Test, 0)).await;
    client.ping().await;
    assert_eq!(client.hear().await, Heard::Pingresp);
    let drain = door.door.drain(PATIENCE);
    let witness = async {
        door.until("closing", |door| door.downlink.connected().len() == 1).await;
        door.disk.release_syncs();
        assert_eq!(client.hear().await, Heard::Puback { packet_id: 7, code: 0 });
        assert_eq!(client.hear().await, Heard::Disconnect { code: 0x8B });
        assert_eq!(client.hear().await, Heard::End);
        drop(client);
    };
    tokio::join!(drain, witness);
    assert!(TcpStream::connect(door.door.address()).await.is_err());
}

/// Keeps what the whole process logs: a device is served by a desk's thread, not by its test's.
struct Lines;

static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LINES.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// From here on the log can be read.
fn keep_lines() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let subscriber = tracing_subscriber::fmt().json().with_writer(|| Lines).finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
}

#[tokio::test]
async fn a_refusal_is_one_structured_line_without_a_payload() {
    keep_lines();
    let mut door = TestDoor::open().await;
    // A device of no other test: what the log says of it is ours.
    let credentials = door.issue(FORCE, "pc-logged", Mode::Test);
    let mut client = Client::dial(&door, Some(&credentials), 5).await.unwrap();
    client.connect(&Connect::clean("pc-secret")).await;
    assert_eq!(client.hear().await, refusal(0x85));
    door.refused(Reason::ClientId).await;
    let mut client = Client::dial(&door, Some(&credentials), 5).await.unwrap();
    client.connect(&Connect::clean("pc-logged")).await;
    client.hear().await;
    client.publish("fp1/pc-3/live", 1, b"a secret place").await;
    client.hear().await;
    client.publish("fp1/pc-3/live", 2, b"a secret place").await;
    client.hear().await;
    client.send(&packet(0x34, b"\0\x12fp1/pc-logged/live\0\x01\0a secret place")).await;
    assert_eq!(client.hear().await, Heard::Disconnect { code: 0x9B });
    door.ended(Reason::QosNotSupported).await;
    let text = String::from_utf8(LINES.lock().unwrap().clone()).unwrap();
    let text: String =
        text.lines().filter(|line| line.contains("pc-logged")).map(|line| format!("{line}\n")).collect();
    let warnings: Vec<_> = text.lines().filter(|line| line.contains("\"WARN\"")).collect();
    assert_eq!(warnings.len(), 2, "{text}");
    assert!(warnings[0].contains("\"client-id\"") && warnings[0].contains("\"sim/pc-logged\""), "{text}");
    assert!(
        warnings[1].contains("\"qos-not-supported\"") && warnings[1].contains("\"foreign_topics\":2"),
        "{text}"
    );
    assert!(!text.contains("secret"), "{text}");
}

#[tokio::test]
async fn what_is_not_tls_is_refused_and_bounded() {
    let record = |kind: u8, body: &[u8]| {
        let len = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&[kind, 3, 1, len[0], len[1]], body].concat()
    };
    // A handshake message of 16 MiB that never ends.
    let mut endless = record(22, &[&[1, 0xFF, 0xFF, 0xFF][..], &[0; 16_000]].concat());
    endless.extend(record(22, &[0; 16_000]));
    let http = b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n".to_vec();
    let mqtt_in_clear = packet(0x10, b"\0\x04MQTT\x05\x02\0\x3c\0\0\x04pc-1");
    for bytes in [endless, http, mqtt_in_clear, record(23, &[0; 64]), vec![0x16, 3, 1, 0xFF, 0xFF]] {
        let door = TestDoor::open().await;
        let mut stream = TcpStream::connect(door.door.address()).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut alert = Vec::new();
        _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut alert)).await.unwrap();
        door.refused(Reason::TlsHandshake).await;
        door.until("gone", |door| door.metrics.ingest.connections.get() == 0).await;
    }
}

#[tokio::test]
async fn a_damaged_record_ends_the_connection_and_its_session_is_kept_in_order() {
    let mut door = TestDoor::open().await;
    let mut client = Client::connected(&mut door, "pc-1").await;
    client.send_in_clear(&[&[23, 3, 3, 0, 40][..], &[0xA5; 40]].concat()).await;
    assert_eq!(client.hear().await, Heard::End);
    door.ended(Reason::Malformed).await;
    door.until("gone", |door| door.metrics.ingest.devices.get() == 0).await;
    assert!(door.downlink.connected().is_empty());
}
