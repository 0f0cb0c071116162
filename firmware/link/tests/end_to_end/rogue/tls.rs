//! The server's side of one TLS 1.3 handshake (RFC 8446), which says whatever it is told to.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use aes_gcm::{AeadInPlace as _, Aes128Gcm, KeyInit as _, Tag};
use hkdf::Hkdf;
use hmac::{Hmac, Mac as _};
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{DerSignature, SigningKey};
use p256::elliptic_curve::sec1::ToEncodedPoint as _;
use p256::{PublicKey, SecretKey};
use sha2::{Digest as _, Sha256};

use super::Seen;
use super::mangle::Mangler;

const HANDSHAKE: u8 = 22;
const ALERT: u8 = 21;
const APPLICATION: u8 = 23;
const FINISHED: u8 = 20;

/// The longest piece of a handshake message in a record of ours: the genuine gateway's, too.
const FRAGMENT_BYTES_MAX: usize = 2048 - 22;

/// A client that has said hello, and the keys of its connection.
pub(crate) struct Server {
    tcp: TcpStream,
    transcript: Sha256,
    schedule: Schedule,
    ours: Sealer,
    theirs: Sealer,
    server_finished_key: Vec<u8>,
    mangler: Option<Mangler>,
}

/// Secrets that the application keys come from.
struct Schedule {
    master: [u8; 32],
    client_application: [u8; 32],
}

struct Hello {
    session_id: Vec<u8>,
    share: Vec<u8>,
    bytes: Vec<u8>,
}

/// What [`Server::next`] found.
pub(crate) enum Next {
    Application(Vec<u8>),
    Alert(u8),
    End,
}

/// One direction's keys.
pub(crate) struct Sealer {
    cipher: Aes128Gcm,
    iv: [u8; 12],
    seq: u64,
}

impl Sealer {
    fn new(secret: &[u8]) -> Self {
        let key: [u8; 16] = expand(secret, "key", &[]);
        Self { cipher: Aes128Gcm::new(&key.into()), iv: expand(secret, "iv", &[]), seq: 0 }
    }

    fn nonce(&mut self) -> [u8; 12] {
        let mut nonce = self.iv;
        for (byte, counter) in nonce[4..].iter_mut().zip(self.seq.to_be_bytes()) {
            *byte ^= counter;
        }
        self.seq += 1;
        nonce
    }

    /// A record of `content`.
    pub(crate) fn seal(&mut self, kind: u8, content: &[u8]) -> Vec<u8> {
        let mut inner = content.to_vec();
        inner.push(kind);
        let len = u16::try_from(inner.len() + 16).expect("a record is short");
        let mut record = vec![APPLICATION, 3, 3];
        record.extend(len.to_be_bytes());
        let nonce = self.nonce();
        let tag =
            self.cipher.encrypt_in_place_detached(&nonce.into(), &record, &mut inner).expect("it encrypts");
        record.extend(inner);
        record.extend(tag);
        record
    }

    fn open(&mut self, header: &[u8], payload: &[u8]) -> Option<(u8, Vec<u8>)> {
        let (sealed, tag) = payload.split_at_checked(payload.len().checked_sub(16)?)?;
        let mut inner = sealed.to_vec();
        let nonce = self.nonce();
        self.cipher
            .decrypt_in_place_detached(&nonce.into(), header, &mut inner, Tag::from_slice(tag))
            .ok()?;
        let end = inner.iter().rposition(|byte| *byte != 0)?;
        Some((inner[end], inner[..end].to_vec()))
    }
}

impl Server {
    /// Hears the client's hello and answers it; after this both sides have handshake keys.
    pub(crate) fn accept(mut tcp: TcpStream) -> Option<Self> {
        let hello = hear_hello(&mut tcp)?;
        let secret = SecretKey::from_slice(&[7; 32]).expect("below the order");
        let share = secret.public_key().to_encoded_point(false);
        let peer = PublicKey::from_sec1_bytes(&hello.share).ok()?;
        let shared = p256::ecdh::diffie_hellman(secret.to_nonzero_scalar(), peer.as_affine());

        let mut extensions = vec![0, 43, 0, 2, 3, 4];
        extensions.extend([0, 51, 0, 69, 0, 23, 0, 65]);
        extensions.extend(share.as_bytes());
        let server_hello = message(2, &hello_body(&hello.session_id, 0x1301, Some(&extensions)));
        tcp.write_all(&record(HANDSHAKE, &server_hello)).ok()?;

        let transcript = Sha256::new().chain_update(&hello.bytes).chain_update(&server_hello);
        let hash = transcript.clone().finalize();
        let empty = Sha256::digest([]);
        let early = extract(&[0; 32], &[0; 32]);
        let handshake = extract(&expand::<32>(&early, "derived", &empty), shared.raw_secret_bytes());
        let client = expand::<32>(&handshake, "c hs traffic", &hash);
        let server = expand::<32>(&handshake, "s hs traffic", &hash);
        let master = extract(&expand::<32>(&handshake, "derived", &empty), &[0; 32]);
        Some(Self {
            tcp,
            transcript,
            schedule: Schedule { master, client_application: [0; 32] },
            ours: Sealer::new(&server),
            theirs: Sealer::new(&client),
            server_finished_key: expand::<32>(&server, "finished", &[]).to_vec(),
            mangler: None,
        })
    }

    /// From now on everything that is said is mangled.
    pub(crate) fn mangle(&mut self, mangler: Mangler) {
        self.mangler = Some(mangler);
    }

    /// Sends handshake messages, each in as many records as it needs.
    pub(crate) fn say(&mut self, messages: &[Vec<u8>]) -> Option<()> {
        for message in messages {
            let mut mangler = self.mangler.take();
            let said =
                mangler.as_mut().map_or_else(|| vec![message.clone()], |mangler| mangler.message(message));
            for message in &said {
                self.transcript.update(message);
                let pieces = match &mut mangler {
                    Some(mangler) => mangler.pieces(message),
                    None => message.chunks(FRAGMENT_BYTES_MAX).collect(),
                };
                for piece in pieces {
                    let record = self.ours.seal(HANDSHAKE, piece);
                    self.tcp.write_all(&record).ok()?;
                }
            }
            self.mangler = mangler;
        }
        Some(())
    }

    /// Sends anything in a record that opens.
    pub(crate) fn say_anything(&mut self, mangler: &mut Mangler) -> Option<()> {
        let kind = [20, ALERT, HANDSHAKE, HANDSHAKE, APPLICATION, APPLICATION, 0, 255][mangler.draw(8)];
        let record = self.ours.seal(kind, &mangler.bytes());
        self.tcp.write_all(&record).ok()
    }

    /// Sends a handshake message in one record, however long.
    pub(crate) fn say_in_one_record(&mut self, message: &[u8]) -> Option<()> {
        self.transcript.update(message);
        let record = self.ours.seal(HANDSHAKE, message);
        self.tcp.write_all(&record).ok()
    }

    /// CertificateVerify over what has been said so far.
    pub(crate) fn verification(&self, key: &SigningKey) -> Vec<u8> {
        let mut content = vec![0x20; 64];
        content.extend(b"TLS 1.3, server CertificateVerify\0");
        content.extend(self.transcript.clone().finalize());
        let signature: DerSignature = key.sign(&content);
        let mut body = vec![4, 3];
        body.extend(u16::try_from(signature.as_bytes().len()).expect("short").to_be_bytes());
        body.extend(signature.as_bytes());
        message(15, &body)
    }

    /// Finished; from here on this side has application keys.
    pub(crate) fn finish(&mut self) -> Option<()> {
        let mut mac =
            <Hmac<Sha256> as hmac::Mac>::new_from_slice(&self.server_finished_key).expect("any length");
        mac.update(&self.transcript.clone().finalize());
        self.say(&[message(FINISHED, &mac.finalize().into_bytes())])?;
        let hash = self.transcript.clone().finalize();
        let server = expand::<32>(&self.schedule.master, "s ap traffic", &hash);
        self.schedule.client_application = expand(&self.schedule.master, "c ap traffic", &hash);
        self.ours = Sealer::new(&server);
        Some(())
    }

    /// Seals application bytes.
    pub(crate) fn seal(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.ours.seal(APPLICATION, bytes)
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Option<()> {
        self.tcp.write_all(bytes).ok()
    }

    /// Says nothing more.
    pub(crate) fn end(&mut self) {
        // A client that is gone has no need of it.
        _ = self.tcp.shutdown(Shutdown::Write);
    }

    /// Reads on to the next thing that matters. The client's Finished turns to application keys on the way.
    pub(crate) fn next(&mut self) -> Next {
        loop {
            let Some((header, payload)) = read_record(&mut self.tcp) else { return Next::End };
            let (kind, content) = match header[0] {
                APPLICATION => match self.theirs.open(&header, &payload) {
                    Some(opened) => opened,
                    None => return Next::End,
                },
                kind => (kind, payload),
            };
            match kind {
                ALERT => return Next::Alert(content.get(1).copied().unwrap_or(0)),
                APPLICATION => return Next::Application(content),
                HANDSHAKE if has_finished(&content) => {
                    self.theirs = Sealer::new(&self.schedule.client_application);
                }
                _ => {}
            }
        }
    }

    /// Hears the client out.
    pub(crate) fn drain(&mut self, seen: &mut Seen) {
        loop {
            match self.next() {
                Next::Application(bytes) => seen.application.extend(bytes),
                Next::Alert(alert) => seen.alert = seen.alert.or(Some(alert)),
                Next::End => return,
            }
        }
    }
}

/// Answers a hello as a server of TLS 1.2 does, and hears what the client makes of it.
pub(crate) fn answer_as_tls12(mut tcp: TcpStream, seen: &mut Seen) -> Option<()> {
    let hello = hear_hello(&mut tcp)?;
    let server_hello = message(2, &hello_body(&hello.session_id, 0xC02B, None));
    tcp.write_all(&record(HANDSHAKE, &server_hello)).ok()?;
    while let Some((header, payload)) = read_record(&mut tcp) {
        match header[0] {
            ALERT => seen.alert = payload.get(1).copied(),
            APPLICATION => seen.application.extend(payload),
            _ => {}
        }
    }
    Some(())
}

fn hear_hello(tcp: &mut TcpStream) -> Option<Hello> {
    tcp.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    let (header, bytes) = read_record(tcp)?;
    if header[0] != HANDSHAKE {
        return None;
    }
    // type 1, length 3, version 2, random 32, session id, suites, compressions, extensions
    let mut rest = bytes.get(38..)?;
    let session_id = take(&mut rest, 1)?.to_vec();
    take(&mut rest, 2)?;
    take(&mut rest, 1)?;
    let mut extensions = take(&mut rest, 2)?;
    while extensions.len() >= 4 {
        let is_share = extensions[..2] == [0, 51];
        extensions = &extensions[2..];
        let mut extension = take(&mut extensions, 2)?;
        if is_share {
            let mut shares = take(&mut extension, 2)?;
            shares = shares.get(2..)?;
            return Some(Hello { session_id, share: take(&mut shares, 2)?.to_vec(), bytes });
        }
    }
    None
}

fn hello_body(session_id: &[u8], suite: u16, extensions: Option<&[u8]>) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([9; 32]);
    body.push(u8::try_from(session_id.len()).expect("at most 32"));
    body.extend(session_id);
    body.extend(suite.to_be_bytes());
    body.push(0);
    let extensions = extensions.unwrap_or_default();
    body.extend(u16::try_from(extensions.len()).expect("short").to_be_bytes());
    body.extend(extensions);
    body
}

/// A handshake message.
pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![kind];
    message.extend(&u32::try_from(body.len()).expect("short").to_be_bytes()[1..]);
    message.extend(body);
    message
}

fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let mut record = vec![kind, 3, 3];
    record.extend(u16::try_from(content.len()).expect("short").to_be_bytes());
    record.extend(content);
    record
}

fn read_record(tcp: &mut TcpStream) -> Option<([u8; 5], Vec<u8>)> {
    let mut header = [0; 5];
    tcp.read_exact(&mut header).ok()?;
    let mut payload = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
    tcp.read_exact(&mut payload).ok()?;
    Some((header, payload))
}

/// Takes a field with a length of `width` bytes.
fn take<'a>(bytes: &mut &'a [u8], width: usize) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_at_checked(width)?;
    let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    let (field, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some(field)
}

fn has_finished(mut messages: &[u8]) -> bool {
    while let [kind, rest @ ..] = messages {
        messages = rest;
        if *kind == FINISHED {
            return true;
        }
        if take(&mut messages, 3).is_none() {
            return false;
        }
    }
    false
}

fn extract(salt: &[u8], secret: &[u8]) -> [u8; 32] {
    Hkdf::<Sha256>::extract(Some(salt), secret).0.into()
}

/// HKDF-Expand-Label (section 7.1).
fn expand<const N: usize>(secret: &[u8], label: &str, context: &[u8]) -> [u8; N] {
    let mut info = u16::try_from(N).expect("short").to_be_bytes().to_vec();
    info.push(u8::try_from(6 + label.len()).expect("short"));
    info.extend(b"tls13 ");
    info.extend(label.as_bytes());
    info.push(u8::try_from(context.len()).expect("short"));
    info.extend(context);
    let mut out = [0; N];
    Hkdf::<Sha256>::from_prk(secret).expect("a digest long").expand(&info, &mut out).expect("short");
    out
}
