//! What the verifier has to know of a certificate beyond what rustls' own verification looks at (RFC 5280 section 4.1).
//!
//! **It reads, it does not judge**: signatures, names and the chain are [`super::verify`]'s, through rustls. Everything
//! borrows; every length is checked; depth is fixed.

/// What a certificate says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateFacts {
    /// First second of validity, Unix time.
    pub not_before_unix_s: u64,
    /// Last second of validity, Unix time.
    pub not_after_unix_s: u64,
    /// Extended key usage names serverAuth.
    pub serves: bool,
    /// A key usage that is there allows signatures.
    pub may_sign: bool,
    /// A subject alternative name is a device identity.
    pub is_a_device: bool,
}

/// Not a certificate that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Malformed;

const BOOLEAN: u8 = 0x01;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xA0;
const EXTENSIONS: u8 = 0xA3;
const SAN_URI: u8 = 0x86;

/// 2.5.29.15, 2.5.29.17, 2.5.29.37, 1.3.6.1.5.5.7.3.1
const KEY_USAGE: &[u8] = &[0x55, 0x1D, 0x0F];
const ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1D, 0x11];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1D, 0x25];
const SERVER_AUTH: &[u8] = &[0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];

/// The beginning of every device identity (docs/PROTOCOL.md section 1).
const DEVICE_URI: &[u8] = b"urn:fieldpost:device:";

impl CertificateFacts {
    /// Reads a certificate.
    ///
    /// # Errors
    /// [`Malformed`] for whatever is not DER of the expected shape.
    pub fn read(der: &[u8]) -> Result<Self, Malformed> {
        let mut outer = Der(der);
        let mut certificate = Der(outer.take(SEQUENCE)?);
        let mut tbs = Der(certificate.take(SEQUENCE)?);
        tbs.take_if(VERSION)?;
        // Serial number, signature algorithm, issuer.
        for _ in 0..3 {
            tbs.any()?;
        }
        let mut validity = Der(tbs.take(SEQUENCE)?);
        let mut facts = Self {
            not_before_unix_s: validity.time()?,
            not_after_unix_s: validity.time()?,
            serves: false,
            may_sign: true,
            is_a_device: false,
        };
        // Subject, public key, and perhaps the unique ids of version 2.
        while let Some((tag, value)) = tbs.next()? {
            if tag == EXTENSIONS {
                facts.read_extensions(value)?;
            }
        }
        Ok(facts)
    }

    fn read_extensions(&mut self, explicit: &[u8]) -> Result<(), Malformed> {
        let mut extensions = Der(Der(explicit).take(SEQUENCE)?);
        while let Some((SEQUENCE, extension)) = extensions.next()? {
            let mut extension = Der(extension);
            let id = extension.take(OID)?;
            extension.take_if(BOOLEAN)?;
            let mut value = Der(extension.take(OCTET_STRING)?);
            match id {
                KEY_USAGE => {
                    let bits = value.take(BIT_STRING)?;
                    // Bit 0, digitalSignature, is the top bit of the first byte after the count of unused bits.
                    self.may_sign = bits.get(1).is_some_and(|byte| byte & 0x80 != 0);
                }
                EXTENDED_KEY_USAGE => {
                    let mut purposes = Der(value.take(SEQUENCE)?);
                    while let Some((_, purpose)) = purposes.next()? {
                        self.serves |= purpose == SERVER_AUTH;
                    }
                }
                ALTERNATIVE_NAME => {
                    let mut names = Der(value.take(SEQUENCE)?);
                    while let Some((tag, name)) = names.next()? {
                        self.is_a_device |= tag == SAN_URI && name.starts_with(DEVICE_URI);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Takes elements from the front of DER.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element's tag and value, `None` at the end.
    fn next(&mut self) -> Result<Option<(u8, &'a [u8])>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let [tag, first, rest @ ..] = self.0 else { return Err(Malformed) };
        // Lengths of up to two bytes: a certificate that fits the receive buffer needs no more.
        let (len, rest) = match (*first, rest) {
            (short @ 0..=0x7F, rest) => (usize::from(short), rest),
            (0x81, [len, rest @ ..]) => (usize::from(*len), rest),
            (0x82, [high, low, rest @ ..]) => (usize::from(u16::from_be_bytes([*high, *low])), rest),
            _ => return Err(Malformed),
        };
        let (value, rest) = rest.split_at_checked(len).ok_or(Malformed)?;
        self.0 = rest;
        Ok(Some((*tag, value)))
    }

    fn any(&mut self) -> Result<(u8, &'a [u8]), Malformed> {
        self.next()?.ok_or(Malformed)
    }

    fn take(&mut self, tag: u8) -> Result<&'a [u8], Malformed> {
        let (found, value) = self.any()?;
        if found == tag { Ok(value) } else { Err(Malformed) }
    }

    fn take_if(&mut self, tag: u8) -> Result<(), Malformed> {
        if self.0.first() == Some(&tag) {
            self.any()?;
        }
        Ok(())
    }

    /// UTCTime or GeneralizedTime, as RFC 5280 section 4.1.2.5 restricts them: to the second, in UTC.
    fn time(&mut self) -> Result<u64, Malformed> {
        let (tag, text) = self.any()?;
        let (year, rest) = match (tag, text.len()) {
            (UTC_TIME, 13) => match digits(&text[..2])? {
                year @ 0..50 => (2000 + year, &text[2..]),
                year => (1900 + year, &text[2..]),
            },
            (GENERALIZED_TIME, 15) => (digits(&text[..4])?, &text[4..]),
            _ => return Err(Malformed),
        };
        let field = |at: usize| digits(&rest[at..at + 2]);
        let (month, day) = (field(0)?, field(2)?);
        let (hour, minute, second) = (field(4)?, field(6)?, field(8)?);
        let in_range = (1970..=9999).contains(&year)
            && (1..=12).contains(&month)
            && (1..=31).contains(&day)
            && hour < 24
            && minute < 60
            && second < 60;
        if !in_range || rest[10] != b'Z' {
            return Err(Malformed);
        }
        Ok(((days_from_epoch(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
    }
}

fn digits(text: &[u8]) -> Result<u64, Malformed> {
    text.iter().try_fold(0, |value, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9).ok_or(Malformed)?;
        Ok(value * 10 + u64::from(digit))
    })
}

/// Days from 1 January 1970 in the Gregorian calendar; the year counted from March, so that leap days come last.
fn days_from_epoch(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(tag: u8, text: &[u8]) -> Result<u64, Malformed> {
        let mut der = std::vec![tag, u8::try_from(text.len()).expect("short")];
        der.extend_from_slice(text);
        Der(&der).time()
    }

    #[test]
    fn dates_become_unix_seconds() {
        assert_eq!(time(UTC_TIME, b"700101000000Z"), Ok(0));
        assert_eq!(time(UTC_TIME, b"261122003000Z"), Ok(1_795_307_400));
        assert_eq!(time(GENERALIZED_TIME, b"20000229235959Z"), Ok(951_868_799));
        assert_eq!(time(GENERALIZED_TIME, b"99991231235959Z"), Ok(253_402_300_799));
    }

    #[test]
    fn dates_of_another_shape_are_refused() {
        for text in
            [&b"261122003000"[..], b"2611220030000", b"261322003000Z", b"26112200300xZ", b"691231235959Z"]
        {
            assert_eq!(time(UTC_TIME, text), Err(Malformed), "{text:?}");
        }
        assert_eq!(time(GENERALIZED_TIME, b"261122003000Z"), Err(Malformed));
    }

    #[test]
    fn no_bytes_panic() {
        for length in 0..64 {
            for byte in [0, SEQUENCE, 0x7F, 0x80, 0x81, 0x82, 0xFF] {
                assert_eq!(CertificateFacts::read(&std::vec![byte; length]), Err(Malformed));
            }
        }
    }
}
