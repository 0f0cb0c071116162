//! Memory of a connection: slopes between counts, so that the server's own size cancels out.

use super::{
    Figure, Server,
    ingest::{boot, connect_all},
};
use crate::raw::{ClientError, Window};

/// Parts in which the devices connect; the memory is read after each.
const PARTS: usize = 4;

/// Connects every enrolled device, lets each report once, and measures resident memory after each quarter. The slope from the
/// first quarter to the last is the figure; that of the last quarter alone says whether it stays flat.
///
/// # Errors
/// [`ClientError`] of the first connection that fails.
pub async fn idle_memory(server: &Server) -> Result<Vec<Figure>, ClientError> {
    let mut open = Vec::new();
    let mut resident_kib = Vec::new();
    for part in server.devices.chunks(server.devices.len().div_ceil(PARTS)) {
        for mut client in connect_all(server, part, 64).await? {
            let mut window = Window::new(boot());
            client.fill(&mut window, 1, 1).await?;
            client.settle(&mut window).await?;
            open.push(client);
        }
        resident_kib.push((open.len(), server.usage()?.resident_kib));
    }
    let slope = |from: usize| {
        let ((few, before), (all, after)) = (resident_kib[from], resident_kib[resident_kib.len() - 1]);
        (after as f64 - before as f64) / (all - few) as f64
    };
    let figure = |what, value| Figure { server: server.name, what, value, unit: "KiB resident" };
    let count = open.len();
    Ok(vec![
        figure(format!("connection, {count} open"), slope(0)),
        figure(format!("connection, {count} open, the last quarter alone"), slope(resident_kib.len() - 2)),
    ])
}
