//! What went over the wire: bytes at IP level by direction, and a search for what must not be in them.
//!
//! Reads the classic capture format that QEMU's `filter-dump` writes (libpcap, microseconds, the host's byte order) and IPv4
//! over Ethernet. A last packet cut off by a power cut is left out.

use std::{collections::BTreeSet, fs, net::Ipv4Addr, path::Path};

use etherparse::{NetSlice, SlicedPacket, TransportSlice};

use crate::Failure;

/// Magic number of a capture with microseconds in this machine's byte order.
const MAGIC: u32 = 0xA1B2_C3D4;
const FILE_HEADER_BYTES: usize = 24;
const PACKET_HEADER_BYTES: usize = 16;

/// One TCP packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpPacket {
    /// Microseconds on QEMU's clock.
    pub at_us: u64,
    /// From.
    pub source: (Ipv4Addr, u16),
    /// To.
    pub destination: (Ipv4Addr, u16),
    /// Where the payload stands in the stream: a retransmission has the number of the first time.
    pub seq: u32,
    /// Bytes at IP level: IP and TCP headers and the payload.
    pub ip_bytes: usize,
    /// What TCP carries.
    pub payload: Vec<u8>,
}

/// A capture, read as a whole.
#[derive(Debug, Clone, Default)]
pub struct Capture {
    /// Every frame, as it was on the wire.
    pub frames: Vec<Vec<u8>>,
    /// The TCP packets among them.
    pub tcp: Vec<TcpPacket>,
}

/// Bytes at IP level.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bytes {
    /// From the device, in packets that carry something.
    pub up: usize,
    /// From the device, in bare acknowledgements.
    pub up_acks: usize,
    /// To the device, in packets that carry something.
    pub down: usize,
    /// To the device, in bare acknowledgements.
    pub down_acks: usize,
}

impl Bytes {
    /// Both ways, acknowledgements included.
    #[must_use]
    pub fn total(&self) -> usize {
        self.up + self.up_acks + self.down + self.down_acks
    }
}

impl Capture {
    /// Reads a capture, which QEMU may still be writing.
    ///
    /// # Errors
    /// [`Failure`] if it cannot be read or is not one.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let bytes = fs::read(path).map_err(Failure::at("read the capture", path))?;
        Self::parse(&bytes)
            .ok_or_else(|| Failure::child("qemu", format!("{} is not a capture", path.display())))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            // Not flushed yet: nothing was sent.
            return Some(Self::default());
        }
        let word = |at: usize| {
            bytes.get(at..at + 4).map(|four| u32::from_ne_bytes(four.try_into().expect("four bytes")))
        };
        if word(0)? != MAGIC {
            return None;
        }
        let mut capture = Self::default();
        let mut at = FILE_HEADER_BYTES;
        while let (Some(seconds), Some(micros), Some(length)) = (word(at), word(at + 4), word(at + 8)) {
            at += PACKET_HEADER_BYTES;
            let Some(frame) = bytes.get(at..at + length as usize) else { break };
            at += frame.len();
            capture.tcp.extend(tcp(u64::from(seconds) * 1_000_000 + u64::from(micros), frame));
            capture.frames.push(frame.to_vec());
        }
        Some(capture)
    }

    /// Bytes at IP level between the device and a port, from TCP packet number `from` on. What was sent again counts once:
    /// how often that happens is the host's load.
    #[must_use]
    pub fn bytes(&self, port: u16, from: usize) -> Bytes {
        let mut bytes = Bytes::default();
        let mut seen = BTreeSet::new();
        for (number, packet) in self.tcp.iter().enumerate() {
            let is_bare = packet.payload.is_empty();
            let is_again = !is_bare && !seen.insert((packet.source, packet.destination, packet.seq));
            if is_again || number < from {
                continue;
            }
            let counter = match (packet.destination.1 == port, packet.source.1 == port) {
                (true, _) if is_bare => &mut bytes.up_acks,
                (true, _) => &mut bytes.up,
                (_, true) if is_bare => &mut bytes.down_acks,
                (_, true) => &mut bytes.down,
                _ => continue,
            };
            *counter += packet.ip_bytes;
        }
        bytes
    }

    /// Whether any frame holds these bytes.
    #[must_use]
    pub fn holds(&self, needle: &[u8]) -> bool {
        self.frames.iter().any(|frame| frame.windows(needle.len()).any(|window| window == needle))
    }
}

fn tcp(at_us: u64, frame: &[u8]) -> Option<TcpPacket> {
    let sliced = SlicedPacket::from_ethernet(frame).ok()?;
    let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Tcp(tcp))) = (sliced.net, sliced.transport) else {
        return None;
    };
    let header = ip.header();
    Some(TcpPacket {
        at_us,
        source: (header.source_addr(), tcp.source_port()),
        destination: (header.destination_addr(), tcp.destination_port()),
        seq: tcp.sequence_number(),
        ip_bytes: usize::from(header.total_len()),
        payload: tcp.payload().to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    const DEVICE: [u8; 4] = [10, 0, 2, 15];
    const GATEWAY: [u8; 4] = [10, 0, 2, 2];

    /// Second, which is the sequence number too, addresses, ports, payload.
    type Sent<'a> = (u32, [u8; 4], [u8; 4], u16, u16, &'a [u8]);

    fn capture(packets: &[Sent<'_>]) -> Vec<u8> {
        let mut file = MAGIC.to_ne_bytes().to_vec();
        file.resize(FILE_HEADER_BYTES, 0);
        for (second, source, destination, from, to, payload) in packets {
            let mut frame = Vec::new();
            PacketBuilder::ethernet2([2; 6], [4; 6])
                .ipv4(*source, *destination, 64)
                .tcp(*from, *to, *second, 1024)
                .write(&mut frame, payload)
                .unwrap();
            let length = u32::try_from(frame.len()).unwrap();
            for word in [*second, 0, length, length] {
                file.extend(word.to_ne_bytes());
            }
            file.extend(frame);
        }
        file
    }

    #[test]
    fn bytes_count_at_ip_level_by_direction() {
        let file = capture(&[
            (1, DEVICE, GATEWAY, 5000, 8883, b"one"),
            (2, GATEWAY, DEVICE, 8883, 5000, b""),
            (9, DEVICE, GATEWAY, 5000, 8883, b"late"),
            (2, DEVICE, GATEWAY, 5000, 53, b"not this port"),
        ]);
        let read = Capture::parse(&file).unwrap();
        assert_eq!(read.bytes(8883, 0), Bytes { up: 87, down_acks: 40, ..Bytes::default() });
        assert_eq!(read.bytes(8883, 2), Bytes { up: 44, ..Bytes::default() });
        assert!(read.holds(b"late") && !read.holds(b"never sent"));
    }

    #[test]
    fn what_was_sent_again_counts_once() {
        let once = (1, DEVICE, GATEWAY, 5000, 8883, b"one".as_slice());
        let other_side = (1, GATEWAY, DEVICE, 8883, 5000, b"two".as_slice());
        let ack = (1, DEVICE, GATEWAY, 5000, 8883, b"".as_slice());
        let read = Capture::parse(&capture(&[ack, once, other_side, once, ack])).unwrap();
        assert_eq!(read.bytes(8883, 0), Bytes { up: 43, up_acks: 80, down: 43, ..Bytes::default() });
        assert_eq!(read.bytes(8883, 3), Bytes { up_acks: 40, ..Bytes::default() }, "it was sent before");
    }

    #[test]
    fn packet_cut_off_by_a_power_cut_is_left_out_and_the_others_stay() {
        let file = capture(&[(1, DEVICE, GATEWAY, 1, 2, b"whole"), (2, DEVICE, GATEWAY, 1, 2, b"torn")]);
        for cut in 1..30 {
            let read = Capture::parse(&file[..file.len() - cut]).unwrap();
            assert_eq!(read.frames.len(), 1);
        }
    }
}
