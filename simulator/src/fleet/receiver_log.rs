//! A recorded receiver log, cut into epochs: all sentences of one instant belong together.

/// Time between epochs of a log that states no time, in ms: what receivers do by default.
const EPOCH_MS: u64 = 1_000;
/// Longest silence that is replayed as it was; a recording with a pause of hours must not pause for hours.
const GAP_MS_MAX: u64 = 10_000;
const DAY_MS: u64 = 86_400_000;

/// The sentences of one instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epoch {
    /// Milliseconds after the epoch before it.
    pub after_ms: u64,
    /// Bytes as the receiver sent them, line ends included.
    pub bytes: Vec<u8>,
}

/// Cuts a log into epochs. **Every byte of the log is in exactly one epoch, in order**: what is not a sentence, the device
/// logic itself has to bear.
///
/// A new epoch begins at a sentence that states another UTC time than the one before.
#[must_use]
pub fn epochs(log: &[u8]) -> Vec<Epoch> {
    let mut epochs: Vec<Epoch> = Vec::new();
    let mut current_ms: Option<u64> = None;
    let mut seen_here: Vec<Vec<u8>> = Vec::new();
    for line in log.split_inclusive(|byte| *byte == b'\n') {
        let stated_ms = utc_of_day_ms(line);
        let kind = kind(line);
        let moves = match (stated_ms, current_ms) {
            (Some(stated_ms), Some(current_ms)) => stated_ms != current_ms,
            (Some(_), None) => true,
            // Without a time the same kind of sentence comes again: the next second.
            (None, None) => {
                kind.is_some_and(|kind| kind.ends_with(b"RMC") && seen_here.iter().any(|seen| seen == kind))
            }
            (None, Some(_)) => false,
        };
        if moves || epochs.is_empty() {
            let after_ms = match (stated_ms, current_ms) {
                (Some(now_ms), Some(before_ms)) => ((now_ms + DAY_MS - before_ms) % DAY_MS).min(GAP_MS_MAX),
                _ => EPOCH_MS,
            };
            epochs.push(Epoch { after_ms, bytes: Vec::new() });
            seen_here.clear();
        }
        current_ms = stated_ms.or(current_ms);
        seen_here.extend(kind.map(<[u8]>::to_vec));
        if let Some(epoch) = epochs.last_mut() {
            epoch.bytes.extend_from_slice(line);
        }
    }
    epochs
}

fn kind(line: &[u8]) -> Option<&[u8]> {
    line.strip_prefix(b"$")?.get(..5)
}

/// The UTC time of day in the second field of RMC, GGA and GLL's sixth; only used to pace the replay.
fn utc_of_day_ms(line: &[u8]) -> Option<u64> {
    let kind = kind(line)?;
    let place = match kind.get(2..)? {
        b"RMC" | b"GGA" | b"ZDA" => 1,
        b"GLL" => 5,
        _ => return None,
    };
    let field = line.split(|byte| *byte == b',').nth(place)?;
    let field = std::str::from_utf8(field).ok()?;
    let digits: u64 = field.get(..6)?.parse().ok()?;
    let (hours, minutes, seconds) = (digits / 10_000, digits / 100 % 100, digits % 100);
    let fraction_ms = field.get(6..).and_then(fraction_ms).unwrap_or(0);
    Some(((hours * 60 + minutes) * 60 + seconds) * 1_000 + fraction_ms)
}

/// `.25` is 250.
fn fraction_ms(text: &str) -> Option<u64> {
    let digits = text.strip_prefix('.')?;
    let mut millis = 0;
    for place in 0..3 {
        let digit = digits.as_bytes().get(place).map_or(Some(0), |byte| char::from(*byte).to_digit(10))?;
        millis = millis * 10 + u64::from(digit);
    }
    Some(millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &[u8] = b"# a comment\r\n$GPGGA,,,,,,0,,,,M,,M,,*66\r\n$GPRMC,,V,,,,,,,,,,N*53\r\n$GPRMC,,V,,,,,,,,,,N*53\r\n\
        $GPGGA,100000.00,x\r\n$GPRMC,100000.00,A\r\n$GPGGA,100000.50,x\r\n$GPRMC,235959.00,A\r\nhalf a line";

    #[test]
    fn no_byte_is_lost_and_time_moves_epochs() {
        let epochs = epochs(LOG);
        let joined: Vec<u8> = epochs.iter().flat_map(|epoch| epoch.bytes.clone()).collect();
        assert_eq!(joined, LOG);
        let after: Vec<u64> = epochs.iter().map(|epoch| epoch.after_ms).collect();
        assert_eq!(after, [1_000, 1_000, 1_000, 500, 10_000]);
    }

    #[test]
    fn real_logs_have_about_one_epoch_a_second() {
        let log = include_bytes!("../../testdata/gnss/telit-he910.log");
        let count = epochs(log).len();
        assert!((200..300).contains(&count), "{count}");
    }
}
