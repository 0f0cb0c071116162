//! A machine that fetches the feed, keeps its cursor, and comes back whenever its connection ends.

use std::{path::Path, time::Duration};

use http_body_util::BodyExt as _;
use hyper::{StatusCode, body::Incoming};
use tokio::task::JoinSet;

use super::received::Received;
use crate::{
    check::http::Http,
    rig::{RigError, alarm_latency::Events, error::tool},
};

/// From the end of a connection to the next attempt.
const AGAIN: Duration = Duration::from_millis(10);
/// Everything that is kept.
const FROM_THE_BEGINNING: &str = "0-0-0";

/// Follows until it is dropped.
pub(super) struct FeedClient {
    pub(super) received: Received,
    /// Ended when dropped.
    _follower: JoinSet<()>,
}

impl FeedClient {
    /// Makes the machine `name` with the gateway's own command, and follows the feed at `control_room`.
    pub(super) fn start(
        binary: &Path,
        config: &Path,
        name: &str,
        control_room: &str,
    ) -> Result<Self, RigError> {
        let (binary, config) = (binary.to_string_lossy(), config.to_string_lossy());
        let released =
            ["--forces", "*", "--classes", "*", "--fields", "*", "--marking", "official-sensitive"];
        let words = [[&*binary, "machine", "add", name, "-c", &config].as_slice(), &released].concat();
        let token = tool(&words)?.trim().to_owned();
        let received = Received::nothing();
        let mut follower = JoinSet::new();
        follower.spawn(follow(Http::new(control_room).with_bearer(token), received.clone()));
        Ok(Self { received, _follower: follower })
    }
}

async fn follow(http: Http, received: Received) {
    let mut cursor = FROM_THE_BEGINNING.to_owned();
    loop {
        let open = received.open();
        let answer = http.get(&format!("/api/v1/feed?cursor={cursor}")).await;
        if let Some(answer) = answer.ok().filter(|answer| answer.status() == StatusCode::OK) {
            read(answer.into_body(), &mut cursor, &received).await;
        }
        drop(open);
        // The gateway is down: it is asked again soon.
        tokio::time::sleep(AGAIN).await;
    }
}

async fn read(mut stream: Incoming, cursor: &mut String, received: &Received) {
    let mut events = Events::default();
    while let Some(Ok(frame)) = stream.frame().await {
        let Some(bytes) = frame.data_ref() else { continue };
        events.take(bytes, |event| match (event.name, serde_json::from_slice(event.data)) {
            (b"cursor", Ok(Said { cursor: Some(to), .. })) => *cursor = to,
            (_, Ok(Said { id: Some(id), .. })) => received.count(id),
            _ => {}
        });
    }
}

#[derive(serde::Deserialize)]
struct Said {
    id: Option<String>,
    cursor: Option<String>,
}
