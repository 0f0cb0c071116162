//! `fieldpost trace` over a data directory: outputs that are done, behind, not released and refused, and an alarm's receipts.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use fieldpost_gateway::audit::{AccessFiles, Series};
use fieldpost_gateway::forward::release::{Disclosures, Release, Whom};
use fieldpost_gateway::record::{QuarantineReason, Record, RecordKind};
use fieldpost_gateway::spool::{EntryClass, LanePositions, Lsn, RealDisk, Spool, SpoolSettings};
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
    let (spool, _) = Spool::open(&path, SpoolSettings::default(), Arc::new(RealDisk)).unwrap();
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
    // Nothing of where the wearer is, whatever is asked.
    for hint in ["51.5", "515", "0.12", "anna", "latitude", "position_"] {
        assert!(!text.contains(hint), "{hint}: {text}");
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

    let journal = AccessFiles::of(Series::Disclosures, &dir.path().join("data"));
    let whom = Whom { name: "done".into(), kind: "file", address: "done.ndjson".into() };
    let recipient = Disclosures::inline(journal).recipient(whom, &Release::everything());
    for at_ms in [RECEIVED_MS + 20, RECEIVED_MS + 30] {
        recipient.disclose_keys(at_ms, &["demo.pc%2E1.1.1"]).await.unwrap();
    }

    let (code, text) = trace(dir.path(), &["pc.1", "1"]);
    assert_eq!(code, 0, "{text}");
    for hop in [
        "demo/pc.1 boot 1 sequence 1: stored",
        "received on the lane live, as demo.pc%2E1.1.1",
        "STORED as 2",
        "14:13:20.020Z  output done: sent, 2 times, last 2026-09-21T14:13:20.030Z",
        "output done: accepted",
        "output behind: owed",
        "output alarms-only: withheld (class)",
    ] {
        assert!(text.contains(hop), "{hop}: {text}");
    }
    assert!(trace(dir.path(), &["pc.1", "0"]).1.contains("output done: refused (too-large: HTTP 413)"));
    assert!(trace(dir.path(), &["pc.1", "0"]).1.contains("output behind: accepted"));
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
    assert_eq!(told[0]["entries"][0]["outputs"][0], json!({"name": "done", "state": "accepted"}));
}
