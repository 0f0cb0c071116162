//! Servers that do not say when they are ready are asked until they answer.

use std::{
    io,
    net::{Ipv4Addr, TcpListener, TcpStream},
    ops::Range,
    process::{self, Child},
    sync::atomic::{AtomicU32, Ordering},
    time::Instant,
};

use super::peer::READY_MAX;

/// Where free ports are looked for: below those that Linux gives to outgoing connections (`ip_local_port_range`, from 32,768). One
/// of these would be free now and somebody's connection a moment later.
const PORTS: Range<u16> = 15_000..32_000;
/// From the first port of one process to the first of the next: more than a rig asks for.
const PORTS_A_PROCESS: u32 = 64;

/// A loopback port that nobody listens on just now, and another one each time.
///
/// # Errors
/// If all are taken; what the operating system said of the last.
pub fn free_port() -> io::Result<u16> {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let count = u32::from(PORTS.end - PORTS.start);
    let first = process::id() % count * PORTS_A_PROCESS;
    let mut taken = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..count {
        let at = (first + ASKED.fetch_add(1, Ordering::Relaxed) % count) % count;
        let port = PORTS.start + u16::try_from(at).map_err(io::Error::other)?;
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(error) => taken = error,
        }
    }
    Err(taken)
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_port_is_given_twice_or_from_where_outgoing_connections_get_theirs() {
        let ports: BTreeSet<u16> = (0..32).map(|_| free_port().expect("one is free")).collect();
        assert_eq!(ports.len(), 32);
        assert!(ports.iter().all(|port| PORTS.contains(port)), "{ports:?}");
    }
}
