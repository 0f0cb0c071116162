//! A raw MQTT client: it sends exactly the bytes a test wants, right or wrong, and shows what came back.

use std::sync::{Arc, LazyLock};

use fieldpost_protocol::{BootId, ClockQuality, Envelope, Head, Mode, Seq};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::door::{Credentials, PATIENCE, TestDoor, roots};

/// 2026-11-21, so that a device clock can be near it.
pub(crate) fn now_ms() -> u64 {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since_epoch.as_millis()).unwrap()
}

/// One packet from the server, or the end of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    Connack { session_present: bool, code: u8, properties: Vec<u8> },
    Puback { packet_id: u16, code: u8 },
    Suback { packet_id: u16, codes: Vec<u8> },
    Publish { packet_id: Option<u16>, dup: bool, payload: Vec<u8> },
    Pingresp,
    Disconnect { code: u8 },
    End,
}

/// A client that speaks MQTT level `level` (4 = 3.1.1, 5).
pub(crate) struct Client {
    stream: TlsStream<TcpStream>,
    received: Vec<u8>,
    pub(crate) level: u8,
    /// Why the stream broke, as TLS or the network put it.
    pub(crate) broken: Option<String>,
}

/// What a CONNECT says; every test changes what it is about.
pub(crate) struct Connect<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) flags: u8,
    pub(crate) keep_alive_s: u16,
    pub(crate) properties: &'a [u8],
    pub(crate) after: &'a [u8],
}

impl<'a> Connect<'a> {
    pub(crate) fn clean(client_id: &'a str) -> Self {
        Self { client_id, flags: 0b10, keep_alive_s: 60, properties: &[], after: &[] }
    }
}

impl Client {
    /// Shakes hands; the error is what TLS said.
    pub(crate) async fn dial(
        door: &TestDoor,
        credentials: Option<&Credentials>,
        level: u8,
    ) -> std::io::Result<Self> {
        Self::dial_at(door.door.address(), roots(&door.authority), credentials, level).await
    }

    /// Shakes hands with whatever listens at `address`.
    pub(crate) async fn dial_at(
        address: std::net::SocketAddr,
        roots: rustls::RootCertStore,
        credentials: Option<&Credentials>,
        level: u8,
    ) -> std::io::Result<Self> {
        let builder = rustls::ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
        let config = match credentials {
            Some((chain, key)) => builder.with_client_auth_cert(chain.clone(), key.clone_key()).unwrap(),
            None => builder.with_no_client_auth(),
        };
        Self::dial_with(address, &Arc::new(config), level).await
    }

    /// Shakes hands with whatever listens at `address`, taking up an earlier session if `config` remembers one.
    pub(crate) async fn dial_with(
        address: std::net::SocketAddr,
        config: &Arc<rustls::ClientConfig>,
        level: u8,
    ) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await?;
        Ok(Self { stream, received: Vec::new(), level, broken: None })
    }

    /// How TLS came about.
    pub(crate) fn handshake_kind(&self) -> Option<rustls::HandshakeKind> {
        self.stream.get_ref().1.handshake_kind()
    }

    /// Shakes hands and connects as `device` with a clean MQTT 5 session.
    pub(crate) async fn connected(door: &mut TestDoor, device: &str) -> Self {
        let credentials = door.issue(crate::door::FORCE, device, Mode::Test);
        let mut client = Self::dial(door, Some(&credentials), 5).await.unwrap();
        client.connect(&Connect::clean(device)).await;
        let connack = client.hear().await;
        assert!(matches!(connack, Heard::Connack { code: 0, .. }), "{connack:?}");
        client
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Past TLS, straight onto the wire.
    pub(crate) async fn send_in_clear(&mut self, bytes: &[u8]) {
        self.stream.get_mut().0.write_all(bytes).await.unwrap();
    }

    pub(crate) async fn connect(&mut self, connect: &Connect<'_>) {
        let mut body = vec![0, 4];
        body.extend_from_slice(b"MQTT");
        body.extend_from_slice(&[self.level, connect.flags]);
        body.extend_from_slice(&connect.keep_alive_s.to_be_bytes());
        if self.level == 5 {
            body.push(u8::try_from(connect.properties.len()).unwrap());
            body.extend_from_slice(connect.properties);
        }
        text(connect.client_id, &mut body);
        body.extend_from_slice(connect.after);
        self.send(&packet(0x10, &body)).await;
    }

    pub(crate) async fn publish(&mut self, topic: &str, packet_id: u16, payload: &[u8]) {
        let bytes = self.publish_bytes(topic, packet_id, &[], payload);
        self.send(&bytes).await;
    }

    /// A PUBLISH of quality 1, or 0 if the packet id is 0.
    pub(crate) fn publish_bytes(
        &self,
        topic: &str,
        packet_id: u16,
        properties: &[u8],
        payload: &[u8],
    ) -> Vec<u8> {
        let mut body = Vec::new();
        text(topic, &mut body);
        if packet_id != 0 {
            body.extend_from_slice(&packet_id.to_be_bytes());
        }
        if self.level == 5 {
            body.push(u8::try_from(properties.len()).unwrap());
            body.extend_from_slice(properties);
        }
        body.extend_from_slice(payload);
        packet(if packet_id == 0 { 0x30 } else { 0x32 }, &body)
    }

    pub(crate) async fn subscribe(&mut self, packet_id: u16, topic: &str) -> Heard {
        let mut body = packet_id.to_be_bytes().to_vec();
        if self.level == 5 {
            body.push(0);
        }
        text(topic, &mut body);
        body.push(1);
        self.send(&packet(0x82, &body)).await;
        self.hear().await
    }

    pub(crate) async fn acknowledge(&mut self, packet_id: u16) {
        let [high, low] = packet_id.to_be_bytes();
        self.send(&[0x40, 2, high, low]).await;
    }

    /// Answered by PINGRESP after everything before it was handled.
    pub(crate) async fn ping(&mut self) {
        self.send(&[0xC0, 0]).await;
    }

    /// The next packet; panics after [`PATIENCE`].
    pub(crate) async fn hear(&mut self) -> Heard {
        tokio::time::timeout(PATIENCE, self.next()).await.expect("the gateway answers")
    }

    async fn next(&mut self) -> Heard {
        loop {
            if let Some((size, heard)) = parse(&self.received, self.level) {
                self.received.drain(..size);
                return heard;
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer).await {
                Ok(0) => return Heard::End,
                Err(error) => {
                    self.broken = Some(error.to_string());
                    return Heard::End;
                }
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
            }
        }
    }
}

fn parse(bytes: &[u8], level: u8) -> Option<(usize, Heard)> {
    let (&first, rest) = bytes.split_first()?;
    let mut len = 0;
    let mut len_len = 0;
    for byte in rest {
        len |= usize::from(byte & 0x7F) << (7 * len_len);
        len_len += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    if len_len == 0 || rest[len_len - 1] & 0x80 != 0 {
        return None;
    }
    let size = 1 + len_len + len;
    let body = bytes.get(1 + len_len..size)?;
    let id = || u16::from_be_bytes([body[0], body[1]]);
    let heard = match first >> 4 {
        2 => Heard::Connack {
            session_present: body[0] == 1,
            code: body[1],
            properties: body.get(3..).unwrap_or_default().to_vec(),
        },
        4 => Heard::Puback { packet_id: id(), code: body.get(2).copied().unwrap_or(0) },
        9 => Heard::Suback { packet_id: id(), codes: body[if level == 5 { 3 } else { 2 }..].to_vec() },
        3 => {
            let mut at = 2 + usize::from(id());
            let packet_id = (first & 0b110 != 0).then(|| {
                at += 2;
                u16::from_be_bytes([body[at - 2], body[at - 1]])
            });
            at += usize::from(level == 5);
            Heard::Publish { packet_id, dup: first & 8 != 0, payload: body[at..].to_vec() }
        }
        13 => Heard::Pingresp,
        14 => Heard::Disconnect { code: body.first().copied().unwrap_or(0) },
        other => panic!("the gateway sent packet type {other}"),
    };
    Some((size, heard))
}

pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut left = body.len();
    loop {
        let low = u8::try_from(left & 0x7F).unwrap();
        left >>= 7;
        bytes.push(low | if left > 0 { 0x80 } else { 0 });
        if left == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

pub(crate) fn text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&u16::try_from(text.len()).unwrap().to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// A head as a device with a good clock writes it.
pub(crate) fn head(class: fieldpost_protocol::Class, mode: Mode, seq: u32) -> Head {
    Head {
        version: 1,
        class,
        mode,
        clock: ClockQuality::Gnss,
        boot: BootId(1),
        seq: Seq(seq),
        time_ms: now_ms(),
    }
}

pub(crate) fn envelope(head: Head, body: &[u8]) -> Vec<u8> {
    let mut buffer = [0; fieldpost_protocol::limits::FRAME_BYTES_MAX];
    Envelope { head, body, trailer: None }.encode(&mut buffer).unwrap().to_vec()
}

pub(crate) fn a_position() -> fieldpost_protocol::Position {
    fieldpost_protocol::Position {
        latitude_udeg: 51_500_000,
        longitude_udeg: -120_000,
        speed_cmps: Some(140),
        course_turn256: None,
        accuracy_m: 5,
        source: fieldpost_protocol::FixSource::GNSS,
        reason: fieldpost_protocol::ReportReason::INTERVAL,
    }
}

/// When the tests began, so that a record made twice is the same record.
static BEGAN_MS: LazyLock<u64> = LazyLock::new(now_ms);

/// A lone position of boot 1: the same one for the same sequence.
pub(crate) fn position(mode: Mode, seq: u32) -> Vec<u8> {
    let mut body = [0; 64];
    let body = a_position().encode(&mut body).unwrap().to_vec();
    let head = head(fieldpost_protocol::Class::POSITION, mode, seq);
    envelope(Head { time_ms: *BEGAN_MS + u64::from(seq), ..head }, &body)
}
