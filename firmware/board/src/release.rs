//! Which firmware this is.

/// When this release was made, Unix time: no certificate that ended before can be valid, whatever a clock says. A constant, so
/// that the same source gives the same image. Raise it with the version.
pub(crate) const BUILT_UNIX_S: u32 = 1_795_219_200; // 2026-11-21

/// Major, minor, patch of `Cargo.toml`.
pub(crate) const VERSION: [u8; 3] = [
    number(env!("CARGO_PKG_VERSION_MAJOR")),
    number(env!("CARGO_PKG_VERSION_MINOR")),
    number(env!("CARGO_PKG_VERSION_PATCH")),
];

const fn number(digits: &str) -> u8 {
    let digits = digits.as_bytes();
    let mut number = 0;
    let mut index = 0;
    while index < digits.len() {
        number = number * 10 + (digits[index] - b'0');
        index += 1;
    }
    number
}
