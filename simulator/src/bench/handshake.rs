//! Server CPU of a mutual handshake with CONNECT and CONNACK: in full, and taking up the session again.

use super::{Figure, Server};
use crate::raw::{Client, ClientError};

/// Connects every enrolled device twice, one after the other. The second figure is missing if the server does not resume.
///
/// # Errors
/// [`ClientError`] of the first connection that fails.
pub async fn handshakes(server: &Server) -> Result<Vec<Figure>, ClientError> {
    let mut figures = Vec::new();
    for (what, is_again) in [("full mutual handshake", false), ("resumed handshake", true)] {
        let before = server.usage()?.cpu_s;
        let mut resumed_count = 0;
        for device in &server.devices {
            let client = Client::connect(server.address, device, 64).await?;
            resumed_count += usize::from(client.is_resumed());
        }
        let cpu_s = server.usage()?.cpu_s - before;
        let as_expected = if is_again { server.devices.len() } else { 0 };
        if resumed_count == as_expected {
            let value = cpu_s / server.devices.len() as f64 * 1e6;
            figures.push(Figure { server: server.name, what: what.to_owned(), value, unit: "CPU-us" });
        }
    }
    Ok(figures)
}
