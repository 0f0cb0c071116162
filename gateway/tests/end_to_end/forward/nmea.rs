//! Positions to the page's own server, which reads them with a parser that is not ours.

use fieldpost_gateway::config::template::TemplateValues;
use fieldpost_gateway::config::{Config, RELEASE_ALL};
use fieldpost_gateway::forward::Forwarders;
use fieldpost_gateway::init::{InitOptions, init};
use fieldpost_gateway::live::standing::Quiet;

use super::page::Program;
use super::rig::{Rig, disclosures, wait_for};
use crate::postgres_server::quiet_port;

const PAGE: &str = include_str!("../../../../docs/sinks/nmea.md");

#[tokio::test]
async fn a_parser_that_is_not_ours_reads_every_position_as_it_was() {
    let rig = Rig::new();
    let port = quiet_port();
    let release = RELEASE_ALL.replacen("[\"*\"]", "[\"sim\"]", 1);
    let appendix = format!(
        "[[forward.nmea]]\nurl = \"tcp://127.0.0.1:{port}\"\npositions = \"every\"\nmodes = \"every\"\n{release}\n"
    );
    let values = TemplateValues {
        appendix,
        forces: vec![("sim".to_owned(), "Simulated".to_owned())],
        ..TemplateValues::default()
    };
    let made = init(&rig.path("gateway"), &InitOptions { values, ..InitOptions::default() }).unwrap();
    let config = Config::load(&made.config).unwrap();
    let log = disclosures(&rig.path("log"));
    let mut forwarders = Forwarders::start(&config, &rig.spool, &rig.metrics, Quiet::shared(), &log).unwrap();
    // Nobody listens yet: nothing is lost.
    rig.append(1..=100).await;
    rig.append_alarm(101).await;
    let mut server = Program::start(PAGE, rig.dir.path(), "locate.py", &[&port.to_string()]);
    wait_for("every position to be read", || server.said().lines().count() >= 100).await;
    rig.append(102..=200).await;
    wait_for("the rest", || server.said().lines().count() >= 199).await;
    rig.until_drained().await;
    forwarders.stop().await;
    let said = server.said();
    assert_eq!(said.lines().count(), 199, "the alarm has no sentence: {said}");
    // 1.5 m/s are 2.92 knots; there is no course.
    let place = |seq: u32| format!("51.{} -0.120000 2.92 None A", 500_000 + seq);
    for seq in (1..=100).chain(102..=200) {
        let line =
            said.lines().find(|line| line.ends_with(&place(seq))).unwrap_or_else(|| panic!("{seq}: {said}"));
        assert!(line.starts_with("pc.0001 "), "{line}");
    }
    assert_eq!(rig.metrics.forward.snapshot()[0].delivered_count, 199);
}
