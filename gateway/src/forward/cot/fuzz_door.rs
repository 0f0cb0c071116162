//! The reader of Cursor on Target for the fuzz targets in `fuzz`, with its claims.

use super::message::{Cot, How, Kind};
use super::parse::{self, EVENT_BYTES_MAX, FIELD_BYTES_MAX, Heard, Refused};
use super::split::{Protocol, Splitter};
use super::{proto, xml};

/// Any bytes as what a TAK party sends: the first byte chooses the protocol, the second how much comes at once.
///
/// # Panics
/// If a claim of the reader does not hold.
pub fn tak_stream(bytes: &[u8]) {
    let [choice, size, stream @ ..] = bytes else { return };
    let protocol = if choice & 1 == 0 { Protocol::Xml } else { Protocol::Protobuf };
    let whole = events(protocol, stream, stream.len().max(1));
    let pieces = events(protocol, stream, usize::from(*size).max(1));
    assert_eq!(whole, pieces, "it matters how the bytes come");
    for event in whole.0 {
        let heard = match protocol {
            Protocol::Xml => parse::event(&event).ok(),
            Protocol::Protobuf => proto::message(&event).ok().flatten(),
        };
        heard.iter().for_each(bounded);
    }
}

/// The events, and why there are no more.
fn events(protocol: Protocol, stream: &[u8], piece_bytes: usize) -> (Vec<Vec<u8>>, Option<Refused>) {
    let mut splitter = Splitter::speaking(protocol);
    let mut events = Vec::new();
    for piece in stream.chunks(piece_bytes) {
        splitter.push(piece);
        loop {
            match splitter.next() {
                Ok(Some(event)) => {
                    assert!(event.len() <= EVENT_BYTES_MAX, "an event of {} bytes", event.len());
                    events.push(event.to_vec());
                }
                Ok(None) => break,
                Err(refused) => return (events, Some(refused)),
            }
        }
    }
    (events, None)
}

/// What is kept is bounded and XML; said by us it is one event, in both encodings the same.
fn bounded(heard: &Heard) {
    assert!(!heard.kind.is_empty() && !heard.uid.is_empty(), "{heard:?}");
    let texts = [&heard.kind, &heard.uid, &heard.remarks].into_iter();
    let texts = texts.chain(&heard.links).chain(&heard.chat_to);
    assert!(texts.clone().all(|text| text.len() <= FIELD_BYTES_MAX), "{heard:?}");
    let cot = Cot {
        key: String::new(),
        battery_key: None,
        // What we call somebody is never longer; in three bytes a character it still fits.
        uid: heard.uid.chars().take(128).collect(),
        kind: Kind::Cancel,
        mode: fieldpost_protocol::Mode::Actual,
        at_ms: 0,
        stale_ms: 1,
        how: How::Machine,
        point: None,
        callsign: heard.remarks.clone(),
        battery_pct: None,
        track: None,
        about: Some((heard.kind.clone(), Kind::Officer)),
        remarks: heard.remarks.clone(),
    };
    let (mut text, mut frame) = (String::new(), Vec::new());
    xml::write(&mut text, &cot);
    proto::write_frame(&mut frame, &cot);
    let (split, refused) = events(Protocol::Protobuf, &frame, frame.len());
    assert_eq!((split.len(), refused), (1, None));
    let by_xml = parse::event(text.as_bytes()).expect("what we write is an event");
    assert_eq!(proto::message(&split[0]), Ok(Some(by_xml)));
    assert_eq!(events(Protocol::Xml, text.as_bytes(), 7).0.len(), 1, "one event");
}
