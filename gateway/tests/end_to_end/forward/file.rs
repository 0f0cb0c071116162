//! The whole way from the spool into a file.

use std::collections::HashSet;

use fieldpost_gateway::forward::file::{FileSettings, FileSink};

use super::rig::{Rig, key};

fn sink(rig: &Rig) -> FileSink {
    FileSink::new(FileSettings { path: rig.path("events.ndjson"), rotate_bytes: 0 })
}

fn ids(rig: &Rig) -> Vec<String> {
    let text = std::fs::read_to_string(rig.path("events.ndjson")).unwrap();
    text.lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].as_str().unwrap().to_owned()
        })
        .collect()
}

#[tokio::test]
async fn every_committed_record_is_one_line_in_order_across_restarts() {
    let mut rig = Rig::new();
    for round in 0..4 {
        let sink = sink(&rig);
        rig.start(sink);
        rig.append(round * 500 + 1..=round * 500 + 500).await;
        if round % 2 == 0 {
            rig.until_drained().await;
        }
        // On odd rounds it is stopped in the middle of its work.
        rig.stop().await;
    }
    let sink = sink(&rig);
    rig.start(sink);
    rig.until_drained().await;
    rig.stop().await;
    assert_eq!(ids(&rig), (1..=2000).map(key).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_file_that_loses_its_end_is_repaired_and_nothing_is_missing() {
    let mut rig = Rig::new();
    rig.append(1..=300).await;
    let sink_before = sink(&rig);
    rig.start(sink_before);
    rig.until_drained().await;
    rig.stop().await;
    let path = rig.path("events.ndjson");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 30]).unwrap();
    // The cursor had passed the torn record: the file was durable then, and somebody cut it since. The loss is theirs,
    // but no line is left broken and what follows is whole.
    rig.append(301..=310).await;
    let sink_after = sink(&rig);
    rig.start(sink_after);
    rig.until_drained().await;
    rig.stop().await;
    let ids = ids(&rig);
    let distinct: HashSet<_> = ids.iter().collect();
    assert_eq!((ids.len(), distinct.len()), (309, 309));
    assert_eq!(ids.last(), Some(&key(310)));
}

#[tokio::test]
async fn records_damaged_on_the_disk_arrive_as_a_loss_that_says_how_many() {
    let mut rig = Rig::new();
    rig.append(1..=1000).await;
    rig.reopen_after(|dir| {
        // One flipped bit in the middle of the records.
        let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let segment = files
            .filter(|path| path.is_file())
            .find(|path| std::fs::read(path).unwrap().windows(7).any(|window| window == b"pc.0001"))
            .expect("a segment holds the records");
        let mut bytes = std::fs::read(&segment).unwrap();
        let places: Vec<_> = (0..bytes.len() - 7).filter(|at| &bytes[*at..*at + 7] == b"pc.0001").collect();
        bytes[places[500]] ^= 0x10;
        std::fs::write(&segment, bytes).unwrap();
    })
    .await;
    let sink = sink(&rig);
    rig.start(sink);
    rig.until_drained().await;
    rig.stop().await;
    let text = std::fs::read_to_string(rig.path("events.ndjson")).unwrap();
    let events: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (losses, records): (Vec<_>, Vec<_>) =
        events.iter().partition(|event| event["type"] == "uk.fieldpost.loss.v1");
    let lost_count: u64 = losses.iter().map(|loss| loss["data"]["count"].as_u64().unwrap()).sum();
    assert!((1..20).contains(&lost_count), "{lost_count} lost to one bit");
    assert_eq!(records.len() as u64 + lost_count, 1000, "every record is there or accounted for");
    assert_eq!(losses[0]["data"]["reason"], "damaged");
    assert_eq!(losses[0]["source"], "/gateway/forwarders/sink");
    assert_eq!(rig.figures().lost_count, lost_count);
}
