//! The control room from the configuration.

use std::sync::Arc;

use axum::Router;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::{StartError, listen_error};
use crate::audit::AccessFiles;
use crate::audit::files::KeepLines;
use crate::config::Config;
use crate::http::tiles::Tiles;
use crate::http::{self, MachineFeeds, Running, Sources, streets};
use crate::live::system_now_ms;
use crate::login::LoginLinks;
use crate::people::{Assignments, Consoles, Entrance, Password};
use crate::pki::PageTls;
use crate::retention::Holds;
use crate::trace::Outputs;

/// How people come in, and who of them watches.
pub(super) struct People {
    pub(super) links: Arc<LoginLinks>,
    pub(super) entrance: Entrance,
    pub(super) consoles: Consoles,
    pub(super) assignments: Assignments,
    /// Where messages go, for whoever asks where one is.
    pub(super) outputs: Outputs,
    /// What machines fetch.
    pub(super) feeds: MachineFeeds,
}

/// Who wears which device, as far as it can be read.
pub(super) async fn assignments(config: &Config) -> Assignments {
    let assignments = Assignments::new(&config.data_dir);
    let known = assignments.clone();
    let read = spawn_blocking(move || known.refresh()).await;
    if let Err(error) = read.expect("reading assignments does not panic, and nobody aborts it") {
        tracing::error!(%error, "units go by the roster until this can be read");
    }
    assignments
}

/// Accounts and passwords, and the first administrator's password if this start made it. Damaged accounts are no reason not
/// to start: links go on working, and alarms with them.
pub(super) async fn entrance(config: &Config) -> Result<(Entrance, Option<Password>), StartError> {
    let data_dir = config.data_dir.clone();
    let founded = spawn_blocking(move || {
        let entrance = Entrance::local(&data_dir)?;
        let first = entrance.found(system_now_ms()).unwrap_or_else(|error| {
            tracing::error!(%error, "nobody can log in by password");
            None
        });
        Ok((entrance, first))
    });
    founded.await.expect("making accounts does not panic, and nobody aborts it")
}

pub(super) async fn start(
    config: &Config,
    tls: Option<&PageTls>,
    sources: Sources,
    people: People,
    health: Router,
    closing: &CancellationToken,
) -> Result<Running, StartError> {
    let path = config.control_room.streets.clone();
    let streets = spawn_blocking(move || streets::load(path.as_deref()))
        .await
        .expect("reading the streets does not panic, and nobody aborts it")?;
    let ground = config.map.clone();
    let tiles = spawn_blocking(move || Tiles::open(&ground))
        .await
        .expect("opening the map does not panic, and nobody aborts it");
    let settings = http::Settings {
        tls: tls.map(PageTls::server_config),
        streets,
        tiles,
        health,
        entrance: Some(people.entrance),
        consoles: people.consoles,
        assignments: Some(people.assignments),
        outputs: people.outputs,
        reasons: config.reasons.clone(),
        feeds: Some(people.feeds),
        ..http::Settings::new(config.control_room.listen)
    };
    let keep = KeepLines::days(config.audit.access_days, Holds::new(&config.data_dir));
    let journal = AccessFiles::new(&config.data_dir).kept(keep);
    http::start(settings, sources, people.links, journal, closing).await.map_err(|error| match error {
        http::StartError::Bind { listen, source } => listen_error("control_room.listen", listen, source),
    })
}
