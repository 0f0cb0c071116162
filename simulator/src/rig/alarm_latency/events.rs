//! Server-Sent Events out of a stream of bytes (WHATWG HTML, "Server-sent events"), as the gateway writes them: a blank line ends
//! an event, and what waits for it is looked at once.

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rig) struct Event<'a> {
    pub(in crate::rig) name: &'a [u8],
    pub(in crate::rig) data: &'a [u8],
    /// Empty if it has none.
    pub(in crate::rig) id: &'a [u8],
}

/// Bytes that are no whole event yet.
#[derive(Debug, Default)]
pub(in crate::rig) struct Events {
    bytes: Vec<u8>,
    /// Up to here there is no end of an event.
    looked_to: usize,
}

impl Events {
    /// Takes bytes in and gives every event that is whole now to `each`.
    pub(in crate::rig) fn take(&mut self, bytes: &[u8], mut each: impl FnMut(Event<'_>)) {
        self.bytes.extend_from_slice(bytes);
        let mut begin = 0;
        let mut at = self.looked_to;
        while let Some(end) = self.bytes[at..].windows(2).position(|pair| pair == b"\n\n") {
            each(parse(&self.bytes[begin..at + end]));
            begin = at + end + 2;
            at = begin;
        }
        self.bytes.drain(..begin);
        self.looked_to = self.bytes.len().saturating_sub(1);
    }
}

fn parse(event: &[u8]) -> Event<'_> {
    let field = |name: &[u8]| {
        let line = event.split(|byte| *byte == b'\n').find(|line| line.starts_with(name));
        line.map_or(b"".as_slice(), |line| &line[name.len()..])
    };
    Event { name: field(b"event: "), data: field(b"data: "), id: field(b"id: ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_given_once_it_is_whole_however_it_was_cut() {
        let stream =
            b"id: 1\nevent: units\ndata: [1]\n\nevent: lagged\ndata: {}\n\nid: 2\nevent: alarm\ndata: {}\n\n";
        for cut in 0..=stream.len() {
            let mut events = Events::default();
            let mut seen = Vec::new();
            for part in [&stream[..cut], &stream[cut..]] {
                events.take(part, |event| {
                    seen.push([event.name, event.data, event.id].map(<[u8]>::to_vec));
                });
            }
            let wanted = [["units", "[1]", "1"], ["lagged", "{}", ""], ["alarm", "{}", "2"]];
            let wanted = wanted.map(|event| event.map(|field| field.as_bytes().to_vec()));
            assert_eq!(seen, wanted, "{cut}");
            assert!(events.bytes.is_empty());
        }
    }
}
