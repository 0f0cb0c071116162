//! Bounded memory as a claim: a length in the input must not decide what is allocated, only the bytes that are there.

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Runs `work` and panics if it allocated more bytes in all (freed ones included) than `bytes_max`.
pub fn at_most<T>(bytes_max: usize, work: impl FnOnce() -> T) -> T {
    let region = Region::new(ALLOCATOR);
    let done = work();
    let change = region.change();
    let bytes = change.bytes_allocated;
    assert!(bytes <= bytes_max, "{bytes} bytes allocated, at most {bytes_max} expected");
    done
}
