//! Where random numbers come from, and what keeps an emulated source out of a device.
//!
//! | features | builds |
//! |---|---|
//! | `emulated` | yes: an image for the emulated target |
//! | none, or `device-image` alone | no: this board has no random number generator |
//! | `emulated` and `device-image` | no |
//!
//! `cargo xtask` runs the builds that must fail.

#[cfg(all(feature = "emulated", feature = "device-image"))]
compile_error!(
    "a device image must not take its random numbers from an emulator's host: build without `emulated`, for a board that has a \
     random number generator"
);

#[cfg(all(
    feature = "device-image",
    any(feature = "drills", feature = "broken-remove-before-stored", feature = "broken-reuse-boot-id")
))]
compile_error!(
    "a device image must not fail on demand nor be broken on purpose: build without `drills` and `broken-*`"
);

#[cfg(not(feature = "emulated"))]
compile_error!(
    "no source of random numbers: this board is emulated and has none of its own. For tests build with `--features emulated`; \
     a device needs a board folder whose `entropy` is a true random number generator"
);

use fieldpost_link::Entropy as _;

use crate::board::ENTROPY;

/// One random number for jitter. A source that fails costs jitter, not the device: TLS notices by itself.
pub(crate) fn draw() -> u32 {
    let mut bytes = [0; 4];
    ENTROPY.fill(&mut bytes).map_or(0, |()| u32::from_le_bytes(bytes))
}
