//! Looks at handshake messages between decryption and rustls, which would turn each into objects on the heap.
//!
//! **A stranger chooses these bytes: they come before the gateway is verified.** 2 KiB of CertificateRequest hold 650 names
//! and 2 KiB of Certificate 330 certificates, which take 40 KiB of heap; a device has 32. So a message is refused by its
//! length, and a Certificate by its count, before rustls sees it. (A message beyond the receive buffer never gets here.)
//!
//! Nobody asks for session tickets, and brokers send them all the same: with the device's certificate in it OpenSSL's has 713
//! bytes, Java's 1,974. rustls reads one into two allocations and drops it; a stranger's it refuses. So a ticket may be as
//! long as the receive buffer.
//!
//! The handshake stream is read byte by byte, so that it does not matter how messages are cut into records.

/// Longest message but Certificate and NewSessionTicket. The gateway's longest is CertificateVerify: 79 bytes.
const MESSAGE_BYTES_MAX: usize = 512;
/// A gateway and two authorities.
const CERTIFICATES_MAX: u8 = 3;

const NEW_SESSION_TICKET: u8 = 4;
const CERTIFICATE: u8 = 11;
const HEADER_BYTES: u8 = 4;

/// More than a device takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Excess;

/// One direction's handshake messages so far.
#[derive(Debug, Default)]
pub(super) struct Guard {
    header: u32,
    header_bytes: u8,
    /// Bytes of the message's body still to come.
    left: usize,
    certificates: Option<Certificates>,
}

/// Where in a Certificate message the stream is (RFC 8446 section 4.4.2).
#[derive(Debug)]
struct Certificates {
    field: Field,
    length: usize,
    length_bytes: u8,
    skip: usize,
    count: u8,
}

#[derive(Debug, Clone, Copy)]
enum Field {
    Context,
    List,
    Certificate,
    Extensions,
}

impl Field {
    fn length_bytes(self) -> u8 {
        match self {
            Self::Context => 1,
            Self::List | Self::Certificate => 3,
            Self::Extensions => 2,
        }
    }

    fn next(self) -> Self {
        match self {
            Self::Context => Self::List,
            Self::List | Self::Extensions => Self::Certificate,
            Self::Certificate => Self::Extensions,
        }
    }
}

impl Guard {
    /// Lets bytes of the handshake pass.
    ///
    /// # Errors
    /// [`Excess`]; nothing more may pass.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Result<(), Excess> {
        bytes.iter().try_for_each(|byte| self.pass_byte(*byte))
    }

    fn pass_byte(&mut self, byte: u8) -> Result<(), Excess> {
        if self.left > 0 {
            self.left -= 1;
            return self.certificates.as_mut().map_or(Ok(()), |certificates| certificates.pass_byte(byte));
        }
        self.header = self.header << 8 | u32::from(byte);
        self.header_bytes += 1;
        if self.header_bytes < HEADER_BYTES {
            return Ok(());
        }
        self.header_bytes = 0;
        self.left = (self.header & 0x00FF_FFFF) as usize;
        let [kind, ..] = self.header.to_be_bytes();
        self.certificates = (kind == CERTIFICATE).then(Certificates::new);
        let is_bounded_elsewhere = matches!(kind, CERTIFICATE | NEW_SESSION_TICKET);
        if is_bounded_elsewhere || self.left <= MESSAGE_BYTES_MAX { Ok(()) } else { Err(Excess) }
    }
}

impl Certificates {
    fn new() -> Self {
        Self { field: Field::Context, length: 0, length_bytes: 0, skip: 0, count: 0 }
    }

    fn pass_byte(&mut self, byte: u8) -> Result<(), Excess> {
        if self.skip > 0 {
            self.skip -= 1;
            return Ok(());
        }
        self.length = self.length << 8 | usize::from(byte);
        self.length_bytes += 1;
        if self.length_bytes < self.field.length_bytes() {
            return Ok(());
        }
        match self.field {
            // The list's bytes are the entries that follow.
            Field::List => {}
            Field::Certificate => {
                self.count += 1;
                self.skip = self.length;
            }
            Field::Context | Field::Extensions => self.skip = self.length,
        }
        (self.field, self.length, self.length_bytes) = (self.field.next(), 0, 0);
        if self.count <= CERTIFICATES_MAX { Ok(()) } else { Err(Excess) }
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).expect("short").to_be_bytes();
        [&[kind], &length[1..], body].concat()
    }

    fn certificate(count: usize) -> Vec<u8> {
        // Context, the list's length, then each with its length and no extensions.
        message(CERTIFICATE, &[[0, 0, 0, 0].as_slice(), &[0, 0, 2, 0x30, 0, 0, 0].repeat(count)].concat())
    }

    fn pass(guard: &mut Guard, bytes: &[u8], piece: usize) -> Result<(), Excess> {
        bytes.chunks(piece).try_for_each(|piece| guard.pass(piece))
    }

    #[test]
    fn what_a_gateway_says_passes_however_it_is_cut() {
        let flight = [
            message(8, &[0; 6]),
            message(13, &[0; 11]),
            certificate(3),
            message(15, &[0; 79]),
            message(20, &[0; 32]),
            message(NEW_SESSION_TICKET, &[0; 1970]),
            message(NEW_SESSION_TICKET, &[0; 709]),
        ];
        for piece in 1..64 {
            assert_eq!(pass(&mut Guard::default(), &flight.concat(), piece), Ok(()), "in pieces of {piece}");
        }
    }

    #[test]
    fn a_long_message_and_a_fourth_certificate_do_not() {
        for piece in 1..64 {
            let passed = |bytes: &[u8]| pass(&mut Guard::default(), bytes, piece);
            assert_eq!(passed(&message(13, &[0; MESSAGE_BYTES_MAX])), Ok(()));
            assert_eq!(passed(&message(13, &[0; MESSAGE_BYTES_MAX + 1])), Err(Excess));
            assert_eq!(passed(&[message(8, &[0; 2]), certificate(4)].concat()), Err(Excess));
        }
    }
}
