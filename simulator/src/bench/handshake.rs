//! Server CPU of a full mutual handshake with CONNECT and CONNACK.

use super::{Figure, Server};
use crate::raw::{Client, ClientError};

/// Connects every enrolled device once, one after the other, each with a full handshake.
///
/// # Errors
/// [`ClientError`] of the first connection that fails.
pub async fn handshakes(server: &Server) -> Result<Figure, ClientError> {
    let before = server.usage()?.cpu_s;
    for device in &server.devices {
        // Each device has its own TLS configuration and connects once: nothing to resume from.
        drop(Client::connect(server.address, device, 64).await?);
    }
    let cpu_s = server.usage()?.cpu_s - before;
    Ok(Figure {
        server: server.name,
        what: "full mutual handshake".to_owned(),
        value: cpu_s / server.devices.len() as f64 * 1e6,
        unit: "CPU-us",
    })
}
