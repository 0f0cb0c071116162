//! `fieldpost trace` over a data directory: outputs that are done, behind, not released and refused, and an alarm's receipts.

mod sinks;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use fieldpost_gateway::audit::{AccessFiles, Series};
use fieldpost_gateway::forward::release::{Disclosures, Release, Whom};
use fieldpost_gateway::record::{QuarantineReason, Record, RecordKind};
use fieldpost_gateway::spool::{Clock, EntryClass, LanePositions, Lsn, RealDisk, Spool, SpoolSettings};
use fieldpost_protocol::{Alarm, AlarmCause, Class, DeviceId, ForceId, Lane, Mode};
use serde_json::json;

use crate::mqtt::{a_position, envelope, head, position};
use crate::process::{binary, new_gateway};

const RECEIVED_MS: u64 = 1_790_000_000_000;
const OUTPUTS: &str = r#"
[[forward.file]]
name = "done"
path = "done.ndjson"
release = { forces = ["*"], classes = ["*"], fields = ["*"], marking = "official-sensitive" }
[[forward.file]]
name = "behind"
path = "behind.ndjson"
release = { forces = ["*"], classes = ["*"], fields = ["*"], marking = "official-sensitive" }
[[forward.file]]
name = "alarms-only"
path = "alarms.ndjson"
release = { forces = ["*"], classes = ["alarm"], fields = ["*"], marking = "official-sensitive" }
"#;

fn record(kind: RecordKind, lane: Lane, payload: Vec<u8>) -> Bytes {
    let record = Record {
        lsn: Lsn(0),
        received_at_ms: RECEIVED_MS,
        force: ForceId::try_new("demo").unwrap(),
        device: DeviceId::try_new("pc.1").unwrap(),
        ceiling: Mode::Test,
        lane,
        kind,
        payload: payload.into(),
    };
    let mut bytes = BytesMut::new();
    record.encode(&mut bytes);
    bytes.freeze()
}

fn alarm(seq: u32) -> Vec<u8> {
    let cause = AlarmCause::BUTTON;
    let alarm = Alarm { cause, silent: false, position: Some(a_position()), position_age_s: 0 };
    let mut body = [0; 64];
    envelope(head(Class::ALARM, Mode::Test, seq), alarm.encode(&mut body).unwrap())
}

fn said(what: &serde_json::Value) -> Vec<u8> {
    what.to_string().into_bytes()
}

/// Sequences 0 and 1 live, 2 in quarantine, 3 never sent, 4 an alarm that somebody has.
async fn fill(dir: &Path) {
    let path = dir.join("data/spool");
    let clock = Clock::new(|| RECEIVED_MS + 1);
    let settings = SpoolSettings { clock, ..SpoolSettings::default() };
    let (spool, _) = Spool::open(&path, settings, Arc::new(RealDisk)).unwrap();
    let id = "demo/pc.1/1/4";
    let live = |seq| record(RecordKind::Envelope, Lane::Live, position(Mode::Test, seq));
    let entries = [
        (EntryClass::Live, live(0)),
        (EntryClass::Live, live(1)),
        (
            EntryClass::Live,
            record(RecordKind::Quarantine(QuarantineReason::Body), Lane::Live, position(Mode::Test, 2)),
        ),
        (EntryClass::Alarm, record(RecordKind::Envelope, Lane::Alarm, alarm(4))),
        (
            EntryClass::Internal,
            record(
                RecordKind::Delivered,
                Lane::Alarm,
                said(&json!({"alarm": id, "by": "done", "at_ms": RECEIVED_MS + 40})),
            ),
        ),
        (
            EntryClass::Internal,
            record(
                RecordKind::Acknowledged,
                Lane::Alarm,
                said(&json!({"alarm": id, "operator": "anna", "at_ms": RECEIVED_MS + 9_000})),
            ),
        ),
        (
            EntryClass::Internal,
            record(
                RecordKind::Confirmed,
                Lane::Alarm,
                said(
                    &json!({"alarm": id, "receipt": "Seen", "told_ms": RECEIVED_MS + 9_010, "at_ms": RECEIVED_MS + 9_200}),
                ),
            ),
        ),
    ];
    for (class, entry) in entries {
        let lsn = spool.append(class, &entry).await.unwrap();
        spool.wait_committed(lsn).await.unwrap();
    }
    spool.cursor("done").unwrap().advance(Lsn(7)).await.unwrap();
    let places =
        LanePositions { alarm: Lsn(7), live: Lsn(2), backlog: Lsn(0), skipped: vec![(Lsn(1), Lsn(2))] };
    spool.cursor("behind").unwrap().advance_lanes(places).await.unwrap();
    spool.close().await;
}

fn trace(dir: &Path, arguments: &[&str]) -> (i32, String) {
    let asked =
        binary().args(["trace", "-c"]).arg(dir.join("gateway.toml")).args(arguments).output().unwrap();
    let text = String::from_utf8([&asked.stdout[..], &asked.stderr].concat()).unwrap();
    // Nothing of where the wearer is, whatever is asked. What the device's clock said is no place, but may look like one.
    let behind_times: String = text.lines().map(|line| line.get(26..).unwrap_or(line)).collect();
    for hint in ["51.5", "51500", "0.12", "anna", "latitude", "position_"] {
        assert!(!behind_times.contains(hint), "{hint}: {text}");
    }
    (asked.status.code().unwrap(), text)
}

#[tokio::test]
async fn every_hop_of_a_message_is_told_without_where_its_wearer_was() {
    let dir = new_gateway();
    let path = dir.path().join("gateway.toml");
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, config + OUTPUTS).unwrap();
    fill(dir.path()).await;
    let refused = dir.path().join("data/refused");
    fs::create_dir_all(&refused).unwrap();
    let line = json!({"refused_at": "2026-09-21T14:13:21.000Z", "reason": "too-large", "detail": "HTTP 413", "lsn": 1,
        "event": {"id": "demo.pc%2E1.1.0", "data": {"latitude_deg": 51.5}}});
    // As the gateway writes it: without spaces.
    fs::write(refused.join("done.ndjson"), format!("{line}\n")).unwrap();

    let log = Disclosures::inline(AccessFiles::of(Series::Disclosures, &dir.path().join("data")));
    for (to, seq, at_ms) in [("done", 1, 20), ("done", 1, 30), ("behind", 0, 35), ("left", 0, 36)] {
        let whom = Whom { name: to.into(), kind: "file", address: "a file".into() };
        let recipient = log.recipient(whom, &Release::everything());
        let key = format!("demo.pc%2E1.1.{seq}");
        recipient.disclose_keys(RECEIVED_MS + at_ms, &[&key]).await.unwrap();
    }

    let (code, text) = trace(dir.path(), &["pc.1", "1"]);
    assert_eq!(code, 0, "{text}");
    for hop in [
        "demo/pc.1 boot 1 sequence 1: stored",
        "received on the lane live, as demo.pc%2E1.1.1",
        "14:13:20.001Z  STORED as 2",
        "not yet                   live: not on the disk",
        "14:13:20.020Z  output done: sent, 2 times, last 2026-09-21T14:13:20.030Z",
        "time not kept             output done: accepted",
        "not yet                   output behind: owed",
        "never                     output alarms-only: withheld (class)",
    ] {
        assert!(text.contains(hop), "{hop}: {text}");
    }
    assert!(trace(dir.path(), &["pc.1", "0"]).1.contains("output done: refused (too-large: HTTP 413)"));
    let (_, text) = trace(dir.path(), &["pc.1", "0"]);
    assert!(text.contains("time not kept             output behind: accepted"), "{text}");
    assert!(text.contains("14:13:20.036Z  output left: sent"), "{text}");
    assert!(text.contains("output left: it is no output any more"), "{text}");
    let mut dropped = line.clone();
    dropped["dropped"] = "by sgt-jones: test data".into();
    fs::write(refused.join("done.ndjson"), format!("{dropped}\n")).unwrap();
    let (_, text) = trace(dir.path(), &["pc.1", "0"]);
    assert!(text.contains("refused (too-large: HTTP 413; dropped by sgt-jones: test data)"), "{text}");
    // Somebody sends it again: it is on its way, wherever the cursor is.
    fs::write(refused.join("done.again.ndjson"), format!("{line}\n")).unwrap();
    assert!(trace(dir.path(), &["pc.1", "0"]).1.contains("output done: owed"));
    let (_, text) = trace(dir.path(), &["pc.1", "2"]);
    assert!(text.contains("in quarantine: body") && text.contains("withheld (quarantine)"), "{text}");
    assert!(trace(dir.path(), &["pc.1", "3"]).1.contains("the device still owes it"));
    let (_, text) = trace(dir.path(), &["pc.1", "4", "--boot", "1", "--force", "demo"]);
    let hops = [
        "output alarms-only: owed",
        // Not on the disclosure log, and yet: its DELIVERED is proof.
        "14:13:20.040Z  output done: accepted",
        // Nothing says that it ever left, wherever the cursor is.
        "never                     output behind: passed over (it was not released when its turn came)",
        "DELIVERED: accepted by an output (done)",
        "SEEN: a person acknowledged it",
    ];
    for hop in hops.into_iter().chain(["14:13:29.200Z  the wearer's device has SEEN"]) {
        assert!(text.contains(hop), "{hop}: {text}");
    }
    let (code, text) = trace(dir.path(), &["pc.1", "5"]);
    assert_eq!((code, text.contains("no boot of demo/pc.1 has got to sequence 5")), (65, true), "{text}");
    let (_, text) = trace(dir.path(), &["pc.1", "4", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(told[0]["receipts"][1], json!({"what": "seen", "at_ms": RECEIVED_MS + 9_000}));
    assert_eq!(
        told[0]["entries"][0]["outputs"][0],
        json!({"name": "done", "state": "accepted", "at_ms": RECEIVED_MS + 40})
    );

    // Without the log nothing is said that it alone knows.
    fs::remove_dir_all(dir.path().join("data/disclosures")).unwrap();
    let (_, text) = trace(dir.path(), &["pc.1", "1"]);
    let unknown = "not known                 output done: whether it was sent: there is no disclosure log";
    assert!(text.contains(unknown), "{text}");
}
