//! The authority and the TLS set-up against real rustls handshakes, in memory.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use fieldpost_protocol::{DeviceId, ForceId, Mode};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConnection};

use super::*;
use crate::config::Config;
use crate::init::{InitOptions, init};

struct House {
    dir: tempfile::TempDir,
    authority: Authority,
}

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = init(dir.path(), &InitOptions::default()).unwrap().authority;
        Self { dir, authority }
    }

    fn config(&self) -> Config {
        Config::load(&self.dir.path().join("gateway.toml")).unwrap()
    }

    fn tls(&self) -> FrontDoorTls {
        FrontDoorTls::new(&self.config().front_door).unwrap()
    }

    fn issue(&mut self, device: &str) -> Issued {
        self.authority.issue_device(&force(), &DeviceId::try_new(device).unwrap(), Mode::Test, 30).unwrap()
    }
}

fn force() -> ForceId {
    ForceId::try_new("demo").unwrap()
}

fn device(name: &str) -> DeviceId {
    DeviceId::try_new(name).unwrap()
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

fn client(ca_pem: &str, own: Option<&Issued>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(der(ca_pem)).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    Arc::new(match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let key = PrivateKeyDer::from_pem_slice(own.key_pem.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![der(&own.certificate_pem)], key).unwrap()
        }
    })
}

/// Runs a whole handshake and some data, and asks after a resumed one as the front door does. Gives the server's side, or
/// the first error of either.
fn shake(
    tls: &FrontDoorTls,
    client_config: &Arc<ClientConfig>,
    name: &str,
) -> Result<ServerConnection, rustls::Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::clone(client_config), name).unwrap();
    let mut server = ServerConnection::new(tls.server_config()).unwrap();
    // Twice as many turns as a full handshake takes, so that the ticket arrives.
    for _ in 0..8 {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    if server.handshake_kind() == Some(HandshakeKind::Resumed) {
        tls.recheck(server.peer_certificates().unwrap(), UnixTime::now())?;
    }
    Ok(server)
}

#[test]
fn issued_device_gets_in_and_is_who_its_certificate_says() {
    let mut house = House::new();
    let issued = house.issue("bwc-1");
    let server = shake(&house.tls(), &client(&issued.ca_pem, Some(&issued)), "localhost").unwrap();
    assert_eq!(server.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    let identity = device_identity(&server.peer_certificates().unwrap()[0]).unwrap();
    assert_eq!((identity.force, identity.device, identity.ceiling), (force(), device("bwc-1"), Mode::Test));
    assert_eq!(identity.serial.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), issued.serial);
}

#[test]
fn server_certificate_holds_for_its_names_only() {
    let mut house = House::new();
    let issued = house.issue("bwc-1");
    let config = client(&issued.ca_pem, Some(&issued));
    assert!(shake(&house.tls(), &config, "127.0.0.1").is_ok());
    assert!(shake(&house.tls(), &config, "gateway.example").is_err());
}

#[test]
fn no_certificate_foreign_certificate_and_server_certificate_are_refused() {
    let mut house = House::new();
    let mut stranger = House::new();
    let tls = house.tls();
    let ca = house.authority.certificate_pem().to_owned();
    assert!(matches!(
        shake(&tls, &client(&ca, None), "localhost"),
        Err(rustls::Error::NoCertificatesPresented)
    ));
    let foreign = stranger.issue("bwc-1");
    assert!(shake(&tls, &client(&ca, Some(&foreign)), "localhost").is_err());
    let server = house.authority.issue_server(&["localhost".into()], 30).unwrap();
    assert!(shake(&tls, &client(&ca, Some(&server)), "localhost").is_err(), "serverAuth is not clientAuth");
}

#[test]
fn expired_certificate_is_refused() {
    let mut house = House::new();
    let long_ago = Validity { from_s: 1_600_000_000, to_s: 1_600_086_400 };
    let request = DeviceRequest {
        force: force(),
        device: device("old"),
        mode: Mode::Test,
        validity: long_ago,
        replace: false,
    };
    let issued = house.authority.issue_devices(&[request]).unwrap().remove(0);
    let error = shake(&house.tls(), &client(&issued.ca_pem, Some(&issued)), "localhost").unwrap_err();
    assert!(error.to_string().contains("expired"), "{error}");
}

#[test]
fn revoked_certificate_is_refused_after_renewal_without_a_new_listener() {
    let mut house = House::new();
    let (lost, kept) = (house.issue("lost"), house.issue("kept"));
    let tls = house.tls();
    let (lost_client, kept_client) = (client(&lost.ca_pem, Some(&lost)), client(&kept.ca_pem, Some(&kept)));
    assert!(shake(&tls, &lost_client, "localhost").is_ok());
    let revoked = house.authority.revoke(&Revoke::Device(force(), device("lost"))).unwrap();
    assert_eq!(revoked, std::slice::from_ref(&lost.serial));
    tls.renew(&house.config().front_door).unwrap();
    let error = shake(&tls, &lost_client, "localhost").unwrap_err();
    assert!(matches!(error, rustls::Error::InvalidCertificate(rustls::CertificateError::Revoked)), "{error}");
    assert!(shake(&tls, &kept_client, "localhost").is_ok());
}

#[test]
fn second_connection_takes_the_session_up_and_still_shows_who_it_is() {
    let mut house = House::new();
    let issued = house.issue("bwc-1");
    let (tls, config) = (house.tls(), client(&issued.ca_pem, Some(&issued)));
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
        let server = shake(&tls, &config, "localhost").unwrap();
        assert_eq!(server.handshake_kind(), Some(kind));
        let identity = device_identity(&server.peer_certificates().unwrap()[0]).unwrap();
        assert_eq!(identity.device, device("bwc-1"));
    }
}

#[test]
fn whoever_may_not_come_in_any_more_does_not_with_an_earlier_session() {
    let mut house = House::new();
    let issued = house.issue("bwc-1");
    let now_s = authority::now_s();
    house.authority.write_list_for_tests(now_s, now_s + 10 * 86_400);
    let (tls, config) = (house.tls(), client(&issued.ca_pem, Some(&issued)));
    let first = shake(&tls, &config, "localhost").unwrap();
    let chain = first.peer_certificates().unwrap();
    let after = |days: i64| UnixTime::since_unix_epoch(Duration::from_secs((now_s + days * 86_400) as u64));
    assert!(tls.recheck(chain, after(0)).is_ok());
    // The list's date comes before the certificate's: each is its own reason.
    let why = |days| format!("{:?}", tls.recheck(chain, after(days)).unwrap_err());
    assert!(why(20).contains("ExpiredRevocationList"), "{}", why(20));
    assert!(why(31).contains("(Expired"), "{}", why(31));
    // Revoked, with a session that has not been taken up.
    house.authority.revoke(&Revoke::Device(force(), device("bwc-1"))).unwrap();
    tls.renew(&house.config().front_door).unwrap();
    assert!(format!("{:?}", shake(&tls, &config, "localhost").unwrap_err()).contains("Revoked"));
    // Another authority.
    let other = House::new();
    tls.renew(&other.config().front_door).unwrap();
    assert!(format!("{:?}", tls.recheck(chain, after(0)).unwrap_err()).contains("Unknown"));
}

#[test]
fn expired_revocation_list_refuses_every_device() {
    let mut house = House::new();
    let issued = house.issue("bwc-1");
    // Signed by the same authority, but its date has passed.
    house.authority.write_list_for_tests(1_600_000_000, 1_600_086_400);
    let config = house.config();
    assert!(config.warnings.to_string().contains("has expired"), "{}", config.warnings);
    let error = shake(&house.tls(), &client(&issued.ca_pem, Some(&issued)), "localhost").unwrap_err();
    assert!(
        matches!(&error, rustls::Error::InvalidCertificate(reason) if format!("{reason:?}").contains("ExpiredRevocationList")),
        "{error:?}"
    );
}

#[test]
fn active_device_is_not_issued_twice_unless_replaced() {
    let mut house = House::new();
    let first = house.issue("bwc-1");
    let again = house.authority.issue_device(&force(), &device("bwc-1"), Mode::Actual, 30);
    assert!(matches!(again, Err(AuthorityError::DeviceActive { serial, .. }) if serial == first.serial));
    let validity = Validity::days_from(authority::now_s(), 30);
    let request =
        DeviceRequest { force: force(), device: device("bwc-1"), mode: Mode::Test, validity, replace: true };
    let twice = house.authority.issue_devices(&[request.clone(), request.clone()]);
    assert!(matches!(twice, Err(AuthorityError::Request(_))), "one request a device");
    let second = house.authority.issue_devices(&[request]).unwrap().remove(0);
    assert_ne!(first.serial, second.serial);
    let tls = house.tls();
    assert!(shake(&tls, &client(&first.ca_pem, Some(&first)), "localhost").is_err());
    assert!(shake(&tls, &client(&second.ca_pem, Some(&second)), "localhost").is_ok());
}

#[test]
fn memory_of_the_authority_survives_reopening_and_a_torn_last_line() {
    let mut house = House::new();
    let issued = house.issue("bwc-1");
    house.authority.revoke(&Revoke::Serial(issued.serial.to_uppercase())).unwrap();
    let before = house.authority.entries().to_vec();
    let index_path = house.dir.path().join("pki/index.jsonl");
    let House { dir, authority } = house;
    drop(authority);
    let whole = fs::read_to_string(&index_path).unwrap();
    fs::write(&index_path, format!("{whole}{{\"at\":\"2026-11-2")).unwrap();
    let mut reopened = Authority::open(&dir.path().join("pki")).unwrap();
    assert_eq!(reopened.entries(), before);
    assert_eq!(fs::read_to_string(&index_path).unwrap(), whole);
    let number_before = whole.matches("revocation_list").count();
    reopened.crl(7).unwrap();
    let list = crate::config::material::RevocationList::load(&reopened.list_path()).unwrap();
    assert!(
        list.revokes(
            &(0..16)
                .map(|at| u8::from_str_radix(&issued.serial[at * 2..at * 2 + 2], 16).unwrap())
                .collect::<Vec<_>>()
        )
    );
    assert_eq!(
        fs::read_to_string(&index_path).unwrap().matches("revocation_list").count(),
        number_before + 1
    );
    drop(reopened);
    fs::write(&index_path, whole.replacen("issue_server", "issue_nonsense", 1)).unwrap();
    assert!(matches!(
        Authority::open(&dir.path().join("pki")),
        Err(AuthorityError::DamagedIndex { line: 3, .. })
    ));
}

/// The index is written first, then the list: whatever a crash leaves, opening the authority finishes the revocation.
#[test]
fn revocation_interrupted_by_a_crash_is_finished_at_the_next_opening() {
    let serial_bytes = |serial: &str| {
        (0..16).map(|at| u8::from_str_radix(&serial[at * 2..at * 2 + 2], 16).unwrap()).collect::<Vec<_>>()
    };
    for crash_before_list_line in [true, false] {
        let mut house = House::new();
        let issued = house.issue("lost");
        let (pki, list) = (house.dir.path().join("pki"), house.authority.list_path());
        let old_list = fs::read(&list).unwrap();
        house.authority.revoke(&Revoke::Serial(issued.serial.clone())).unwrap();
        let House { dir: _dir, authority } = house;
        drop(authority);
        // The new list never reached the disk, and perhaps neither did the line that announces it.
        fs::write(&list, old_list).unwrap();
        if crash_before_list_line {
            let index = fs::read_to_string(pki.join("index.jsonl")).unwrap();
            let lines: Vec<_> = index.lines().collect();
            fs::write(pki.join("index.jsonl"), lines[..lines.len() - 1].join("\n") + "\n").unwrap();
        }
        let load = || crate::config::material::RevocationList::load(&list).unwrap();
        assert!(!load().revokes(&serial_bytes(&issued.serial)));
        drop(Authority::open(&pki).unwrap());
        assert!(
            load().revokes(&serial_bytes(&issued.serial)),
            "crash_before_list_line {crash_before_list_line}"
        );
    }
}

#[test]
fn keys_are_private_and_serials_never_repeat() {
    let mut house = House::new();
    for key in ["ca.key", "server.key"] {
        let mode = fs::metadata(house.dir.path().join("pki").join(key)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
    let serials: std::collections::HashSet<_> =
        (0..50).map(|number| house.issue(&format!("d{number}")).serial).collect();
    assert_eq!(serials.len(), 50);
    assert!(serials.iter().all(|serial| serial.len() == 32));
}

#[test]
fn bad_requests_are_refused_by_name() {
    let mut house = House::new();
    assert!(matches!(
        house.authority.issue_server(&["not a name".into()], 1),
        Err(AuthorityError::ServerName(_))
    ));
    assert!(matches!(house.authority.issue_server(&[], 1), Err(AuthorityError::Request(_))));
    assert!(matches!(
        house.authority.revoke(&Revoke::Serial("00".into())),
        Err(AuthorityError::NothingToRevoke(_))
    ));
    assert!(matches!(Authority::create(&house.dir.path().join("pki")), Err(AuthorityError::Exists(_))));
    assert!(matches!(Authority::open(house.dir.path()), Err(AuthorityError::Missing(_))));
}
