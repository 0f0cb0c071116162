//! Which records Cursor on Target tells of.
//!
//! It does not name records. The positions of a bare device lie so many micro-degrees north of [`POSITIONS_FROM_UDEG`] as their
//! sequence says, so **a position's latitude is its sequence**.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::received::Received;
use crate::raw::{POSITIONS_FROM_UDEG, SEQS_TOLD_APART};

/// Every event ends so.
const END: &str = "</event>";

/// Reads to the end and counts every position that comes whole.
pub(super) async fn count(stream: &mut (impl AsyncRead + Unpin), received: &Received) -> io::Result<()> {
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
        assert_eq!(key("<event uid=\"fieldpost.screen\"><point lat=\"0\" lon=\"0\"/></event>"), None);
    }
}
