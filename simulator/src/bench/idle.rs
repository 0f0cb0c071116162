//! Memory of an idle connection: the slope between two counts, so that the server's own size cancels out.

use super::{Figure, Server, ingest::connect_all};
use crate::raw::ClientError;

/// Connects every enrolled device and measures resident memory at a tenth and at all of them.
///
/// # Errors
/// [`ClientError`] of the first connection that fails.
pub async fn idle_memory(server: &Server) -> Result<Figure, ClientError> {
    let (few, rest) = server.devices.split_at(server.devices.len() / 10);
    let first = connect_all(server, few, 64).await?;
    let before = server.usage()?.resident_kib;
    let second = connect_all(server, rest, 64).await?;
    let after = server.usage()?.resident_kib;
    let value = (after as f64 - before as f64) / second.len() as f64;
    drop((first, second));
    Ok(Figure {
        server: server.name,
        what: format!("idle connection ({} open)", server.devices.len()),
        value,
        unit: "KiB resident",
    })
}
