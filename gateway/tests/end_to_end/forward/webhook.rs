//! The webhook sink against a real HTTP server that refuses, hangs, fails, redirects and breaks off.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use fieldpost_gateway::forward::webhook::{WebhookSettings, WebhookSink};
use fieldpost_gateway::pki::Authority;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::page::Program;
use super::rig::{Rig, key, wait_for};
use super::webhook_server::{Inbox, Knob, WebhookServer, router};
use crate::postgres_server::quiet_port;

fn plain(url: String) -> WebhookSettings {
    WebhookSettings { url, authority: None, bearer_token_file: None, signing_keys_file: None }
}

fn sink(url: String) -> WebhookSink {
    WebhookSink::try_new(plain(url)).unwrap()
}

fn keys(last: u32) -> Vec<String> {
    (1..=last).map(key).collect()
}

/// Runs `records` records through a server that first does what `script` says.
async fn run(script: Vec<Knob>, records: u32) -> (Rig, WebhookServer) {
    let server = WebhookServer::start(Inbox::with_script(script)).await;
    let mut rig = Rig::new();
    rig.append(1..=records).await;
    rig.start(sink(server.url()));
    rig.until_drained().await;
    rig.stop().await;
    (rig, server)
}

/// Attempts counted under `reason`.
fn retries_count(rig: &Rig, reason: &str) -> u64 {
    let start = format!(r#"fieldpost_forward_retries_total{{forwarder="sink",reason="{reason}"}} "#);
    let metrics = rig.metrics.encode();
    let line = metrics.lines().find_map(|line| line.strip_prefix(&start)).expect("the series exists");
    line.parse().unwrap()
}

#[tokio::test]
async fn every_record_arrives_once_in_order_in_batches() {
    let (rig, server) = run(Vec::new(), 1000).await;
    assert_eq!(server.inbox.ids(), keys(1000));
    assert!(
        server.inbox.requests_count() <= 50,
        "{} requests for 1000 records",
        server.inbox.requests_count()
    );
    let idempotency_keys: BTreeSet<_> = server.inbox.batches().into_iter().map(|(key, _)| key).collect();
    assert_eq!(idempotency_keys.len(), server.inbox.requests_count());
    assert_eq!(rig.figures().delivered_count, 1000);
}

#[tokio::test]
async fn a_server_in_trouble_is_tried_again_and_nothing_is_taken_twice() {
    let script = [500, 502, 503, 429, 408, 404].map(|status| Knob::Answer(status, None));
    let (rig, server) = run(script.into(), 100).await;
    assert_eq!(server.inbox.ids(), keys(100));
    assert_eq!(retries_count(&rig, "failing"), 2);
    assert_eq!(retries_count(&rig, "overloaded"), 2);
    assert_eq!(retries_count(&rig, "timeout"), 1);
    assert_eq!(retries_count(&rig, "misconfigured"), 1);
}

#[tokio::test]
async fn a_server_that_asks_for_a_pause_gets_it() {
    let start = std::time::Instant::now();
    let (_, server) = run(vec![Knob::Answer(429, Some(("retry-after", "1")))], 10).await;
    assert!(start.elapsed().as_millis() >= 1000);
    assert_eq!(server.inbox.ids(), keys(10));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = WebhookServer::start(Inbox::default()).await;
    let location: &'static str = elsewhere.url().leak();
    let script = [301, 302, 307, 308].map(|status| Knob::Answer(status, Some(("location", location))));
    let (rig, server) = run(script.into(), 10).await;
    assert_eq!(elsewhere.inbox.requests_count(), 0);
    assert_eq!(server.inbox.ids(), keys(10));
    assert_eq!(retries_count(&rig, "misconfigured"), 4);
}

#[tokio::test]
async fn a_server_that_hangs_or_breaks_off_gets_the_same_batch_with_the_same_keys() {
    for (knob, reason) in [(Knob::HangAfterTaking, "timeout"), (Knob::BreakOff, "interrupted")] {
        let (rig, server) = run(vec![knob], 10).await;
        let batches = server.inbox.batches();
        assert!(batches.len() >= 2);
        assert_eq!(batches[0], batches[1], "the repetition is identical, its idempotency key too");
        let distinct: BTreeSet<_> = server.inbox.ids().into_iter().collect();
        assert_eq!(distinct, keys(10).into_iter().collect());
        assert_eq!(retries_count(&rig, reason), 1);
    }
}

#[tokio::test]
async fn an_endless_answer_is_not_read_and_the_batch_counts_as_taken() {
    let (rig, server) = run(vec![Knob::Flood], 10).await;
    assert_eq!(server.inbox.ids(), keys(10));
    assert_eq!(rig.figures().delivered_count, 10);
}

#[tokio::test]
async fn poison_is_isolated_set_aside_with_its_reason_and_blocks_nothing() {
    let server = WebhookServer::start(Inbox::default()).await;
    server.inbox.poison([7, 130, 131].map(key));
    let mut rig = Rig::new();
    rig.append(1..=300).await;
    rig.start(sink(server.url()));
    rig.until_drained().await;
    rig.stop().await;
    let good: Vec<_> = (1..=300).filter(|seq| ![7, 130, 131].contains(seq)).map(key).collect();
    assert_eq!(server.inbox.ids(), good);
    assert_eq!(rig.figures().refused_count, 3);
    let refused = std::fs::read_to_string(rig.path("refused.ndjson")).unwrap();
    let ids: Vec<String> = refused
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| line["event"]["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids, [7, 130, 131].map(key));
}

#[tokio::test]
async fn an_alarm_does_not_wait_behind_the_backlog_of_an_outage() {
    let server = WebhookServer::start(Inbox::with_script([Knob::Answer(503, None)])).await;
    let mut rig = Rig::new();
    rig.append(1..=20_000).await;
    rig.append_alarm(20_001).await;
    rig.append(20_002..=20_100).await;
    rig.start(sink(server.url()));
    rig.until_drained().await;
    rig.stop().await;
    let ids = server.inbox.ids();
    let place = ids.iter().position(|id| *id == key(20_001)).expect("the alarm arrives");
    assert!(place <= 200, "the alarm came as number {place} of {}", ids.len());
    let distinct: BTreeSet<_> = ids.iter().cloned().collect();
    assert_eq!((ids.len(), distinct.len()), (20_100, 20_100), "everything once, the alarm too");
}

#[tokio::test]
async fn a_server_that_is_gone_is_waited_for() {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], quiet_port()));
    let mut rig = Rig::new();
    rig.append(1..=100).await;
    rig.start(sink(format!("http://{address}/events")));
    rig.until("a failure", |figures| figures.is_failing).await;
    assert!(retries_count(&rig, "unreachable") >= 1);
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let inbox = Inbox::default();
    let app = router(inbox.clone());
    let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    rig.until_drained().await;
    rig.stop().await;
    assert_eq!(inbox.ids(), keys(100));
    task.abort();
}

#[tokio::test]
async fn a_wrong_token_condemns_no_event_and_a_new_one_is_used_without_a_restart() {
    let server = WebhookServer::start(Inbox::default()).await;
    server.inbox.require_token("right");
    let mut rig = Rig::new();
    let token = rig.path("token");
    std::fs::write(&token, "wrong\n").unwrap();
    rig.append(1..=50).await;
    let settings = WebhookSettings { bearer_token_file: Some(token.clone()), ..plain(server.url()) };
    rig.start(WebhookSink::try_new(settings).unwrap());
    rig.until("a failure", |figures| figures.is_failing).await;
    assert!(retries_count(&rig, "credentials") >= 1);
    assert_eq!(rig.figures().refused_count, 0);
    std::fs::write(&token, "right\n").unwrap();
    rig.until_drained().await;
    rig.stop().await;
    assert_eq!(server.inbox.ids(), keys(50));
}

/// Takes TLS off and passes the bytes on to `server`.
pub(crate) async fn tls_front(
    certificate_pem: &str,
    key_pem: &str,
    server: std::net::SocketAddr,
) -> std::net::SocketAddr {
    let chain = CertificateDer::pem_slice_iter(certificate_pem.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut outside) = acceptor.accept(stream).await else { return };
                let mut inside = tokio::net::TcpStream::connect(server).await.unwrap();
                let _ended = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn over_tls_only_the_configured_authority_is_trusted() {
    let server = WebhookServer::start(Inbox::default()).await;
    let mut rig = Rig::new();
    let mut authority = Authority::create(&rig.path("pki")).unwrap();
    let issued = authority.issue_server(&["127.0.0.1".to_owned()], 1).unwrap();
    let front = tls_front(&issued.certificate_pem, &issued.key_pem, server.address).await;
    let write = |name: &str, pem: &str| -> PathBuf {
        let path = rig.path(name);
        std::fs::write(&path, pem).unwrap();
        path
    };
    let stranger = Authority::create(&rig.path("stranger")).unwrap();
    let (ours, strangers) =
        (write("ours.pem", authority.certificate_pem()), write("strangers.pem", stranger.certificate_pem()));
    let sink = |authority| {
        let url = format!("https://{front}/events");
        WebhookSink::try_new(WebhookSettings { authority: Some(authority), ..plain(url) }).unwrap()
    };
    rig.append(1..=20).await;
    rig.start(sink(strangers));
    rig.until("a failure", |figures| figures.is_failing).await;
    assert_eq!(server.inbox.requests_count(), 0);
    rig.stop().await;
    rig.start(sink(ours));
    rig.until_drained().await;
    rig.stop().await;
    assert_eq!(server.inbox.ids(), keys(20));
}

#[tokio::test]
async fn signed_requests_are_verified_by_a_library_that_is_not_ours_also_while_a_key_is_changed() {
    let page = include_str!("../../../../docs/sinks/webhook.md");
    let old = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let new = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let stranger = "whsec_HxscHR4fGhkYFxYVFBMSERAPDg0MCwoJCAcGBQQDAgE=";
    let mut rig = Rig::new();
    let (keys, port) = (rig.path("keys"), quiet_port());
    let write = |text: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::write(&keys, text).unwrap();
        std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    let port_text = port.to_string();
    let receiver = |key| Program::start(page, rig.dir.path(), "receive.py", &[&port_text, key]);
    write(stranger);
    let mut receiving = receiver(old);
    rig.append(1..=50).await;
    let url = format!("http://127.0.0.1:{port}/events");
    let settings = WebhookSettings { signing_keys_file: Some(keys.clone()), ..plain(url) };
    rig.start(WebhookSink::try_new(settings).unwrap());
    wait_for("a wrong signature to be refused", || {
        receiving.said().contains("refused: No matching signature found")
    })
    .await;
    write(&format!("{new}\n{old}\n"));
    rig.until_drained().await;
    assert!(receiving.said().contains("50 events"), "{}", receiving.said());
    assert_eq!(rig.figures().refused_count, 0, "a wrong key condemns no event");
    // The receiver changes to the new key, then the old one goes.
    drop(receiving);
    let mut receiving = Program::start(page, rig.dir.path(), "receive.py", &[&port_text, new]);
    rig.append(51..=80).await;
    rig.until_drained().await;
    write(new);
    rig.append(81..=100).await;
    rig.until_drained().await;
    assert!(receiving.said().contains("100 events"), "{}", receiving.said());
    rig.stop().await;
}
