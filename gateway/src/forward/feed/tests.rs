//! What a feed promises.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use fieldpost_protocol::Lane;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::audit::What;
use crate::forward::event::{Gap, GapReason, Renderer};
use crate::forward::release::{Field, Fields, Forces, Kind, Kinds, Release};
use crate::forward::testing::{MemoryJournal, RECEIVED_MS, alarm_record, position_record};
use crate::live::standing::Quiet;
use crate::machines::{Change, Machines, NewMachine};
use crate::record::Record;
use crate::spool::{EntryClass, Lsn, RealDisk, SpoolSettings};

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
/// Of a machine that is stuck, not of one that is slow.
const PATIENCE: Duration = Duration::from_secs(60);

struct Site {
    spool: Spool,
    feeds: Feeds,
    journal: MemoryJournal,
    metrics: Arc<Metrics>,
    machine: Machine,
    _dir: tempfile::TempDir,
}

impl Site {
    fn new(release: Release) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = SpoolSettings::default();
        settings.segment_bytes = 2 << 20;
        let (spool, _) = Spool::open(&dir.path().join("spool"), settings, Arc::new(RealDisk)).unwrap();
        let machines = Machines::new(dir.path());
        let by = Change { by: "test".into(), at_ms: 0 };
        let token = machines.add(NewMachine { name: "cad".into(), release, days: 1 }, by).unwrap();
        let machine = machines.of_token(token.reveal(), 1).unwrap().unwrap();
        let (journal, metrics) = (MemoryJournal::default(), Metrics::new());
        let feeds = Feeds::new(
            spool.clone(),
            Disclosures::inline(journal.clone()),
            Quiet::shared(),
            Arc::clone(&metrics),
            ClockBounds::default(),
        );
        Self { spool, feeds, journal, metrics, machine, _dir: dir }
    }

    fn open(&self, cursor: Option<&str>) -> Client {
        let connection = self.feeds.open(&self.machine, HERE, cursor).unwrap();
        Client { connection, cursor: cursor.unwrap_or_default().to_owned(), seen: Vec::new() }
    }

    async fn append(&self, records: impl IntoIterator<Item = Record>) {
        let mut last = Lsn(0);
        for record in records {
            let class = match record.lane {
                Lane::Alarm => EntryClass::Alarm,
                Lane::Backlog => EntryClass::Backlog,
                _ => EntryClass::Live,
            };
            let mut bytes = BytesMut::new();
            record.encode(&mut bytes);
            last = self.spool.append(class, &bytes).await.unwrap();
        }
        self.spool.wait_committed(last).await.unwrap();
    }

    fn delivered(&self) -> u64 {
        self.metrics.forward.snapshot()[0].delivered_count
    }
}

/// Reads as the page says: the last cursor, and events by their id.
struct Client {
    connection: Connection,
    cursor: String,
    seen: Vec<Value>,
}

impl Client {
    /// Reads one message; false at the end.
    async fn read(&mut self) -> bool {
        let message = tokio::time::timeout(PATIENCE, self.connection.next()).await.expect("a message");
        let Some(message) = message else { return false };
        let text = String::from_utf8(message.to_vec()).unwrap();
        assert!(text.ends_with("\n\n"), "whole events: {text}");
        for event in text.trim_end().split("\n\n") {
            let fields: BTreeMap<_, _> = event.lines().filter_map(|line| line.split_once(": ")).collect();
            let data: Value = serde_json::from_str(fields["data"]).unwrap();
            if fields["event"] == "cursor" {
                assert_eq!(data["cursor"], fields["id"]);
                self.cursor = fields["id"].to_owned();
            } else {
                assert!(data["type"].as_str().unwrap().contains(fields["event"]), "{text}");
                self.seen.push(data);
            }
        }
        true
    }

    /// Reads until there are so many events and a cursor after them.
    async fn until(&mut self, count: usize) {
        while self.seen.len() < count {
            assert!(self.read().await);
        }
        assert!(self.read().await, "the cursor behind them");
    }

    fn ids(&self) -> Vec<&str> {
        self.seen.iter().map(|event| event["id"].as_str().unwrap()).collect()
    }
}

fn history(lsn: u64) -> Record {
    Record { lane: Lane::Backlog, ..position_record(lsn) }
}

fn keys(lsns: impl IntoIterator<Item = u64>) -> Vec<String> {
    lsns.into_iter().map(|lsn| format!("sim.pc-0001.3.{lsn}")).collect()
}

#[tokio::test]
async fn a_machine_goes_on_after_its_cursor_and_without_one_from_now_on() {
    let site = Site::new(Release::everything());
    site.append((1..=3).map(position_record)).await;
    let mut client = site.open(None);
    site.append((4..=5).map(position_record)).await;
    client.until(2).await;
    assert_eq!(client.ids(), keys(4..=5));
    let cursor = client.cursor.clone();
    drop(client);
    site.append([history(6), alarm_record(7), position_record(8)]).await;
    let mut client = site.open(Some(&cursor));
    client.until(3).await;
    assert_eq!(client.ids(), keys([7, 8, 6]), "alarms, then live, then history");
    let mut all = site.open(Some("0-0-0"));
    all.until(8).await;
    assert_eq!(all.ids().into_iter().collect::<BTreeSet<_>>().len(), 8);
    assert_eq!(site.journal.keys(What::RecordsDisclosed).len(), 8, "each is new once");
}

#[tokio::test]
async fn nothing_is_written_before_it_is_on_the_disclosure_log() {
    let site = Site::new(Release::everything());
    *site.journal.failures_left.lock().unwrap() = 2;
    let mut client = site.open(Some("0-0-0"));
    site.append((1..=3).map(position_record)).await;
    while client.seen.len() < 3 {
        assert!(client.read().await);
        let logged = site.journal.keys(What::RecordsDisclosed);
        assert!(client.ids().iter().all(|id| logged.iter().any(|key| key == id)), "{logged:?}");
    }
    assert_eq!(*site.journal.failures_left.lock().unwrap(), 0, "it did fail");
    let note = site.journal.notes.lock().unwrap()[0].disclosure.clone().unwrap();
    assert_eq!(
        (note.to.as_str(), note.kind.as_str(), note.address.as_str()),
        ("machine.cad", "feed", "127.0.0.1")
    );
}

#[tokio::test]
async fn a_newer_connection_of_a_machine_ends_the_older_one() {
    let site = Site::new(Release::everything());
    let mut older = site.open(None);
    let mut newer = site.open(None);
    while older.read().await {}
    site.append([position_record(1)]).await;
    newer.until(1).await;
    drop(newer);
    let gone = async {
        while !site.feeds.opened().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("its forwarder ends with it");
}

#[tokio::test]
async fn a_machine_that_reads_nothing_holds_a_bounded_part_of_what_waits_for_it() {
    let site = Site::new(Release::everything());
    let mut client = site.open(Some("0-0-0"));
    site.append((1..=3_000).map(position_record)).await;
    let full = async {
        while site.delivered() < BATCH_COUNT_MAX as u64 {
            tokio::task::yield_now().await;
        }
        // What could come now would come while others run.
        for _ in 0..10_000 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, full).await.unwrap();
    assert!(site.delivered() <= (WAITING_MAX * BATCH_COUNT_MAX) as u64, "{}", site.delivered());
    client.until(3_000).await;
    assert_eq!(client.ids().into_iter().collect::<BTreeSet<_>>().len(), 3_000);
}

#[tokio::test]
async fn what_is_not_released_is_not_there_and_is_still_stepped_over() {
    let release = Release {
        classes: Kinds::of(&[Kind::Alarm]),
        fields: Fields::of(&[Field::Alarm]),
        ..Release::everything()
    };
    let site = Site::new(release);
    site.append((1..=600).map(position_record)).await;
    site.append([alarm_record(601)]).await;
    let mut client = site.open(Some("0-0-0"));
    client.until(1).await;
    let alarm = &client.seen[0]["data"];
    assert!(alarm["geometry"].is_null() && alarm["properties"]["position"].is_null(), "{alarm}");
    assert!(alarm["properties"]["callsign"].is_null());
    assert_eq!(alarm["properties"]["mode"], "test", "also to a map that keeps features alone");
    let elsewhere = Release { forces: Forces::Only(BTreeSet::new()), ..Release::everything() };
    let nothing = Site::new(elsewhere);
    nothing.append((1..=600).map(position_record)).await;
    let mut client = nothing.open(Some("0-0-0"));
    assert!(client.read().await, "where it begins");
    let withheld = async {
        while nothing.metrics.forward.snapshot()[0].withheld_count < 600 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, withheld).await.unwrap();
    assert!(client.seen.is_empty() && nothing.journal.notes.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_place_that_was_stepped_to_is_told_within_seconds_however_quiet_it_is_and_however_the_wait_ends() {
    use crate::forward::source::{Lane as ForwardLane, Source as _};
    let site = Site::new(Release::everything());
    let (messages, mut told) = mpsc::channel(1);
    let places = LanePositions::all_at(Lsn(0));
    let limits = BatchLimits { count_max: 10, bytes_max: 1 << 20, age_ms_max: 5 };
    let mut source = FeedSource::new(&site.spool, places, limits, messages.clone());
    let soon = Duration::from_secs(6);
    source.pass(ForwardLane::Live, Lsn(0));
    assert!(tokio::time::timeout(soon, source.wait()).await.is_err(), "nothing to take");
    assert!(told.try_recv().is_ok(), "five seconds later");
    messages.try_send(Bytes::new()).unwrap();
    source.pass(ForwardLane::Live, Lsn(0));
    for _ in 0..2 {
        assert!(tokio::time::timeout(soon, source.wait()).await.is_err(), "the machine reads nothing");
    }
    assert!(told.recv().await.unwrap().is_empty());
    assert!(tokio::time::timeout(soon, source.wait()).await.is_err(), "nothing to take");
    assert!(told.try_recv().is_ok(), "it was not forgotten");
}

#[test]
fn a_feature_has_the_place_to_the_digit_and_the_events_own_data() {
    let mut renderer = Renderer::new(ClockBounds::default(), Release::everything());
    let mut out = BytesMut::new();
    geojson::write(&mut out, &renderer.event(&position_record(17)).unwrap(), &*Quiet::shared());
    let text = std::str::from_utf8(&out).unwrap();
    let page = include_str!("../../../../docs/sinks/feed.md");
    assert!(page.contains(text.trim_end()), "docs/sinks/feed.md shows this event:\n{text}");
    assert!(text.contains(r#""coordinates":[-0.127758,51.507400]"#), "{text}");
    let gap = Gap { first: Lsn(5), last: Lsn(9), reason: GapReason::Retention };
    let mut out = BytesMut::new();
    geojson::write(&mut out, &renderer.gap("machine.cad", &gap, RECEIVED_MS), &*Quiet::shared());
    let text = std::str::from_utf8(&out).unwrap();
    let data = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let gap: Value = serde_json::from_str(data).unwrap();
    assert!(text.starts_with("event: loss\n") && gap["data"]["geometry"].is_null());
    assert_eq!(gap["data"]["properties"]["count"], 5);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_wherever_the_connection_breaks(
        kinds in proptest::collection::vec(0..3_u8, 1..1_200),
        breaks in proptest::collection::vec(0..6_usize, 0..6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let site = Site::new(Release::everything());
            let record = |(kind, lsn): (&u8, u64)| match kind {
                0 => alarm_record(lsn),
                1 => history(lsn),
                _ => position_record(lsn),
            };
            site.append(kinds.iter().zip(1..).map(record)).await;
            let mut seen = BTreeSet::new();
            let mut cursor = "0-0-0".to_owned();
            for messages in breaks.into_iter().chain([usize::MAX]) {
                let mut client = site.open(Some(&cursor));
                for _ in 0..messages {
                    if seen.len() == kinds.len() {
                        break;
                    }
                    assert!(client.read().await);
                    seen.extend(client.ids().into_iter().map(ToOwned::to_owned));
                }
                cursor.clone_from(&client.cursor);
            }
            assert_eq!(seen.len(), kinds.len());
        });
    }
}
