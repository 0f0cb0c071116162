//! Memory of a connection: slopes between counts, so that the server's own size cancels out.

use super::{
    Figure, Server,
    ingest::{boot, connect_all},
};
use crate::raw::{ClientError, Window};

/// Parts in which the devices connect; the memory is read after each.
const PARTS: usize = 4;

/// Connects every enrolled device and measures resident memory after each quarter: the slope from the first quarter to the last,
/// and that of the last quarter alone, which says whether it stays flat. Then each device reports once, which adds what the
/// gateway knows of a unit.
///
/// # Errors
/// [`ClientError`] of the first connection that fails.
pub async fn idle_memory(server: &Server) -> Result<Vec<Figure>, ClientError> {
    let mut open = Vec::new();
    let mut resident_kib = Vec::new();
    for part in server.devices.chunks(server.devices.len().div_ceil(PARTS)) {
        open.extend(connect_all(server, part, 64).await?);
        resident_kib.push((open.len(), server.usage()?.resident_kib as f64));
    }
    let (count, all_kib) = resident_kib[resident_kib.len() - 1];
    let slope = |from: usize| {
        let (few, few_kib) = resident_kib[from];
        (all_kib - few_kib) / (count - few) as f64
    };
    let (whole, last) = (slope(0), slope(resident_kib.len() - 2));
    for client in &mut open {
        let mut window = Window::new(boot());
        client.fill(&mut window, 1, 1).await?;
        client.settle(&mut window).await?;
    }
    let reported = (server.usage()?.resident_kib as f64 - all_kib) / count as f64;
    let figure = |what: String, value| Figure { server: server.name, what, value, unit: "KiB resident" };
    Ok(vec![
        figure(format!("idle connection, {count} open"), whole),
        figure(format!("idle connection, {count} open, the last quarter alone"), last),
        figure(format!("what a first report adds, {count} open"), reported),
    ])
}
