//! Drills: a byte into the log's UART makes the image fail in one way, so that a rig sees what the firmware makes of it.
//!
//! | byte | failure | next life's cause |
//! |---|---|---|
//! | `p` | a panic | `Panic` |
//! | `o` | the heap runs out | `OutOfMemory` |
//! | `f` | a read of memory that is not there | `Fault` |
//! | `s` | the stack overflows | `StackOverflow` |
//! | `u` | the urgent executor stands still | `Watchdog` |
//! | `c` | the calm executor stands still | `Watchdog` |
//!
//! **Only with the feature `drills`, which does not go together with `device-image`.**

use core::{
    hint::black_box,
    sync::atomic::{AtomicBool, Ordering},
};

extern crate alloc;

static CALM_STANDS_STILL: AtomicBool = AtomicBool::new(false);

/// Fails as the byte says; any other byte does nothing.
pub(crate) fn perform(byte: u8) {
    match byte {
        b'p' => panic!("drill"),
        b'o' => exhaust_heap(),
        b'f' => crate::board::read_nothing(),
        b's' => _ = black_box(overflow_stack(0)),
        b'u' => stand_still(),
        b'c' => CALM_STANDS_STILL.store(true, Ordering::Relaxed),
        _ => {}
    }
}

/// A task of the calm executor calls this now and then.
pub(crate) fn perform_calm() {
    if CALM_STANDS_STILL.load(Ordering::Relaxed) {
        stand_still();
    }
}

fn stand_still() {
    loop {
        cortex_m::asm::nop();
    }
}

fn exhaust_heap() {
    let mut hoard: alloc::vec::Vec<alloc::boxed::Box<[u8; 256]>> = alloc::vec::Vec::new();
    loop {
        hoard.push(black_box(alloc::boxed::Box::new([0; 256])));
    }
}

#[expect(unconditional_recursion, reason = "that is the drill")]
#[inline(never)]
fn overflow_stack(depth: u32) -> u32 {
    let frame = black_box([depth; 16]);
    overflow_stack(depth + 1) + frame[3]
}
