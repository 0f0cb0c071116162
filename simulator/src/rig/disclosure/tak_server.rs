//! A TAK server that counts every position that reaches it.

use std::{io, net::Ipv4Addr, path::Path};

use fieldpost_gateway::{
    config::material::{Authority, ServerIdentity},
    pki,
};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use super::{cot, received::Received};
use crate::rig::{RigError, tak::Papers};

const FAILED: &str = "be a TAK server";
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
        let tls = TlsAcceptor::from(tls);
        server.spawn(
            received.clone().serve(listener, move |stream, received| read(stream, tls.clone(), received)),
        );
        Ok(Self { received, port, papers, _server: server })
    }

    /// The gateway's configuration for it, under `name`.
    pub(super) fn configuration(&self, name: &str) -> String {
        self.papers.sink(name, self.port) + "positions = \"every\"\n"
    }
}

async fn read(stream: TcpStream, tls: TlsAcceptor, received: Received) -> io::Result<()> {
    let mut stream = tls.accept(stream).await?;
    stream.write_all(PONG).await?;
    stream.flush().await?;
    cot::count(&mut stream, &received).await
}
