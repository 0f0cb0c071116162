//! One bare device: a connection, a window of open publishes, and the list of what was acknowledged.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Instant,
};

use fieldpost_protocol::{BootId, DeviceId, Lane, Seq, limits, topic};
use rustls::HandshakeKind;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    Credentials,
    codec::{self, Answer},
};
use crate::fleet::source::unix_ms;

/// The connection ended or was refused.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// TCP, TLS, or the end of the stream.
    #[error("the connection ended: {0}")]
    Connection(#[from] io::Error),
    /// CONNACK with a code other than 0.
    #[error("the server refused the connection with code {0}")]
    Refused(u8),
}

/// One publish that waits for its PUBACK.
#[derive(Debug, Clone, Copy)]
struct Open {
    packet_id: u16,
    seq: Seq,
    issued_at: Instant,
    /// Its device time, Unix ms: sent again it is the same record, byte by byte.
    made_ms: u64,
}

/// What a device has sent and not heard of, oldest first. It outlives connections, as an outbox does.
#[derive(Debug)]
pub struct Window {
    boot: BootId,
    next: u32,
    unacknowledged: VecDeque<Open>,
    /// Sequences acknowledged so far, in the order of their PUBACKs.
    pub acknowledged: Vec<Seq>,
    /// From issue to PUBACK, in microseconds, for each entry of `acknowledged`.
    pub waited_us: Vec<u64>,
    /// Publishes written, redeliveries included.
    pub published_count: u64,
}

impl Window {
    /// An empty window of one boot.
    #[must_use]
    pub fn new(boot: BootId) -> Self {
        Self {
            boot,
            next: 0,
            unacknowledged: VecDeque::new(),
            acknowledged: Vec::new(),
            waited_us: Vec::new(),
            published_count: 0,
        }
    }

    /// Sequences issued so far.
    #[must_use]
    pub fn issued_count(&self) -> u32 {
        self.next
    }

    /// Sequences sent and not acknowledged.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.unacknowledged.len()
    }

    fn issue(&mut self) -> Open {
        let seq = Seq(self.next);
        self.next += 1;
        // Packet ids 1 to 65535: far more than any window, so an open one is never reused.
        let packet_id = u16::try_from(seq.0 % 65_535 + 1).expect("1 to 65535");
        let open = Open { packet_id, seq, issued_at: Instant::now(), made_ms: unix_ms() };
        self.unacknowledged.push_back(open);
        open
    }

    fn settle(&mut self, packet_id: u16) {
        // Acknowledged in order almost always, so this looks at the first.
        if let Some(at) = self.unacknowledged.iter().position(|open| open.packet_id == packet_id) {
            let open = self.unacknowledged.remove(at).expect("the position was found just above");
            self.acknowledged.push(open.seq);
            self.waited_us.push(u64::try_from(open.issued_at.elapsed().as_micros()).unwrap_or(u64::MAX));
        }
    }
}

/// What a device hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// PUBACK for a packet id.
    Acknowledged(u16),
    /// A downlink frame. One with a packet id wants [`Client::confirm`].
    Told {
        /// Its packet id.
        packet_id: Option<u16>,
        /// The frame.
        frame: Vec<u8>,
    },
}

/// A connected bare device.
pub struct Client {
    stream: TlsStream<TcpStream>,
    device: DeviceId,
    topic: topic::Topic,
    out: Vec<u8>,
    input: Vec<u8>,
    taken: usize,
    frame_bytes: usize,
    lane: Lane,
}

impl Client {
    /// Connects and waits for the CONNACK. `frame_bytes` is the size of every payload.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn connect(
        server: SocketAddr,
        credentials: &Credentials,
        frame_bytes: usize,
    ) -> Result<Self, ClientError> {
        Self::connect_from(Ipv4Addr::LOCALHOST, server, credentials, frame_bytes).await
    }

    /// The same from `source`: one address has 28,000 ports, and those of ended connections are kept for a minute.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn connect_from(
        source: Ipv4Addr,
        server: SocketAddr,
        credentials: &Credentials,
        frame_bytes: usize,
    ) -> Result<Self, ClientError> {
        let socket = TcpSocket::new_v4()?;
        if source != Ipv4Addr::LOCALHOST {
            socket.bind(SocketAddr::from((source, 0)))?;
        }
        let tcp = socket.connect(server).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::from(IpAddr::from(Ipv4Addr::LOCALHOST));
        let stream = TlsConnector::from(credentials.tls.clone()).connect(name, tcp).await?;
        let mut client = Self {
            stream,
            device: credentials.device.clone(),
            topic: topic::uplink(&credentials.device, Lane::Live),
            out: Vec::new(),
            input: Vec::new(),
            taken: 0,
            frame_bytes,
            lane: Lane::Live,
        };
        codec::connect(credentials.device.as_str(), 60, &mut client.out);
        client.flush().await?;
        loop {
            match client.next_answer().await? {
                Answer::Connected(0) => return Ok(client),
                Answer::Connected(code) => return Err(ClientError::Refused(code)),
                _ => {}
            }
        }
    }

    /// Publishes one frame in a lane, whatever window the caller keeps.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn publish(&mut self, lane: Lane, packet_id: u16, frame: &[u8]) -> Result<(), ClientError> {
        codec::publish(&topic::uplink(&self.device, lane), packet_id, frame, &mut self.out);
        self.flush().await
    }

    /// Asks for what the gateway has to tell the device, and waits until that is granted.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn subscribe(&mut self) -> Result<(), ClientError> {
        codec::subscribe(&topic::downlink(&self.device), 1, &mut self.out);
        self.flush().await?;
        loop {
            match self.next_answer().await? {
                Answer::Subscribed(0 | 1) => return Ok(()),
                Answer::Subscribed(code) => return Err(ClientError::Refused(code)),
                _ => {}
            }
        }
    }

    /// Waits for the next PUBACK or downlink frame. Cancel-safe.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn hear(&mut self) -> Result<Heard, ClientError> {
        loop {
            match self.next_answer().await? {
                Answer::Acknowledged(packet_id) => return Ok(Heard::Acknowledged(packet_id)),
                Answer::Told(packet_id, frame) => {
                    return Ok(Heard::Told { packet_id, frame: frame.to_vec() });
                }
                _ => {}
            }
        }
    }

    /// Tells the gateway that the device has a downlink frame.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn confirm(&mut self, packet_id: u16) -> Result<(), ClientError> {
        codec::puback(packet_id, &mut self.out);
        self.flush().await
    }

    /// From now on every record is an alarm, in the alarms' lane.
    #[must_use]
    pub fn raising_alarms(mut self, credentials: &Credentials) -> Self {
        self.topic = topic::uplink(&credentials.device, Lane::Alarm);
        self.lane = Lane::Alarm;
        self
    }

    /// Whether it took up an earlier TLS session.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Sends everything unacknowledged again, as an outbox does after a reconnect.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn resend(&mut self, window: &mut Window) -> Result<(), ClientError> {
        let owed: Vec<Open> = window.unacknowledged.iter().copied().collect();
        for open in owed {
            self.push(window, open);
        }
        self.flush().await
    }

    /// Fills the window up to `open_max` open publishes and writes them in one go.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn fill(
        &mut self,
        window: &mut Window,
        open_max: usize,
        issue_max: u32,
    ) -> Result<(), ClientError> {
        while window.unacknowledged.len() < open_max && window.next < issue_max {
            let open = window.issue();
            self.push(window, open);
        }
        self.flush().await
    }

    /// Writes bytes that need not be MQTT.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn send_raw(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        self.out.extend_from_slice(bytes);
        self.flush().await
    }

    /// Waits for at least one PUBACK and takes every one that has arrived.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn settle(&mut self, window: &mut Window) -> Result<(), ClientError> {
        let mut settled = false;
        while !settled || self.has_whole_packet() {
            if let Answer::Acknowledged(packet_id) = self.next_answer().await? {
                window.settle(packet_id);
                settled = true;
            }
        }
        Ok(())
    }

    fn push(&mut self, window: &mut Window, open: Open) {
        let mut frame = [0; limits::FRAME_BYTES_MAX];
        let len = match self.lane {
            Lane::Alarm => codec::alarm(window.boot, open.seq, open.made_ms, None, &mut frame),
            _ => codec::position(window.boot, open.seq, open.made_ms, self.frame_bytes, &mut frame),
        };
        codec::publish(&self.topic, open.packet_id, &frame[..len], &mut self.out);
        window.published_count += 1;
    }

    async fn flush(&mut self) -> Result<(), ClientError> {
        if !self.out.is_empty() {
            self.stream.write_all(&self.out).await?;
            self.stream.flush().await?;
            self.out.clear();
        }
        Ok(())
    }

    fn has_whole_packet(&self) -> bool {
        codec::take(&self.input[self.taken..]).is_some()
    }

    async fn next_answer(&mut self) -> Result<Answer<'_>, ClientError> {
        loop {
            if self.has_whole_packet() {
                let (answer, len) = codec::take(&self.input[self.taken..]).expect("there is one: just seen");
                self.taken += len;
                return Ok(answer);
            }
            self.input.drain(..self.taken);
            self.taken = 0;
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(ClientError::Connection(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}
