//! Holds the control room's address until the page moves in: `/healthz` and `/readyz` only.

use std::net::SocketAddr;

use axum::Router;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{StartError, address_of, listen};

#[derive(Debug)]
pub(super) struct Running {
    address: SocketAddr,
    serving: JoinHandle<()>,
    closing: CancellationToken,
}

pub(super) async fn start(
    address: SocketAddr,
    health: Router,
    closing: &CancellationToken,
) -> Result<Running, StartError> {
    let listener = listen("control_room.listen", address).await?;
    let address = address_of("control_room.listen", &listener)?;
    let closing = closing.child_token();
    let until = closing.clone();
    let serving = tokio::spawn(async move {
        let served = axum::serve(listener, health).with_graceful_shutdown(until.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(%error, "the control room stopped");
        }
    });
    Ok(Running { address, serving, closing })
}

impl Running {
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) async fn stop(self) {
        self.closing.cancel();
        _ = self.serving.await;
    }
}
