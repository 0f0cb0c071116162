//! rustls and its buffers, without I/O: what the stream does between two awaits.

use rustls::{
    Error as TlsError,
    client::{ClientConnectionData, UnbufferedClientConnection},
    unbuffered::{ConnectionState, EncodeTlsData, UnbufferedStatus, WriteTraffic},
};

use super::StreamBuffers;
use crate::tls::TlsFailure;

pub(super) struct Engine<'b> {
    connection: UnbufferedClientConnection,
    buffers: &'b mut StreamBuffers,
    /// Bytes at the front of `received`.
    received_len: usize,
    /// `opened[opened_at..opened_end]` waits for the reader.
    opened_at: usize,
    opened_end: usize,
    /// Bytes at the front of `plain`.
    plain_len: usize,
    /// `sealed[sealed_at..sealed_end]` waits for the transport.
    sealed_at: usize,
    sealed_end: usize,
    /// The gateway has said close_notify.
    has_ended: bool,
    /// Set for ever by the first failure: rustls asserts that it is not asked again.
    failed: Option<TlsFailure>,
}

/// What rustls is asked to do besides reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Send {
    Nothing,
    Plain,
    Goodbye,
}

impl<'b> Engine<'b> {
    pub(super) fn new(connection: UnbufferedClientConnection, buffers: &'b mut StreamBuffers) -> Self {
        Self {
            connection,
            buffers,
            received_len: 0,
            opened_at: 0,
            opened_end: 0,
            plain_len: 0,
            sealed_at: 0,
            sealed_end: 0,
            has_ended: false,
            failed: None,
        }
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Where the next bytes of the transport go.
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.buffers.received[self.received_len..]
    }

    pub(super) fn note_received(&mut self, count: usize) {
        self.received_len += count;
        debug_assert!(
            self.received_len <= self.buffers.received.len(),
            "the transport reads what it was given"
        );
    }

    pub(super) fn sealed(&self) -> &[u8] {
        &self.buffers.sealed[self.sealed_at..self.sealed_end]
    }

    pub(super) fn note_sent(&mut self, count: usize) {
        self.sealed_at += count;
        if self.sealed_at >= self.sealed_end {
            (self.sealed_at, self.sealed_end) = (0, 0);
        }
    }

    pub(super) fn take_opened(&mut self, out: &mut [u8]) -> usize {
        let waiting = &self.buffers.opened[self.opened_at..self.opened_end];
        let count = waiting.len().min(out.len());
        out[..count].copy_from_slice(&waiting[..count]);
        self.opened_at += count;
        count
    }

    pub(super) fn plain_is_full(&self) -> bool {
        self.plain_len == self.buffers.plain.len()
    }

    pub(super) fn add_plain(&mut self, bytes: &[u8]) -> Result<usize, TlsFailure> {
        self.alive()?;
        let room = &mut self.buffers.plain[self.plain_len..];
        let count = room.len().min(bytes.len());
        room[..count].copy_from_slice(&bytes[..count]);
        self.plain_len += count;
        Ok(count)
    }

    /// Ends the stream for a reason that rustls does not know.
    pub(super) fn fail(&mut self, failure: TlsFailure) -> TlsFailure {
        *self.failed.get_or_insert(failure)
    }

    fn alive(&self) -> Result<(), TlsFailure> {
        self.failed.map_or(Ok(()), Err)
    }

    /// Seals what is written. The transport has taken everything sealed before.
    pub(super) fn seal_plain(&mut self) -> Result<(), TlsFailure> {
        if self.plain_len == 0 { self.alive() } else { self.advance(Send::Plain) }
    }

    /// Seals close_notify. The transport has taken everything sealed before.
    pub(super) fn seal_goodbye(&mut self) -> Result<(), TlsFailure> {
        self.advance(Send::Goodbye)
    }

    /// Handles what was received. The transport has taken everything sealed, the reader everything opened.
    pub(super) fn run(&mut self) -> Result<(), TlsFailure> {
        self.advance(Send::Nothing)
    }

    /// Runs rustls until it needs more bytes. If it fails, takes the alert and is dead.
    fn advance(&mut self, send: Send) -> Result<(), TlsFailure> {
        self.alive()?;
        debug_assert!(self.sealed().is_empty(), "what rustls has to say has room");
        let mut used = 0;
        let outcome = self.drive(send, &mut used);
        if outcome.is_err() {
            self.take_alert(&mut used);
        }
        self.buffers.received.copy_within(used..self.received_len, 0);
        self.received_len -= used;
        outcome.map_err(|failure| self.fail(failure))
    }

    fn drive(&mut self, send: Send, used: &mut usize) -> Result<(), TlsFailure> {
        loop {
            let incoming = &mut self.buffers.received[*used..self.received_len];
            let UnbufferedStatus { discard, state } = self.connection.process_tls_records(incoming);
            *used += discard;
            match state.map_err(|error| TlsFailure::of(&error))? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    let mut opened = Opened {
                        buffer: &mut self.buffers.opened,
                        at: &mut self.opened_at,
                        end: &mut self.opened_end,
                    };
                    let mut discard = 0;
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(|error| TlsFailure::of(&error))?;
                        discard += record.discard;
                        opened.add(record.payload)?;
                    }
                    *used += discard;
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    self.sealed_end += encode(&mut data, &mut self.buffers.sealed[self.sealed_end..])?;
                }
                // In `sealed`, which leaves in order.
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::WriteTraffic(traffic) => {
                    let (plain, sealed) = (&self.buffers.plain[..self.plain_len], &mut self.buffers.sealed);
                    self.sealed_end += write(traffic, send, plain, &mut sealed[self.sealed_end..])?;
                    if send == Send::Plain {
                        self.plain_len = 0;
                    }
                    return Ok(());
                }
                ConnectionState::PeerClosed => self.has_ended = true,
                ConnectionState::Closed => {
                    self.has_ended = true;
                    return Ok(());
                }
                // More bytes are needed. Early data is a server's; a state that a later rustls may add is waited out.
                _ => return Ok(()),
            }
        }
    }

    /// rustls gives the alert out on the next call, before it looks at any byte: exactly one call, over the same bytes.
    fn take_alert(&mut self, used: &mut usize) {
        let incoming = &mut self.buffers.received[*used..self.received_len];
        let UnbufferedStatus { discard, state } = self.connection.process_tls_records(incoming);
        if let Ok(ConnectionState::EncodeTlsData(mut data)) = state {
            // An alert that does not fit is not sent.
            self.sealed_end += encode(&mut data, &mut self.buffers.sealed[self.sealed_end..]).unwrap_or(0);
        }
        *used += discard;
    }
}

/// Where opened bytes go.
struct Opened<'a> {
    buffer: &'a mut [u8],
    at: &'a mut usize,
    end: &'a mut usize,
}

impl Opened<'_> {
    fn add(&mut self, bytes: &[u8]) -> Result<(), TlsFailure> {
        if *self.at == *self.end {
            (*self.at, *self.end) = (0, 0);
        }
        // Always room while a reader takes everything before it reads on: what is opened is shorter than what came.
        let room = self.buffer.get_mut(*self.end..*self.end + bytes.len()).ok_or(TlsFailure::TooLarge)?;
        room.copy_from_slice(bytes);
        *self.end += bytes.len();
        Ok(())
    }
}

fn encode(data: &mut EncodeTlsData<'_, ClientConnectionData>, out: &mut [u8]) -> Result<usize, TlsFailure> {
    data.encode(out).map_err(|_| TlsFailure::Internal)
}

fn write(
    mut traffic: WriteTraffic<'_, ClientConnectionData>,
    send: Send,
    plain: &[u8],
    out: &mut [u8],
) -> Result<usize, TlsFailure> {
    let failed = |_| TlsFailure::of(&TlsError::EncryptError);
    match send {
        Send::Nothing => Ok(0),
        Send::Plain => traffic.encrypt(plain, out).map_err(failed),
        Send::Goodbye => traffic.queue_close_notify(out).map_err(failed),
    }
}
