//! Packets to bytes (MQTT 5 chapter 3). The lengths are constants or bounded by the types of their parts.

use fieldpost_protocol::limits::{ID_CHARS_MAX, TOPIC_BYTES_MAX};

use super::{PACKET_BYTES_MAX, RECEIVE_MAX};

/// The longest control packet of ours: SUBSCRIBE or CONNECT.
pub(crate) const CONTROL_BYTES_MAX: usize = 112;

const _: () = assert!(2 + 10 + 14 + 2 + ID_CHARS_MAX <= CONTROL_BYTES_MAX, "CONNECT fits");
const _: () = assert!(2 + 3 + (2 + TOPIC_BYTES_MAX + 1) <= CONTROL_BYTES_MAX, "SUBSCRIBE fits");

const _: () =
    assert!(1 + 4 + 2 + TOPIC_BYTES_MAX + 2 < CONTROL_BYTES_MAX, "a PUBLISH without its payload fits");

/// A control packet.
pub(crate) type Control = heapless::Vec<u8, CONTROL_BYTES_MAX>;

/// What CONNECT asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Connect<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) clean_start: bool,
    pub(crate) keep_alive_s: u16,
    pub(crate) session_expiry_s: u32,
}

impl Connect<'_> {
    /// Section 3.1. No will, no user name: the certificate says who we are.
    pub(super) fn write(&self) -> Control {
        let mut body = Body::new(0x10);
        body.text("MQTT");
        body.add(&[5, u8::from(self.clean_start) << 1]);
        body.add(&self.keep_alive_s.to_be_bytes());
        body.add(&[5 + 3 + 5, 0x11]);
        body.add(&self.session_expiry_s.to_be_bytes());
        body.add(&[0x21]);
        body.add(&RECEIVE_MAX.to_be_bytes());
        body.add(&[0x27]);
        body.add(&(PACKET_BYTES_MAX as u32).to_be_bytes());
        body.text(self.client_id);
        body.finish()
    }
}

/// Section 3.8: one filter at quality 1.
pub(super) fn subscribe(packet_id: u16, topic: &str) -> Control {
    let mut body = Body::new(0x82);
    body.add(&packet_id.to_be_bytes());
    body.add(&[0]);
    body.text(topic);
    body.add(&[1]);
    body.finish()
}

/// Section 3.4: success, in its short form.
pub(super) fn puback(packet_id: u16) -> Control {
    let mut body = Body::new(0x40);
    body.add(&packet_id.to_be_bytes());
    body.finish()
}

/// Section 3.12.
pub(super) fn pingreq() -> Control {
    Body::new(0xC0).finish()
}

/// Section 3.14: normal, the session stays; or why.
pub(super) fn disconnect(reason: u8) -> Control {
    let mut body = Body::new(0xE0);
    if reason != 0 {
        body.add(&[reason]);
    }
    body.finish()
}

/// Section 3.3, all of a PUBLISH but its payload, at quality 1.
pub(super) fn publish_header(packet_id: u16, topic: &str, payload_len: usize) -> Control {
    let mut header = Control::new();
    let body_len = 2 + topic.len() + 2 + 1 + payload_len;
    add(&mut header, &[0x32]);
    let mut rest = body_len;
    while rest > 0x7F {
        add(&mut header, &[(rest & 0x7F) as u8 | 0x80]);
        rest >>= 7;
    }
    add(&mut header, &[rest as u8]);
    add(&mut header, &(topic.len() as u16).to_be_bytes());
    add(&mut header, topic.as_bytes());
    add(&mut header, &packet_id.to_be_bytes());
    add(&mut header, &[0]);
    header
}

/// A packet of at most 127 bytes after the fixed header.
struct Body(Control);

impl Body {
    fn new(first: u8) -> Self {
        let mut packet = Control::new();
        add(&mut packet, &[first, 0]);
        Self(packet)
    }

    fn add(&mut self, bytes: &[u8]) {
        add(&mut self.0, bytes);
    }

    fn text(&mut self, text: &str) {
        self.add(&(text.len() as u16).to_be_bytes());
        self.add(text.as_bytes());
    }

    fn finish(mut self) -> Control {
        self.0[1] = (self.0.len() - 2) as u8;
        self.0
    }
}

fn add(packet: &mut Control, bytes: &[u8]) {
    packet.extend_from_slice(bytes).expect("CONTROL_BYTES_MAX holds the longest control packet");
}
