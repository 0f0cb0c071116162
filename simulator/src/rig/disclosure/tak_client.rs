//! A TAK client that connects to the gateway's own listener, counts every position that reaches it, and comes back whenever its
//! connection ends.
//!
//! **It is told how things are, not what it missed**: records that came while it was away are passed over.

use std::{io, net::Ipv4Addr, path::Path, time::Duration};

use fieldpost_gateway::{
    config::{
        RELEASE_ALL,
        material::{Authority, ServerIdentity},
    },
    pki,
};
use rustls_pki_types::ServerName;
use tokio::{io::AsyncReadExt as _, net::TcpStream, sync::watch, task::JoinSet};
use tokio_rustls::TlsConnector;

use super::{cot, received::Received};
use crate::{
    bench::free_port,
    rig::{RigError, tak::Papers},
};

const FAILED: &str = "be a TAK client";
/// In its certificate.
const COMMON_NAME: &str = "client";
/// From the end of a connection to the next attempt.
const AGAIN: Duration = Duration::from_millis(10);

/// Comes again and again until it is dropped.
pub(super) struct TakClient {
    pub(super) received: Received,
    door: u16,
    papers: Papers,
    greeted: watch::Receiver<u64>,
    /// Ended when dropped.
    _follower: JoinSet<()>,
}

impl TakClient {
    /// Starts it; its certificates lie below `dir`.
    pub(super) fn start(dir: &Path) -> Result<Self, RigError> {
        std::fs::create_dir_all(dir).map_err(RigError::io("make a folder"))?;
        let papers = Papers::make(dir)?;
        let identity = ServerIdentity::load(&papers.file("client.pem"), &papers.file("client.key"));
        let authority = Authority::load(&papers.file("ca.pem")).map_err(RigError::cannot(FAILED))?;
        let tls = pki::mutual_client(&authority, &identity.map_err(RigError::cannot(FAILED))?)
            .map_err(RigError::cannot(FAILED))?;
        let door = free_port().map_err(RigError::io("find a free port"))?;
        let (received, (greets, greeted)) = (Received::nothing(), watch::channel(0));
        let mut follower = JoinSet::new();
        follower.spawn(follow(door, TlsConnector::from(tls), received.clone(), greets));
        Ok(Self { received, door, papers, greeted, _follower: follower })
    }

    /// The gateway's configuration for it, under `name`.
    pub(super) fn configuration(&self, name: &str) -> String {
        let [authority, certificate, key] =
            ["ca.pem", "server.pem", "server.key"].map(|name| self.papers.file(name));
        format!(
            "[tak]\nlisten = \"127.0.0.1:{}\"\nclient_authority = {authority:?}\ncertificate = {certificate:?}\n\
             key = {key:?}\n[[tak.client]]\nname = \"{name}\"\ncommon_name = \"{COMMON_NAME}\"\npositions = \"every\"\n\
             {RELEASE_ALL}\n",
            self.door
        )
    }

    /// On how many connections the gateway has said something: from then on the client is there.
    pub(super) fn greeted_count(&self) -> u64 {
        *self.greeted.borrow()
    }

    /// Waits until it has been greeted more than `before` times.
    pub(super) async fn is_greeted_again(&self, before: u64, most: Duration) -> Result<(), RigError> {
        let mut greeted = self.greeted.clone();
        let again = greeted.wait_for(|count| *count > before);
        tokio::time::timeout(most, again).await.map_err(|_| RigError::Hang(most)).map(drop)
    }
}

async fn follow(door: u16, tls: TlsConnector, received: Received, greets: watch::Sender<u64>) {
    loop {
        let open = received.open();
        // However it ends: what came whole is counted.
        let _ = read(door, &tls, &received, &greets).await;
        drop(open);
        // The gateway is down: it is asked again soon.
        tokio::time::sleep(AGAIN).await;
    }
}

async fn read(
    door: u16,
    tls: &TlsConnector,
    received: &Received,
    greets: &watch::Sender<u64>,
) -> io::Result<()> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, door)).await?;
    let name = ServerName::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST));
    let mut stream = tls.connect(name, stream).await?;
    let mut said = Vec::new();
    // The gateway speaks first, with an offer that is left unanswered: it stays with XML.
    if stream.read_buf(&mut said).await? == 0 {
        return Ok(());
    }
    greets.send_modify(|count| *count += 1);
    cot::count(&mut said.as_slice().chain(stream), received).await
}
