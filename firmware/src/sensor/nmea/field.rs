//! Fields of a sentence in integers. `None` means: not what the standard says.

/// Decimal digits kept of a fraction. More are cut off, which cannot change a rounding to fewer digits.
const FRACTION_DIGITS: u32 = 12;
const FRACTION_ONE: u64 = 10u64.pow(FRACTION_DIGITS);

const MS_PER_DAY: u64 = 86_400_000;

/// `ddmm.mmmm` and its hemisphere to micro-degrees, half away from zero. `degrees_max` is 90 or 180.
pub(super) fn coordinate_udeg(
    text: &[u8],
    hemisphere: &[u8],
    signs: [u8; 2],
    degrees_max: u32,
) -> Option<i32> {
    let (whole, fraction) = decimal(text)?;
    let [hemisphere] = hemisphere else { return None };
    let negative = if *hemisphere == signs[0] {
        false
    } else if *hemisphere == signs[1] {
        true
    } else {
        return None;
    };
    let (degrees, minutes) = (whole / 100, whole % 100);
    if whole_digits(text) < 3 || minutes >= 60 || degrees > u64::from(degrees_max) {
        return None;
    }
    // A minute is 1,000,000 / 60 micro-degrees; 60 * 10^12 minutes-parts stay far below 2^64.
    let minutes_scaled = minutes * FRACTION_ONE + fraction;
    let per_udeg = 60 * (FRACTION_ONE / 1_000_000);
    let udeg = degrees * 1_000_000 + (minutes_scaled + per_udeg / 2) / per_udeg;
    if udeg > u64::from(degrees_max) * 1_000_000 {
        return None;
    }
    let udeg = i32::try_from(udeg).ok()?;
    Some(if negative { -udeg } else { udeg })
}

/// Knots to cm/s, half up. One knot is 1852 m in 3600 s.
pub(super) fn knots_to_cmps(text: &[u8]) -> Option<u64> {
    let micro_knots = micro_units(text)?;
    Some((micro_knots * 1852 + 18_000_000) / 36_000_000)
}

/// Degrees to 1/256 of a turn, half up.
pub(super) fn degrees_to_turn256(text: &[u8]) -> Option<u8> {
    let micro_degrees = micro_units(text)?;
    if micro_degrees > 360_000_000 {
        return None;
    }
    u8::try_from((micro_degrees * 256 + 180_000_000) / 360_000_000 % 256).ok()
}

/// A decimal in hundredths, cut off.
pub(super) fn hundredths(text: &[u8]) -> Option<u64> {
    Some(micro_units(text)? / 10_000)
}

/// A whole number.
pub(super) fn whole(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 9 {
        return None;
    }
    text.iter().try_fold(0u64, |sum, byte| Some(sum * 10 + u64::from(digit(*byte)?)))
}

/// `hhmmss.sss` to ms of the day, cut off. A leap second counts as the first second of the next minute, as in Unix time.
pub(super) fn time_of_day_ms(text: &[u8]) -> Option<u64> {
    let (clock, fraction) = decimal(text)?;
    let (hours, minutes, seconds) = (clock / 10_000, clock / 100 % 100, clock % 100);
    let leap = seconds == 60 && minutes == 59;
    if whole_digits(text) != 6 || hours > 23 || minutes > 59 || (seconds > 59 && !leap) {
        return None;
    }
    let ms = fraction / (FRACTION_ONE / 1000);
    Some(((hours * 60 + minutes) * 60 + seconds) * 1000 + ms)
}

/// `ddmmyy` to ms of Unix time at its midnight. Years 80 to 99 are 1980 to 1999: GPS time begins in 1980.
pub(super) fn date_ms(text: &[u8]) -> Option<u64> {
    if text.len() != 6 {
        return None;
    }
    let date = whole(text)?;
    let (day, month, year) = (date / 10_000, date / 100 % 100, date % 100);
    let year = if year >= 80 { 1900 + year } else { 2000 + year };
    if !(1..=12).contains(&month) || day == 0 || day > days_in_month(year, month) {
        return None;
    }
    Some((days_before_year(year) + days_before_month(year, month) + day - 1) * MS_PER_DAY)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_in_month(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days_before_month(year: u64, month: u64) -> u64 {
    (1..month).map(|month| days_in_month(year, month)).sum()
}

/// Days from 1970-01-01 to the first of January of `year`, 1970 or later.
fn days_before_year(year: u64) -> u64 {
    let leap_years_before = |year: u64| (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400;
    (year - 1970) * 365 + leap_years_before(year) - leap_years_before(1970)
}

/// An unsigned decimal in millionths, cut off; at most nine whole digits.
fn micro_units(text: &[u8]) -> Option<u64> {
    let (whole, fraction) = decimal(text)?;
    Some(whole * 1_000_000 + fraction / (FRACTION_ONE / 1_000_000))
}

/// `123.456` to whole part and fraction in units of 10^-12. Digits only: no sign, no exponent.
fn decimal(text: &[u8]) -> Option<(u64, u64)> {
    let whole_part = &text[..whole_digits(text)];
    let fraction_part = match text.get(whole_part.len()) {
        None => &[][..],
        Some(b'.') => &text[whole_part.len() + 1..],
        Some(_) => return None,
    };
    let mut fraction = 0;
    let mut unit = FRACTION_ONE / 10;
    for byte in fraction_part {
        fraction += u64::from(digit(*byte)?) * unit;
        unit /= 10;
    }
    Some((whole(whole_part)?, fraction))
}

fn whole_digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

fn digit(byte: u8) -> Option<u8> {
    byte.is_ascii_digit().then(|| byte - b'0')
}
