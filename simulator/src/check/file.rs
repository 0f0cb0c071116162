//! Reads the gateway's NDJSON file while it grows, as a force system would.

use std::{path::Path, time::Duration};

use tokio::{
    fs::File,
    io::{AsyncBufReadExt, BufReader},
};
use tokio_util::sync::CancellationToken;

use super::board::{Board, Delivery};

/// How often a file that has ended is looked at again: a file does not tell when it grows.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Enters every line of the file into the board until `stop`, then once more to the end.
///
/// Waits for the file to appear. Lines that are not events are entered as unknown keys.
pub async fn follow(path: &Path, board: &Board, sink: usize, stop: &CancellationToken) {
    let Some(file) = open(path, stop).await else { return };
    let mut reader = BufReader::with_capacity(256 * 1024, file);
    let mut line = Vec::new();
    loop {
        let stopping = stop.is_cancelled();
        match reader.read_until(b'\n', &mut line).await {
            Ok(0) if stopping => return,
            Ok(0) => {
                let () = tokio::time::sleep(LOOK_AGAIN).await;
            }
            // The end of the file in the middle of a line: the rest is still being written.
            Ok(_) if line.last() != Some(&b'\n') => {
                if stopping {
                    return;
                }
            }
            Ok(_) => {
                board.arrived(sink, &[parse(&line)]);
                line.clear();
            }
            Err(error) => {
                tracing::error!(%error, "cannot read the file sink; its records will count as lost");
                return;
            }
        }
    }
}

async fn open(path: &Path, stop: &CancellationToken) -> Option<File> {
    loop {
        if let Ok(file) = File::open(path).await {
            return Some(file);
        }
        if stop.is_cancelled() {
            return None;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn parse(line: &[u8]) -> Delivery {
    let event = serde_json::from_slice(line).ok();
    event.as_ref().and_then(Delivery::parse).unwrap_or_else(not_an_event)
}

/// Stands for something that is no event: its key is nobody's, so it shows as unknown.
pub(super) fn not_an_event() -> Delivery {
    Delivery { key: "(not an event)".to_owned(), stated: None }
}
