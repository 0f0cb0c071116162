//! What each output has of an entry: from its release, its refusals, its cursor, and the disclosure log.
//!
//! **"accepted" is said only of what an output was sent and has said yes to.** A cursor says that an entry's turn is over, no more:
//! TAK and NMEA pass records over, and a release table may have been another one then. So of what the log does not name it is said
//! that it was passed over; and where the log cannot be believed or asked, that it is not known.

use std::collections::BTreeMap;
use std::path::Path;

use fieldpost_protocol::{Body, Mode};

use super::find::Entry;
use super::log::{Log, Told};
use super::refused::{Refusal, refusal};
use super::{Disclosures, Output, OutputState, Receipt, Sent, TraceError};
use crate::config::{Forward, Sink};
use crate::forward::refusals::{again_of, older_of, refusals_of};
use crate::forward::release::Release;
use crate::forward::{ClockBounds, Event, PassedOver, Renderer, Withheld};
use crate::machines::Machine;
use crate::record::Record;
use crate::spool::{EntryClass, LanePlaces, Lsn};

/// The gateway's own readers, by the names of their cursors.
const READERS: [(&str, &str); 3] = [
    (crate::live::CURSOR_NAME, "live"),
    (crate::ledger::task::CURSOR_NAME, "ledger"),
    (crate::history::task::CURSOR_NAME, "history"),
];

/// What the disk knows of the outputs.
pub(super) struct Kept<'a> {
    pub(super) data_dir: &'a Path,
    pub(super) forwards: &'a [Forward],
    pub(super) machines: &'a BTreeMap<String, Machine>,
    pub(super) disclosures: Disclosures,
    pub(super) places: LanePlaces,
    pub(super) now_ms: u64,
}

impl Kept<'_> {
    /// Which of the gateway's own readers have an entry durably.
    pub(super) fn readers(&self, class: EntryClass, lsn: Lsn) -> Vec<&'static str> {
        let has = |cursor: &str| self.places.get(cursor).is_some_and(|places| places.is_done(class, lsn));
        READERS.iter().filter(|(cursor, _)| has(cursor)).map(|(_, reader)| *reader).collect()
    }

    /// Each output in the order of the configuration, then machines, then who is an output no more and was sent it.
    pub(super) fn outputs(&self, entry: &Entry, receipts: &[Receipt]) -> Result<Vec<Output>, TraceError> {
        let record = &entry.record;
        let log = Log::about(self.data_dir, self.disclosures, record.key(), record.received_at_ms);
        let mut log = log.map_err(TraceError::Disclosures)?;
        let mut outputs = Vec::with_capacity(self.forwards.len());
        for forward in self.forwards {
            let told = log.take(&forward.name);
            let sent = sent(&told);
            let state = self.state(forward, entry, receipts, told);
            let name = forward.name.clone();
            match state {
                Ok(state) => outputs.push(Output { name, state, sent }),
                Err(source) => return Err(TraceError::Refusals { output: name, source }),
            }
        }
        outputs.extend(self.machines.values().filter_map(|machine| self.machine(machine, entry, &mut log)));
        let removed = OutputState::Removed;
        outputs.extend(log.others().map(|(name, sent)| Output {
            name,
            state: removed.clone(),
            sent: Some(sent),
        }));
        Ok(outputs)
    }

    fn state(
        &self,
        forward: &Forward,
        entry: &Entry,
        receipts: &[Receipt],
        told: Told,
    ) -> std::io::Result<OutputState> {
        if let Some(refused) = self.refused(&forward.name, entry.record.lsn)? {
            return Ok(refused);
        }
        let event = released(&forward.release, entry);
        // An output that never ran has no cursor yet.
        let places = self.places.get(&forward.name);
        if !places.is_some_and(|places| places.is_done(entry.class, entry.record.lsn)) {
            return Ok(event.map_or_else(withheld, |_| OutputState::Owed));
        }
        if !says_yes(&forward.sink) {
            return Ok(match told {
                Told::Sent(_) => OutputState::Sent,
                told => not_sent(&told, event, |event| passed_over(&forward.sink, event)),
            });
        }
        let delivered = receipts.iter().find(|receipt| receipt.is_delivery(&forward.name, &entry.record));
        Ok(match (told, delivered) {
            (_, Some(delivered)) => OutputState::Accepted { at_ms: Some(delivered.at_ms) },
            (Told::Sent(_), None) => OutputState::Accepted { at_ms: None },
            (told, None) => not_sent(&told, event, |_| "it was not released when its turn came".to_owned()),
        })
    }

    /// That it was refused, or is sent again after that.
    fn refused(&self, output: &str, lsn: Lsn) -> std::io::Result<Option<OutputState>> {
        let path = refusals_of(self.data_dir, output);
        if refusal(&again_of(&path), lsn)?.is_some() {
            return Ok(Some(OutputState::Owed));
        }
        let found = match refusal(&older_of(&path), lsn)? {
            None => refusal(&path, lsn)?,
            found => found,
        };
        Ok(found.map(Refusal::into_state))
    }

    /// A machine keeps its own place: the log alone knows what it was sent. One that may fetch nothing any more is named only if it
    /// was sent this.
    fn machine(&self, machine: &Machine, entry: &Entry, log: &mut Log) -> Option<Output> {
        let name = machine.output();
        let told = log.take(&name);
        let sent = sent(&told);
        let event = released(&machine.release, entry);
        let state = match told {
            Told::Sent(_) => OutputState::Sent,
            _ if !machine.holds(self.now_ms) => return None,
            told => match (told, event) {
                (_, Err(reason)) => withheld(reason),
                (Told::NotKnown(why), Ok(_)) => OutputState::NotKnown { why },
                (_, Ok(_)) => OutputState::NotFetched,
            },
        };
        Some(Output { name, state, sent })
    }
}

fn sent(told: &Told) -> Option<Sent> {
    match told {
        Told::Sent(sent) => Some(*sent),
        Told::NotSent | Told::NotKnown(_) => None,
    }
}

/// By the same renderer as the forwarder's: what it withholds is withheld there.
fn released(release: &Release, entry: &Entry) -> Result<Event, Withheld> {
    Renderer::new(ClockBounds::default(), release.clone()).event(&entry.record)
}

fn withheld(reason: Withheld) -> OutputState {
    OutputState::Withheld { why: reason.as_str() }
}

/// Its turn is over, and the log does not name it.
fn not_sent(
    told: &Told,
    event: Result<Event, Withheld>,
    passed_over: impl FnOnce(&Event) -> String,
) -> OutputState {
    match (told, event) {
        (_, Err(reason)) => withheld(reason),
        (Told::NotKnown(why), Ok(_)) => OutputState::NotKnown { why },
        (_, Ok(event)) => OutputState::PassedOver { why: passed_over(&event) },
    }
}

/// Whether the other side says that it has something.
fn says_yes(sink: &Sink) -> bool {
    match sink {
        Sink::Nats(_) | Sink::Postgres(_) | Sink::Webhook(_) | Sink::File(_) => true,
        Sink::Tak(_) | Sink::TakClient(_) | Sink::Nmea(_) => false,
    }
}

/// Why a sink that picks what it sends did not send it. Which of several it was is counted there and not kept.
fn passed_over(sink: &Sink, event: &Event) -> String {
    let envelope = event.record.as_deref().and_then(Record::envelope);
    let body = envelope.and_then(|envelope| Body::decode(&envelope.head, envelope.body).ok());
    let is_position = matches!(body, Some(Body::Position(_)));
    let is_actual = envelope.is_some_and(|envelope| envelope.head.mode == Mode::Actual);
    let mut reasons = match sink {
        Sink::Nmea(nmea) if is_position && !is_actual && !nmea.sends_every_mode => {
            vec![PassedOver::NotActual.as_str()]
        }
        _ if is_position => vec![PassedOver::Older.as_str()],
        Sink::Tak(_) | Sink::TakClient(_) if event.alarm.is_some() => {
            vec![PassedOver::Closed.as_str(), "another alarm of its unit stood there"]
        }
        _ => return PassedOver::NoWord.as_str().to_owned(),
    };
    if matches!(sink, Sink::TakClient(_)) {
        reasons.push(PassedOver::NobodyThere.as_str());
    }
    reasons.join(", or ")
}
