//! Mistakes planted for the fuzz targets to find: a target that cannot find a known bug proves nothing about unknown ones.
//!
//! **All of them sleep until [`wake`] is called**, so one build serves the honest run and the planted one. The feature is
//! for the folder `fuzz`; a build without debug assertions refuses it.

use core::sync::atomic::{AtomicBool, Ordering};

static AWAKE: AtomicBool = AtomicBool::new(false);

/// Wakes every planted mistake in this process.
pub fn wake() {
    AWAKE.store(true, Ordering::Relaxed);
}

/// Whether the code that asks is to make its mistake.
#[must_use]
pub fn is_awake() -> bool {
    AWAKE.load(Ordering::Relaxed)
}
