//! Three sinks side by side, as a configuration file starts them.

use std::collections::BTreeSet;
use std::path::Path;

use fieldpost_gateway::config::template::TemplateValues;
use fieldpost_gateway::config::{Config, RELEASE_ALL};
use fieldpost_gateway::forward::Forwarders;
use fieldpost_gateway::init::{InitOptions, init};
use fieldpost_gateway::live::standing::Quiet;

use super::nats_server::NatsServer;
use super::rig::{Rig, disclosures, key, wait_for};
use super::webhook_server::{Inbox, WebhookServer};

fn config(dir: &Path, sinks: &str) -> Config {
    let values = TemplateValues { appendix: sinks.to_owned(), ..TemplateValues::default() };
    Config::load(&init(dir, &InitOptions { values, ..InitOptions::default() }).unwrap().config).unwrap()
}

fn ids(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let id =
        |line| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
    // The sink may be writing just now: a line is whole once it ends.
    text.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(id).collect()
}

#[tokio::test]
async fn every_sink_gets_everything_at_its_own_pace_and_a_reload_begins_where_it_ended() {
    let rig = Rig::new();
    let nats = NatsServer::start().await;
    let webhook = WebhookServer::start(Inbox::default()).await;
    let (first, second) = (rig.path("first.ndjson"), rig.path("second.ndjson"));
    let sinks = |file: &Path| {
        format!(
            "[[forward.nats]]\nurl = {:?}\nstream = \"RECORDS\"\nsubject_prefix = \"police\"\n{RELEASE_ALL}\n\
             [[forward.webhook]]\nurl = {:?}\n{RELEASE_ALL}\n[[forward.file]]\npath = {file:?}\n{RELEASE_ALL}\n",
            nats.url(),
            webhook.url(),
        )
    };
    let before = config(&rig.path("before"), &sinks(&first));
    let after = config(&rig.path("after"), &sinks(&second));

    rig.append(1..=500).await;
    let log = disclosures(&rig.path("log"));
    let mut forwarders = Forwarders::start(&before, &rig.spool, &rig.metrics, Quiet::shared(), &log).unwrap();
    rig.until_drained().await;
    forwarders.reload(&after, &rig.spool, &rig.metrics).await.unwrap();
    rig.append(501..=800).await;
    rig.until_drained().await;
    forwarders.stop().await;

    assert_eq!(ids(&first), (1..=500).map(key).collect::<Vec<_>>());
    assert_eq!(ids(&second), (501..=800).map(key).collect::<Vec<_>>());
    assert_eq!(webhook.inbox.ids(), (1..=800).map(key).collect::<Vec<_>>());
    let stored = nats.stored("RECORDS").await;
    assert_eq!(stored.len(), 800);
    assert!(stored.iter().all(|message| message.subject == "police.sim.position.pc%2E0001"));
    let figures = rig.metrics.forward.snapshot();
    assert_eq!(figures.iter().map(|figures| figures.delivered_count).collect::<Vec<_>>(), [800, 800, 800]);
}

#[tokio::test]
async fn a_sink_that_is_down_holds_up_no_other_and_its_records_are_kept() {
    let rig = Rig::new();
    let mut nats = NatsServer::start().await;
    nats.kill();
    let file = rig.path("events.ndjson");
    let sinks = format!(
        "[[forward.nats]]\nurl = {:?}\n{RELEASE_ALL}\n[[forward.file]]\npath = {file:?}\n{RELEASE_ALL}\n",
        nats.url()
    );
    let config = config(&rig.path("gateway"), &sinks);
    let log = disclosures(&rig.path("log"));
    let mut forwarders = Forwarders::start(&config, &rig.spool, &rig.metrics, Quiet::shared(), &log).unwrap();
    rig.append(1..=300).await;
    wait_for("the file to have everything", || ids(&file).len() == 300).await;
    wait_for("the other sink to be marked", || {
        let figures = rig.metrics.forward.snapshot();
        figures.iter().any(|figures| figures.is_failing && figures.delivered_count == 0)
    })
    .await;
    nats.run().await;
    rig.until_drained().await;
    forwarders.stop().await;
    let distinct: BTreeSet<_> =
        nats.stored("FIELDPOST").await.into_iter().map(|stored| stored.message_id).collect();
    assert_eq!(distinct, (1..=300).map(key).collect());
}
