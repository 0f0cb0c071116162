//! A location server that takes NMEA 0183 and counts every position that reaches it.
//!
//! A TAG block names the device and a sentence the place. A position's latitude is its sequence, as in [`super::cot`]; a
//! sentence is exact enough for that (six units of its fifth decimal of a minute are a micro-degree).

use std::{io, net::Ipv4Addr};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::received::Received;
use crate::{
    raw::{POSITIONS_FROM_UDEG, SEQS_TOLD_APART},
    rig::RigError,
};

const FAILED: &str = "be a location server";

/// Listens on loopback until it is dropped.
pub(super) struct LocationServer {
    pub(super) received: Received,
    port: u16,
    /// Ended when dropped.
    _server: JoinSet<()>,
}

impl LocationServer {
    pub(super) async fn start() -> Result<Self, RigError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(RigError::cannot(FAILED))?;
        let port = listener.local_addr().map_err(RigError::cannot(FAILED))?.port();
        let received = Received::nothing();
        let mut server = JoinSet::new();
        server.spawn(received.clone().serve(listener, read));
        Ok(Self { received, port, _server: server })
    }

    /// The gateway's configuration for it, under `name`.
    pub(super) fn configuration(&self, name: &str) -> String {
        format!(
            "[[forward.nmea]]\nname = \"{name}\"\nurl = \"tcp://127.0.0.1:{}\"\npositions = \"every\"\nmodes = \"every\"\n\
             retry_delay_ms_min = 10\nretry_delay_ms_max = 100\nrelease = {{ forces = [\"bench\"], \
             classes = [\"position\"], fields = [\"position\", \"movement\"], marking = \"official-sensitive\" }}\n",
            self.port
        )
    }
}

async fn read(stream: TcpStream, received: Received) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        if let Some(key) = key(&line) {
            received.count(key);
        }
        line.clear();
    }
    Ok(())
}

/// The key of the record that a line tells of; `None`: it is no position, or did not come whole.
fn key(line: &str) -> Option<String> {
    let (tag, sentence) = line.strip_suffix("\r\n")?.strip_prefix('\\')?.split_once('\\')?;
    let device = tag.strip_prefix("s:")?.split(',').next()?;
    let latitude = sentence.strip_prefix("$GPRMC,")?.split(',').nth(2)?;
    let (degrees, minutes) = latitude.split_at_checked(2)?;
    let minutes_e5: i32 = minutes.replace('.', "").parse().ok()?;
    let latitude_udeg = degrees.parse::<i32>().ok()? * 1_000_000 + minutes_e5 / 6;
    let seq = u32::try_from(latitude_udeg - POSITIONS_FROM_UDEG).ok().filter(|seq| *seq < SEQS_TOLD_APART)?;
    Some(format!("bench.{device}.1.{seq}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_line_says_which_record_it_is_and_half_of_one_nothing() {
        // 52.201234 degrees are 52 degrees 12.07404 minutes.
        let line = "\\s:dev-00003,c:1789999999*04\\$GPRMC,141319.123,A,5212.07404,N,00130.00000,W,2.72,90.00,210926,,,A*4D\r\n";
        assert_eq!(key(line).as_deref(), Some("bench.dev-00003.1.1234"));
        assert_eq!(key(&line[..line.len() - 2]), None);
    }
}
