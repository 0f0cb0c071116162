//! `fieldpost ledger`, beside a gateway that is not running: its data directory is enough.

use std::path::Path;
use std::process::Output;

use bytes::BytesMut;
use fieldpost_gateway::live::unit::UnitId;
use fieldpost_gateway::record::{QuarantineReason, Record, RecordKind};
use fieldpost_gateway::spool::{EntryClass, Lsn, RealDisk, Spool, SpoolSettings};
use fieldpost_protocol::{Lane, Mode};

use crate::mqtt::position;
use crate::process::{binary, new_gateway};

async fn append(spool: &Spool, unit: &str, kind: RecordKind, seq: u32) {
    let UnitId { force, device } = unit.parse().unwrap();
    let record = Record {
        lsn: Lsn(0),
        received_at_ms: 1_790_000_000_000,
        force,
        device,
        ceiling: Mode::Test,
        lane: Lane::Live,
        kind,
        payload: position(Mode::Test, seq).into(),
    };
    let mut bytes = BytesMut::new();
    record.encode(&mut bytes);
    let lsn = spool.append(EntryClass::Live, &bytes).await.unwrap();
    spool.wait_committed(lsn).await.unwrap();
}

fn ask(dir: &Path, arguments: &[&str]) -> Output {
    binary().args(["ledger", "-c"]).arg(dir.join("gateway.toml")).args(arguments).output().unwrap()
}

fn said(output: &Output) -> (i32, String) {
    let text = [&output.stdout[..], &output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[tokio::test]
async fn the_command_line_says_what_became_of_every_sequence() {
    let dir = new_gateway();
    let (code, text) = said(&ask(dir.path(), &["--device", "pc-1"]));
    assert_eq!((code, text.contains("the gateway has not run yet")), (69, true), "{text}");

    let spool = dir.path().join("data/spool");
    let (spool, _) = Spool::open(&spool, SpoolSettings::default(), std::sync::Arc::new(RealDisk)).unwrap();
    for seq in [0, 1, 2, 6] {
        append(&spool, "demo/pc-1", RecordKind::Envelope, seq).await;
    }
    append(&spool, "demo/pc-1", RecordKind::Quarantine(QuarantineReason::Body), 3).await;
    append(&spool, "demo/pc-2", RecordKind::Envelope, 0).await;
    append(&spool, "other/pc-2", RecordKind::Envelope, 0).await;
    spool.close().await;

    let expected = "demo/pc-1  2 owed, 1 quarantined-body, 4 stored\n  boot 1: 0 to 6  2 owed, 1 quarantined-body, 4 stored\n    3 to 3  quarantined-body\n    4 to 5  owed\n";
    assert_eq!(said(&ask(dir.path(), &["--device", "pc-1"])), (0, expected.to_owned()));
    let json = ask(dir.path(), &["--device", "pc-1", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["accounts"][0]["counts"]["stored"], 4);
    let (code, text) = said(&ask(dir.path(), &["--device", "pc-2"]));
    assert_eq!((code, text.contains("demo and other")), (64, true), "{text}");
    assert_eq!(said(&ask(dir.path(), &["--device", "pc-2", "--force", "other"])).0, 0);
    assert_eq!(said(&ask(dir.path(), &["--device", "pc-3"])).0, 65);
}
