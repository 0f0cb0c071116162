//! A TAK server that counts every position that reaches it.
//!
//! Cursor on Target does not name records. The positions of a bare device lie so many micro-degrees north of
//! [`POSITIONS_FROM_UDEG`] as their sequence says, so a position's latitude is its sequence.

use std::{io, net::Ipv4Addr, path::Path};

use fieldpost_gateway::{
    config::material::{Authority, ServerIdentity},
    pki,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use super::received::Received;
use crate::{
    raw::{POSITIONS_FROM_UDEG, SEQS_TOLD_APART},
    rig::{RigError, tak::Papers},
};

const FAILED: &str = "be a TAK server";
/// Every event ends so.
const END: &str = "</event>";
/// Who speaks first is spared the wait for an offer of protobuf.
const PONG: &[u8] = b"<event version=\"2.0\" uid=\"rig\" type=\"t-x-c-t-r\" how=\"m-g\" \
    time=\"2026-01-01T00:00:00.000Z\" start=\"2026-01-01T00:00:00.000Z\" stale=\"2026-01-01T00:00:00.000Z\">\
    <point lat=\"0\" lon=\"0\" hae=\"0\" ce=\"999999\" le=\"999999\"/><detail/></event>";

/// Listens on loopback until it is dropped.
pub(super) struct TakServer {
    pub(super) received: Received,
    port: u16,
    papers: Papers,
    /// Ended when dropped.
    _server: JoinSet<()>,
}

impl TakServer {
    /// Starts it; its certificates lie below `dir`.
    pub(super) async fn start(dir: &Path) -> Result<Self, RigError> {
        std::fs::create_dir_all(dir).map_err(RigError::io("make a folder"))?;
        let papers = Papers::make(dir)?;
        let identity = ServerIdentity::load(&papers.file("server.pem"), &papers.file("server.key"));
        let authority = Authority::load(&papers.file("ca.pem")).map_err(RigError::cannot(FAILED))?;
        let tls = pki::mutual_server(&identity.map_err(RigError::cannot(FAILED))?, &authority, None)
            .map_err(RigError::cannot(FAILED))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(RigError::cannot(FAILED))?;
        let port = listener.local_addr().map_err(RigError::cannot(FAILED))?.port();
        let received = Received::nothing();
        let mut server = JoinSet::new();
        server.spawn(serve(listener, TlsAcceptor::from(tls), received.clone()));
        Ok(Self { received, port, papers, _server: server })
    }

    /// The gateway's configuration for it, under `name`.
    pub(super) fn configuration(&self, name: &str) -> String {
        self.papers.sink(name, self.port) + "positions = \"every\"\n"
    }
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, received: Received) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, received, open) = (tls.clone(), received.clone(), received.open());
        connections.spawn(async move {
            // However it ends: what came whole is counted.
            let _ = read(stream, &tls, &received).await;
            drop(open);
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn read(stream: TcpStream, tls: &TlsAcceptor, received: &Received) -> io::Result<()> {
    let mut stream = tls.accept(stream).await?;
    stream.write_all(PONG).await?;
    stream.flush().await?;
    let mut bytes = Vec::new();
    while stream.read_buf(&mut bytes).await? > 0 {
        while let Some(at) = bytes.windows(END.len()).position(|some| some == END.as_bytes()) {
            let event: Vec<u8> = bytes.drain(..at + END.len()).collect();
            if let Some(key) = key(&String::from_utf8_lossy(&event)) {
                received.count(key);
            }
        }
    }
    Ok(())
}

/// The key of the record that the event tells of; `None`: of no unit.
fn key(event: &str) -> Option<String> {
    let device = attribute(event, "uid")?.strip_prefix("fieldpost.test.bench.")?.replace("%2E", ".");
    let latitude_udeg: i32 = attribute(event, "lat")?.replace('.', "").parse().ok()?;
    let seq = u32::try_from(latitude_udeg - POSITIONS_FROM_UDEG).ok().filter(|seq| *seq < SEQS_TOLD_APART)?;
    Some(format!("bench.{device}.1.{seq}"))
}

fn attribute<'a>(event: &'a str, name: &str) -> Option<&'a str> {
    let (_, value) = event.split_once(&format!(" {name}=\""))?;
    value.split_once('"').map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_says_which_record_it_is_and_a_sign_of_life_says_nothing() {
        let event = "<event version=\"2.0\" uid=\"fieldpost.test.bench.dev-0003\" type=\"a-f-G-U-C\">\
            <point lat=\"52.201234\" lon=\"-1.500000\"/></event>";
        assert_eq!(key(event).as_deref(), Some("bench.dev-0003.1.1234"));
        assert_eq!(key(&String::from_utf8_lossy(PONG)), None);
    }
}
