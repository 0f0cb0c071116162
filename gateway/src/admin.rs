//! The metrics listener: `/metrics`, `/healthz`, `/readyz`, on loopback only because it asks nobody who they are.

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::health::Readiness;
use crate::metrics::Metrics;
use crate::spool::Spool;

/// Serves until `closing` is cancelled. A scrape reads the spool's figures as they are at that moment.
pub fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    spool: Spool,
    readiness: &Readiness,
    closing: CancellationToken,
) -> impl Future<Output = ()> + use<> {
    let scrape = move || async move {
        metrics.spool.take(&spool.stats());
        ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], metrics.encode())
    };
    let routes: Router = readiness.routes().route("/metrics", get(scrape));
    async move {
        let served = axum::serve(listener, routes).with_graceful_shutdown(closing.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(%error, "the metrics listener stopped");
        }
    }
}
