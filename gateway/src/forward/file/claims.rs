//! What the file sink promises.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{FileSettings, FileSink, Storage};
use crate::forward::event::Event;
use crate::forward::release::Release;
use crate::forward::testing::position_record;
use crate::forward::{ClockBounds, Renderer, RetryReason, Sink, SinkError};

fn events(lsns: std::ops::RangeInclusive<u64>) -> Vec<Event> {
    let mut renderer = Renderer::new(ClockBounds::default(), Release::everything());
    lsns.map(|lsn| renderer.event(&position_record(lsn)).unwrap()).collect()
}

fn sink(path: &Path) -> FileSink {
    FileSink::new(FileSettings { path: path.to_owned(), rotate_bytes: 0 })
}

fn sequences(path: &Path) -> Vec<u64> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines()
        .map(|line| {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            event["fieldpostseq"].as_str().unwrap().parse().unwrap()
        })
        .collect()
}

fn rotated(path: &Path) -> Vec<PathBuf> {
    let mut names: Vec<_> = fs::read_dir(path.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|name| name != path && name.to_str().unwrap().starts_with(path.to_str().unwrap()))
        .collect();
    names.sort();
    names
}

/// Storage whose next calls fail as the knobs say, then work.
fn faulty(write_failures: u32, sync_failures: u32) -> Storage {
    let real = Storage::real();
    let (writes, syncs) = (AtomicU32::new(write_failures), AtomicU32::new(sync_failures));
    let is_due = |knob: &AtomicU32| {
        knob.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    };
    Storage {
        write_all: Box::new(move |file, bytes| {
            if is_due(&writes) {
                // A full disk takes what fits.
                (real.write_all)(file, &bytes[..bytes.len() / 2])?;
                return Err(io::ErrorKind::StorageFull.into());
            }
            (real.write_all)(file, bytes)
        }),
        sync: Box::new(move |file| {
            if is_due(&syncs) { Err(io::Error::other("EIO")) } else { Ok(rustix::fs::fdatasync(file)?) }
        }),
    }
}

#[tokio::test]
async fn a_batch_written_before_a_crash_is_not_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("records.ndjson");
    sink(&path).deliver(&mut events(1..=5)).await.unwrap();
    // The cursor had moved to 2 when the gateway died; the next batch is cut differently.
    let mut restarted = sink(&path);
    restarted.deliver(&mut events(3..=9)).await.unwrap();
    restarted.deliver(&mut events(10..=12)).await.unwrap();
    assert_eq!(sequences(&path), (1..=12).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_torn_last_line_is_cut_off_and_written_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("records.ndjson");
    sink(&path).deliver(&mut events(1..=3)).await.unwrap();
    let whole = fs::read(&path).unwrap();
    let last_line_at = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    for cut in [last_line_at + 1, last_line_at + 40, whole.len() - 1] {
        let zeros = [0; 4096];
        for tail in [&zeros[..0], &zeros[..]] {
            fs::write(&path, [&whole[..cut], tail].concat()).unwrap();
            sink(&path).deliver(&mut events(1..=4)).await.unwrap();
            assert_eq!(sequences(&path), [1, 2, 3, 4], "cut at {cut}");
        }
    }
}

#[tokio::test]
async fn somebody_elses_file_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notes.txt");
    fs::write(&path, "shopping list\nmilk").unwrap();
    let error = sink(&path).deliver(&mut events(1..=1)).await.unwrap_err();
    assert!(matches!(error, SinkError::Retry { reason: RetryReason::Misconfigured, .. }), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "shopping list\nmilk");
    let error = sink(dir.path()).deliver(&mut events(1..=1)).await.unwrap_err();
    assert!(error.to_string().contains("not a regular file"), "{error}");
}

#[tokio::test]
async fn two_forwarders_never_share_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("records.ndjson");
    let mut first = sink(&path);
    first.deliver(&mut events(1..=1)).await.unwrap();
    let error = sink(&path).deliver(&mut events(2..=2)).await.unwrap_err();
    assert!(error.to_string().contains("locked"), "{error}");
}

#[tokio::test]
async fn a_full_disk_or_a_failed_sync_leaves_no_half_line_and_no_duplicate() {
    for (write_failures, sync_failures) in [(2, 0), (0, 3), (1, 2)] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("records.ndjson");
        let mut sink = sink(&path);
        sink.deliver(&mut events(1..=2)).await.unwrap();
        sink.storage = Arc::new(faulty(write_failures, sync_failures));
        sink.state = super::State::Closed;
        let mut failures_count = 0;
        while let Err(error) = sink.deliver(&mut events(3..=6)).await {
            assert!(matches!(error, SinkError::Retry { reason: RetryReason::Storage, .. }), "{error}");
            assert_eq!(sequences(&path), [1, 2], "nothing of a failed batch stays");
            failures_count += 1;
        }
        assert_eq!(failures_count, write_failures + sync_failures);
        assert_eq!(sequences(&path), [1, 2, 3, 4, 5, 6]);
    }
}

#[tokio::test]
async fn a_missing_directory_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mount/records.ndjson");
    let mut sink = sink(&path);
    assert!(sink.deliver(&mut events(1..=2)).await.is_err());
    fs::create_dir(dir.path().join("mount")).unwrap();
    sink.deliver(&mut events(1..=2)).await.unwrap();
    assert_eq!(sequences(&path), [1, 2]);
}

#[tokio::test]
async fn files_rotate_between_batches_and_together_hold_everything_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("records.ndjson");
    let settings = FileSettings { path: path.clone(), rotate_bytes: 3_000 };
    let mut sink = FileSink::new(settings.clone());
    for batch in 0..10 {
        sink.deliver(&mut events(batch * 3 + 1..=batch * 3 + 3)).await.unwrap();
    }
    // The gateway dies right after a rotation and before its cursor moved.
    drop(sink);
    FileSink::new(settings).deliver(&mut events(28..=33)).await.unwrap();
    let mut all: Vec<_> = rotated(&path).iter().flat_map(|name| sequences(name)).collect();
    assert!(rotated(&path).len() >= 3, "{:?}", rotated(&path));
    all.extend(sequences(&path));
    let distinct: HashSet<_> = all.iter().copied().collect();
    assert_eq!((all.len(), distinct.len()), (33, 33), "{all:?}");
    assert!(fs::metadata(&path).unwrap().len() <= 3_000);
}

#[tokio::test]
async fn a_file_moved_away_by_another_tool_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("records.ndjson");
    let mut sink = sink(&path);
    sink.deliver(&mut events(1..=2)).await.unwrap();
    fs::rename(&path, dir.path().join("taken.ndjson")).unwrap();
    sink.deliver(&mut events(3..=4)).await.unwrap();
    assert_eq!(sequences(&path), [3, 4]);
    assert_eq!(sequences(&dir.path().join("taken.ndjson")), [1, 2]);
}

#[tokio::test]
async fn a_write_whose_attempt_was_cut_off_is_finished_before_the_next_one_starts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("records.ndjson");
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(Some(held));
    let mut sink = sink(&path);
    sink.storage = Arc::new(Storage {
        write_all: Storage::real().write_all,
        sync: Box::new(move |file| {
            let is_written = file.metadata()?.len() > 0;
            if is_written && let Some(held) = held.lock().unwrap().take() {
                held.recv().map_err(io::Error::other)?;
            }
            Ok(rustix::fs::fdatasync(file)?)
        }),
    });
    let mut batch = events(1..=3);
    let mut attempt = Box::pin(sink.deliver(&mut batch));
    // Drive the attempt until its line is in the file and the sync is held back, then cut it off.
    let written = async {
        while fs::metadata(&path).map_or(0, |metadata| metadata.len()) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = &mut attempt => panic!("the sync is held back"),
        () = written => {}
    }
    drop(attempt);
    release.send(()).unwrap();
    sink.deliver(&mut events(1..=4)).await.unwrap();
    assert_eq!(sequences(&path), [1, 2, 3, 4]);
}
