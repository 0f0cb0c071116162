//! Servers that do not say when they are ready are asked until they answer.

use std::{
    io,
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::Child,
    time::Instant,
};

use super::peer::READY_MAX;

/// A loopback port that nobody listens on just now.
///
/// # Errors
/// If the operating system has none.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Hands `child` back once it listens on the loopback port.
///
/// # Errors
/// If it ends or takes longer than half a minute; it is not running then.
pub fn until_it_listens(mut child: Child, port: u16) -> io::Result<Child> {
    let give_up = Instant::now() + READY_MAX;
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        if Instant::now() > give_up || !matches!(child.try_wait(), Ok(None)) {
            // It never listened: there is nothing to save.
            let _ = child.kill();
            let _ = child.wait();
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("nothing listens on port {port}")));
        }
        std::thread::yield_now();
    }
    Ok(child)
}
