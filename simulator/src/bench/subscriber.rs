//! One QoS 1 subscriber of everything, so that a broker does what brokers are for while it is measured.

use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_rustls::TlsConnector;

use super::Server;
use crate::raw::{ClientError, Credentials};

/// Subscribes to `#` as `device` and answers every message until the task is aborted.
///
/// # Errors
/// [`ClientError`] if the broker does not let it in.
pub async fn subscribe(server: &Server, device: &Credentials) -> Result<JoinHandle<()>, ClientError> {
    let tcp = TcpStream::connect(server.address).await?;
    tcp.set_nodelay(true)?;
    let name = ServerName::from(server.address.ip());
    let mut stream = TlsConnector::from(device.tls.clone()).connect(name, tcp).await?;
    // CONNECT of MQTT 3.1.1 with a clean session, then SUBSCRIBE to `#` with quality 1.
    let id = device.device.as_str().as_bytes();
    let id_len = u8::try_from(id.len()).expect("an identity has at most 64 characters");
    let mut hello = vec![0x10, 12 + id_len, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, id_len];
    hello.extend_from_slice(id);
    hello.extend_from_slice(&[0x82, 6, 0, 1, 0, 1, b'#', 1]);
    stream.write_all(&hello).await?;
    // CONNACK and SUBACK: 4 and 5 bytes.
    stream.read_exact(&mut [0; 9]).await?;
    Ok(tokio::spawn(async move {
        let (mut input, mut answers) = (Vec::new(), Vec::new());
        while stream.read_buf(&mut input).await.is_ok_and(|count| count > 0) {
            let used = answer(&input, &mut answers);
            input.drain(..used);
            if stream.write_all(&answers).await.is_err() {
                return;
            }
            answers.clear();
        }
    }))
}

/// Adds a PUBACK for each whole PUBLISH of quality 1 in `input`; returns the bytes looked at.
fn answer(input: &[u8], answers: &mut Vec<u8>) -> usize {
    let mut used = 0;
    while let Some((body_at, len)) = length(&input[used..]) {
        let Some(body) = input[used..].get(body_at..body_at + len) else { break };
        if input[used] & 0xF6 == 0x32 {
            let id_at = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
            answers.extend_from_slice(&[0x40, 2, body[id_at], body[id_at + 1]]);
        }
        used += body_at + len;
    }
    used
}

/// Where the body of the packet at the front begins, and its length.
fn length(packet: &[u8]) -> Option<(usize, usize)> {
    let mut len = 0;
    for (at, byte) in packet.iter().enumerate().skip(1).take(4) {
        len |= usize::from(byte & 0x7F) << (7 * (at - 1));
        if byte & 0x80 == 0 {
            return Some((at + 1, len));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_whole_publish_is_answered_once() {
        let publish = [0x32, 7, 0, 1, b't', 0x12, 0x34, b'x', b'y', 0xD0, 0, 0x32, 7, 0];
        let mut answers = Vec::new();
        assert_eq!(answer(&publish, &mut answers), 11);
        assert_eq!(answers, [0x40, 2, 0x12, 0x34]);
    }
}
