//! The control room from the configuration.

use std::sync::Arc;

use axum::Router;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::{StartError, listen_error};
use crate::audit::AccessFiles;
use crate::config::Config;
use crate::http::{self, Running, streets};
use crate::ledger::task::SharedLedger;
use crate::live::Live;
use crate::login::LoginLinks;
use crate::pki::PageTls;

pub(super) async fn start(
    config: &Config,
    tls: Option<&PageTls>,
    live: Live,
    ledger: SharedLedger,
    links: Arc<LoginLinks>,
    health: Router,
    closing: &CancellationToken,
) -> Result<Running, StartError> {
    let path = config.control_room.streets.clone();
    let streets = spawn_blocking(move || streets::load(path.as_deref()))
        .await
        .expect("reading the streets does not panic, and nobody aborts it")?;
    let settings = http::Settings {
        listen: config.control_room.listen,
        tls: tls.map(PageTls::server_config),
        streets,
        health,
    };
    let journal = AccessFiles::new(&config.data_dir);
    http::start(settings, live, ledger, links, journal, closing).await.map_err(|error| match error {
        http::StartError::Bind { listen, source } => listen_error("control_room.listen", listen, source),
    })
}
