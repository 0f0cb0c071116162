//! An event that a TAK party sends, read strictly.
//!
//! **Nothing is expanded, fetched or guessed**: a document type, an entity that XML does not define, a processing
//! instruction, bytes that are not UTF-8 or a character that XML 1.0 does not know refuse the event as a whole. What is
//! kept is a closed set of fields of bounded length; everything else is checked and let go.
//!
//! Bounds: [`EVENT_BYTES_MAX`] bytes, [`DEPTH_MAX`] levels, [`ELEMENTS_MAX`] elements, [`ATTRIBUTES_MAX`] attributes each.
//! Work is linear in the bytes, memory a small multiple of them.

use std::borrow::Cow;

use quick_xml::XmlVersion;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::reader::Reader;

/// Largest event taken: a chat of a screen. A TAK server's own limit is 2 KiB a read.
pub(crate) const EVENT_BYTES_MAX: usize = 64 * 1024;
/// Deepest nesting. Events in use have five levels.
pub(crate) const DEPTH_MAX: usize = 16;
/// Most elements of an event.
pub(crate) const ELEMENTS_MAX: usize = 512;
/// Most attributes of an element. `event` has nine.
pub(crate) const ATTRIBUTES_MAX: usize = 32;
/// Longest uid, type, callsign or text that is kept, in bytes; longer ones are cut.
pub(crate) const FIELD_BYTES_MAX: usize = 512;

/// What was said, as far as it matters here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    /// The event's type; never empty.
    pub(crate) kind: String,
    /// Whom it is about; never empty.
    pub(crate) uid: String,
    /// `TakProtocolSupport`: the highest version offered.
    pub(crate) offers: Option<u32>,
    /// `TakRequest`: the version asked for.
    pub(crate) asks: Option<u32>,
    /// `TakResponse`: whether it was granted.
    pub(crate) grants: Option<bool>,
    /// `<emergency cancel="true">`.
    pub(crate) cancels: bool,
    /// The `uid` of every link, at most [`LINKS_MAX`].
    pub(crate) links: Vec<String>,
    /// `__chat`: the room or the one it is for.
    pub(crate) chat_to: Option<String>,
    /// The text of `remarks`.
    pub(crate) remarks: String,
}

/// Most links kept.
const LINKS_MAX: usize = 8;

/// Why an event is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub(crate) enum Refused {
    /// Longer than [`EVENT_BYTES_MAX`].
    #[error("the event is longer than {EVENT_BYTES_MAX} bytes")]
    TooLarge,
    /// Not UTF-8, or a character that XML 1.0 does not know.
    #[error("the event is not UTF-8, or holds a character that XML 1.0 does not know")]
    Characters,
    /// A document type, an entity of somebody's own, or a processing instruction.
    #[error("the event declares a document type, an entity or a processing instruction")]
    Declaration,
    /// Too deep, or too many elements or attributes.
    #[error("the event nests deeper or holds more than is taken")]
    TooMuch,
    /// Not well-formed XML with one `event` that has `type` and `uid`.
    #[error("the event is not well-formed XML, or not an event")]
    Malformed,
}

/// Reads one event.
///
/// # Errors
/// [`Refused`].
pub(crate) fn event(bytes: &[u8]) -> Result<Heard, Refused> {
    if bytes.len() > EVENT_BYTES_MAX {
        return Err(Refused::TooLarge);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Refused::Characters)?;
    if !text.chars().all(is_xml) {
        return Err(Refused::Characters);
    }
    let mut reading = Reading::default();
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}').trim_start());
    reader.config_mut().enable_all_checks(true);
    loop {
        match reader.read_event().map_err(|_| Refused::Malformed)? {
            Event::Start(element) => reading.open(&element)?,
            Event::Empty(element) => {
                reading.open(&element)?;
                reading.close();
            }
            Event::End(_) => reading.close(),
            Event::Text(text) => reading.text(&text.xml10_content())?,
            Event::CData(text) => reading.text(&text.xml10_content())?,
            Event::GeneralRef(reference) => reading.text(&character(&reference)?)?,
            Event::Decl(_) if reading.elements_count == 0 && reading.declarations_count == 0 => {
                reading.declarations_count = 1;
            }
            Event::Comment(_) => {}
            Event::Decl(_) | Event::PI(_) | Event::DocType(_) => return Err(Refused::Declaration),
            Event::Eof => return reading.finish(),
        }
    }
}

/// XML 1.0, production 2 `Char`.
fn is_xml(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

/// One of the five that XML defines, or a character by its number.
fn character(reference: &BytesRef<'_>) -> Result<Cow<'static, str>, Refused> {
    let by_number = reference.resolve_char_ref().map_err(|_| Refused::Malformed)?;
    if let Some(character) = by_number {
        let fits = is_xml(character);
        return if fits { Ok(character.to_string().into()) } else { Err(Refused::Characters) };
    }
    match &*reference.xml10_content() {
        "lt" => Ok("<".into()),
        "gt" => Ok(">".into()),
        "amp" => Ok("&".into()),
        "apos" => Ok("'".into()),
        "quot" => Ok("\"".into()),
        _ => Err(Refused::Declaration),
    }
}

/// What has been read so far.
#[derive(Default)]
struct Reading {
    heard: Heard,
    depth: usize,
    elements_count: usize,
    declarations_count: usize,
    /// The depth of the `remarks` that is open.
    remarks_depth: Option<usize>,
    has_ended: bool,
}

impl Reading {
    fn open(&mut self, element: &BytesStart<'_>) -> Result<(), Refused> {
        self.depth += 1;
        self.elements_count += 1;
        if self.depth > DEPTH_MAX || self.elements_count > ELEMENTS_MAX {
            return Err(Refused::TooMuch);
        }
        let name = element.name();
        let name = name.as_ref();
        if self.depth == 1 && (self.has_ended || name != "event") {
            return Err(Refused::Malformed);
        }
        if name == "remarks" && self.depth == 3 {
            self.remarks_depth = Some(self.depth);
        }
        for (count, attribute) in element.attributes().enumerate() {
            if count == ATTRIBUTES_MAX {
                return Err(Refused::TooMuch);
            }
            let attribute = attribute.map_err(|_| Refused::Malformed)?;
            if attribute.value.contains('<') {
                return Err(Refused::Malformed);
            }
            // Fails for an entity that XML does not define.
            let value = attribute.normalized_value(XmlVersion::Implicit1_0);
            let value = value.map_err(|_| Refused::Declaration)?;
            if !value.chars().all(is_xml) {
                return Err(Refused::Characters);
            }
            self.take(name, attribute.key.as_ref(), &value);
        }
        Ok(())
    }

    fn take(&mut self, element: &str, key: &str, value: &str) {
        let heard = &mut self.heard;
        match (self.depth, element, key) {
            (1, "event", "type") => heard.kind = cut(value).to_owned(),
            (1, "event", "uid") => heard.uid = cut(value).to_owned(),
            (4, "TakProtocolSupport", "version") => {
                heard.offers = heard.offers.max(value.parse().ok());
            }
            (4, "TakRequest", "version") => heard.asks = value.parse().ok(),
            (4, "TakResponse", "status") => heard.grants = Some(value == "true"),
            (3, "emergency", "cancel") => heard.cancels = value == "true",
            (3, "link", "uid") if heard.links.len() < LINKS_MAX => heard.links.push(cut(value).to_owned()),
            (3, "__chat", "id") => heard.chat_to = Some(cut(value).to_owned()),
            _ => {}
        }
    }

    fn text(&mut self, text: &str) -> Result<(), Refused> {
        if self.depth == 0 && !text.trim().is_empty() {
            return Err(Refused::Malformed);
        }
        if self.remarks_depth == Some(self.depth) {
            let room = FIELD_BYTES_MAX.saturating_sub(self.heard.remarks.len());
            self.heard.remarks.push_str(cut_to(text, room));
        }
        Ok(())
    }

    fn close(&mut self) {
        if self.remarks_depth == Some(self.depth) {
            self.remarks_depth = None;
        }
        // The reader has refused an end without a start.
        self.depth = self.depth.saturating_sub(1);
        self.has_ended |= self.depth == 0;
    }

    fn finish(self) -> Result<Heard, Refused> {
        let is_whole = self.has_ended && self.depth == 0;
        let is_event = !self.heard.kind.is_empty() && !self.heard.uid.is_empty();
        if is_whole && is_event { Ok(self.heard) } else { Err(Refused::Malformed) }
    }
}

fn cut(text: &str) -> &str {
    cut_to(text, FIELD_BYTES_MAX)
}

fn cut_to(text: &str, bytes_max: usize) -> &str {
    let end = (0..=bytes_max.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}
