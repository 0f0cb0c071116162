//! A real mosquitto between the board and the gateway: TLS with client certificates, and an access list. Its OpenSSL is as it
//! comes: it gives session tickets that nobody asked for.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::Failure;

/// Where Debian puts it.
const BINARY: &str = "/usr/sbin/mosquitto";
/// The gateway's name at the broker, and in its access list.
pub(crate) const GATEWAY_CLIENT: &str = "gateway-a";
const START_WAIT_MAX: Duration = Duration::from_secs(30);

/// As operators are told to write it.
const ACCESS: &str = include_str!("../../docs/mosquitto/access");

/// A broker on a free loopback port. Ended when dropped.
#[derive(Debug)]
pub struct Broker {
    /// Where it listens.
    pub port: u16,
    child: Child,
}

impl Broker {
    /// Starts it in `dir`, which holds `ca.pem`, `server.pem` and `server.key`.
    ///
    /// # Errors
    /// [`Failure`] if mosquitto is not installed or does not listen.
    pub(crate) fn start(dir: &Path) -> Result<Self, Failure> {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let port = free.map_err(Failure::io("find a free port"))?.port();
        let at = |name: &str| dir.join(name).display().to_string();
        // `user root`: or it gives up the rights to read the rig's folder.
        let text = format!(
            "listener {port} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\ntls_version tlsv1.3\n\
             require_certificate true\nuse_identity_as_username true\nallow_anonymous false\nacl_file {}\nuser root\n\
             log_dest file {}\n",
            at("ca.pem"),
            at("server.pem"),
            at("server.key"),
            at("access"),
            at("mosquitto.log"),
        );
        let config = dir.join("mosquitto.conf");
        std::fs::write(dir.join("access"), ACCESS).map_err(Failure::at("write", dir))?;
        std::fs::write(&config, text).map_err(Failure::at("write", &config))?;
        let mut command = Command::new(BINARY);
        command.arg("-c").arg(&config);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(|error| Failure::tool(BINARY, error))?;
        let broker = Self { port, child };
        broker.wait_until_it_listens(&dir.join("mosquitto.log"))?;
        Ok(broker)
    }

    fn wait_until_it_listens(&self, log: &Path) -> Result<(), Failure> {
        let (address, began) = (SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)), Instant::now());
        while TcpStream::connect_timeout(&address, START_WAIT_MAX).is_err() {
            if began.elapsed() > START_WAIT_MAX {
                let seen = std::fs::read_to_string(log).unwrap_or_default();
                let awaited = "mosquitto's listener".to_owned();
                return Err(Failure::Late { awaited, waited: START_WAIT_MAX, seen });
            }
            std::thread::yield_now();
        }
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Nothing is left to report to.
        let _ = self.child.kill().and_then(|()| self.child.wait());
    }
}
