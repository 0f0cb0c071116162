//! Logging in to NATS: the configured authority, client certificates, credentials files.

use std::path::{Path, PathBuf};

use async_nats::jetstream;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fieldpost_gateway::forward::nats::{NatsSettings, NatsSink};
use fieldpost_gateway::pki::Authority;
use fieldpost_protocol::{DeviceId, ForceId, Mode};
use serde_json::{Value, json};

use super::nats::{STREAM, settings};
use super::nats_server::{NatsServer, read_stream};
use super::rig::{Rig, key};

fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[tokio::test]
async fn with_tls_the_server_is_checked_and_our_certificate_shown() {
    let mut rig = Rig::new();
    let mut authority = Authority::create(&rig.path("pki")).unwrap();
    let shown = authority.issue_server(&["127.0.0.1".to_owned()], 1).unwrap();
    let ours = authority
        .issue_device(
            &ForceId::try_new("sim").unwrap(),
            &DeviceId::try_new("gateway").unwrap(),
            Mode::Test,
            1,
        )
        .unwrap();
    let ca = write(rig.dir.path(), "ca.pem", authority.certificate_pem());
    let client = (
        write(rig.dir.path(), "client.pem", &ours.certificate_pem),
        write(rig.dir.path(), "client.key", &ours.key_pem),
    );
    let server = NatsServer::start_with(|dir| {
        let (certificate, key) =
            (write(dir, "server.pem", &shown.certificate_pem), write(dir, "server.key", &shown.key_pem));
        format!("tls {{ cert_file: {certificate:?}, key_file: {key:?}, ca_file: {ca:?}, verify: true }}")
    })
    .await;
    let url = format!("tls://{}", server.address());
    let stranger = Authority::create(&rig.path("stranger")).unwrap();
    let strangers_ca = write(rig.dir.path(), "stranger.pem", stranger.certificate_pem());

    rig.append(1..=20).await;
    let with_us =
        NatsSettings { url, authority: Some(ca.clone()), client: Some(client.clone()), ..settings(&server) };
    let without_certificate = NatsSettings { client: None, ..with_us.clone() };
    let with_stranger = NatsSettings { authority: Some(strangers_ca), ..with_us.clone() };
    for wrong in [without_certificate, with_stranger] {
        rig.start(NatsSink::new(wrong));
        rig.until("a failure", |figures| figures.is_failing).await;
        rig.stop().await;
    }
    assert_eq!(rig.figures().delivered_count, 0);
    rig.start(NatsSink::new(with_us.clone()));
    rig.until_drained().await;
    rig.stop().await;

    let options = async_nats::ConnectOptions::new()
        .add_root_certificates(ca)
        .add_client_certificate(client.0, client.1)
        .require_tls(true);
    let context = jetstream::new(options.connect(&with_us.url).await.unwrap());
    let ids: Vec<_> =
        read_stream(&context, STREAM).await.into_iter().map(|stored| stored.message_id).collect();
    assert_eq!(ids, (1..=20).map(key).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_credentials_file_logs_in_and_a_wrong_one_condemns_no_event() {
    let (operator, account, user) = (Nkey::new(b'O', 1), Nkey::new(b'A', 2), Nkey::new(b'U', 3));
    let (stranger, system) = (Nkey::new(b'U', 4), Nkey::new(b'A', 5));
    let server = NatsServer::start_with(|dir| {
        let operator_jwt = operator.sign(&operator.public(), &json!({"type": "operator", "version": 2}));
        let account_jwt = operator.sign(&account.public(), &account_claims(-1));
        // JetStream wants a system account; one with limits of its own may not have JetStream.
        let system_jwt = operator.sign(&system.public(), &account_claims(0));
        let operator_file = write(dir, "operator.jwt", &operator_jwt);
        format!(
            "operator: {operator_file:?}\nsystem_account: {system}\nresolver: MEMORY\n\
             resolver_preload {{ {}: {account_jwt:?}, {system}: {system_jwt:?} }}",
            account.public(),
            system = system.public(),
        )
    })
    .await;
    let mut rig = Rig::new();
    let jwt = account.sign(&user.public(), &user_claims());
    let path = write(rig.dir.path(), "nats.creds", &creds(&jwt, &stranger));
    rig.append(1..=20).await;
    let settings = NatsSettings { credentials: Some(path.clone()), ..settings(&server) };
    rig.start(NatsSink::new(settings));
    rig.until("a failure", |figures| figures.is_failing).await;
    let counted = r#"fieldpost_forward_retries_total{forwarder="sink",reason="credentials"} 0"#;
    assert!(!rig.metrics.encode().contains(counted), "it counts as a matter of credentials");
    assert_eq!(rig.figures().refused_count, 0);
    // The file is read again after a refusal: putting the right one there is enough.
    std::fs::write(&path, creds(&jwt, &user)).unwrap();
    rig.until_drained().await;
    rig.stop().await;
    assert_eq!(rig.figures().delivered_count, 20);
}

fn creds(jwt: &str, key: &Nkey) -> String {
    format!(
        "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
        key.seed()
    )
}

fn account_claims(storage_bytes_max: i64) -> Value {
    json!({
        "type": "account", "version": 2,
        "limits": {
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1,
            "leaf": -1, "mem_storage": storage_bytes_max, "disk_storage": storage_bytes_max, "streams": storage_bytes_max,
            "consumer": storage_bytes_max
        },
        "default_permissions": {"pub": {}, "sub": {}}
    })
}

fn user_claims() -> Value {
    json!({"type": "user", "version": 2, "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1})
}

/// A NATS key (NATS ADR-14), with the signing that a force's own tool does.
struct Nkey {
    kind: u8,
    seed: [u8; 32],
}

impl Nkey {
    fn new(kind: u8, number: u8) -> Self {
        Self { kind, seed: [number; 32] }
    }

    fn prefix(&self) -> u8 {
        (self.kind - b'A') << 3
    }

    fn pair(&self) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&self.seed).unwrap()
    }

    fn public(&self) -> String {
        encode(&[&[self.prefix()], self.pair().public_key().as_ref()].concat())
    }

    fn seed(&self) -> String {
        let prefix = [18 << 3 | self.prefix() >> 5, self.prefix() << 3];
        encode(&[&prefix[..], &self.seed].concat())
    }

    /// A JWT about `subject`.
    fn sign(&self, subject: &str, claims: &Value) -> String {
        let header = json!({"typ": "JWT", "alg": "ed25519-nkey"});
        let body = json!({
            "jti": subject, "iat": 1_700_000_000, "iss": self.public(), "name": "test", "sub": subject, "nats": claims
        });
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&body));
        let signature = self.pair().sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn encode(raw: &[u8]) -> String {
    let mut crc = 0_u16;
    for byte in raw {
        for bit in (0..8).rev() {
            let is_set = (crc >> 15) ^ u16::from(byte >> bit & 1) == 1;
            crc = if is_set { crc << 1 ^ 0x1021 } else { crc << 1 };
        }
    }
    let bytes = [raw, &crc.to_le_bytes()].concat();
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    bits.chunks(5)
        .map(|chunk| (0..5).fold(0, |value, bit| value << 1 | chunk.get(bit).copied().unwrap_or(0)))
        .map(|value| char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[usize::from(value)]))
        .collect()
}
