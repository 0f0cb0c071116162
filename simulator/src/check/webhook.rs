//! A force system that takes batched CloudEvents over HTTP: the receiving end of the webhook sink.

use std::{io, net::SocketAddr};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{
    board::{Board, Delivery},
    file::not_an_event,
};

/// A batch may have this many bytes; the gateway's largest is 16 MiB.
const BATCH_BYTES_MAX: usize = 32 * 1024 * 1024;

/// A listening receiver, bound before the gateway needs it.
#[derive(Debug)]
pub struct Receiver {
    listener: TcpListener,
    address: SocketAddr,
}

impl Receiver {
    /// Takes a free loopback port.
    ///
    /// # Errors
    /// If no loopback port can be had.
    pub async fn bind() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Where events are to be posted.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/events", self.address)
    }

    /// Receives until `stop`, entering everything into the board.
    #[must_use]
    pub fn serve(self, board: Board, sink: usize, stop: CancellationToken) -> JoinHandle<()> {
        let app = Router::new()
            .route("/events", post(receive))
            .layer(axum::extract::DefaultBodyLimit::max(BATCH_BYTES_MAX))
            .with_state((board, sink));
        tokio::spawn(async move {
            let serve = axum::serve(self.listener, app).with_graceful_shutdown(stop.cancelled_owned());
            if let Err(error) = serve.await {
                tracing::error!(%error, "the webhook receiver stopped; its records will count as lost");
            }
        })
    }
}

async fn receive(State((board, sink)): State<(Board, usize)>, body: Bytes) -> StatusCode {
    let Ok(body) = serde_json::from_slice::<serde_json::Value>(&body) else { return StatusCode::BAD_REQUEST };
    let events = match &body {
        serde_json::Value::Array(events) => events.as_slice(),
        one => std::slice::from_ref(one),
    };
    let deliveries: Vec<Delivery> =
        events.iter().map(|event| Delivery::parse(event).unwrap_or_else(not_an_event)).collect();
    board.arrived(sink, &deliveries);
    StatusCode::NO_CONTENT
}
