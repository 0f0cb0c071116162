//! The floor under a handshake: rustls alone, in memory, with the front door's own settings.

use std::sync::Arc;

use fieldpost_gateway::{config::Config, pki::FrontDoorTls};
use rustix::time::{ClockId, clock_gettime};
use rustls::{ClientConnection, ServerConnection, client::Resumption};
use rustls_pki_types::ServerName;

use super::{Figure, Server};

/// Every enrolled device shakes hands once in full; only the server's calls count.
///
/// # Errors
/// The gateway's files cannot be used, or a handshake fails.
pub fn handshake_in_memory(server: &Server) -> Result<Figure, Box<dyn std::error::Error>> {
    let config = Config::load(&server.dir().join("gateway.toml"))?;
    let tls = FrontDoorTls::new(&config.front_door)?;
    let mut used_ns = 0;
    for device in &server.devices {
        let mut client_config = (*device.tls).clone();
        client_config.resumption = Resumption::disabled();
        let mut client = ClientConnection::new(Arc::new(client_config), ServerName::try_from("localhost")?)?;
        let began_ns = thread_ns();
        let mut answering = ServerConnection::new(tls.server_config())?;
        used_ns += thread_ns() - began_ns;
        while client.is_handshaking() || answering.is_handshaking() {
            let mut wire = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut wire)?;
            }
            let mut answer = Vec::new();
            let began_ns = thread_ns();
            answering.read_tls(&mut wire.as_slice())?;
            answering.process_new_packets()?;
            while answering.wants_write() {
                answering.write_tls(&mut answer)?;
            }
            used_ns += thread_ns() - began_ns;
            let mut unread = answer.as_slice();
            while !unread.is_empty() {
                client.read_tls(&mut unread)?;
                client.process_new_packets()?;
            }
        }
    }
    let value = used_ns as f64 / 1e3 / server.devices.len() as f64;
    Ok(Figure { server: "rustls in memory", what: "full mutual handshake".to_owned(), value, unit: "CPU-us" })
}

/// Nanoseconds this thread has been on a processor.
fn thread_ns() -> i64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}
