//! The heap and the stack: how large they are, and how much of them was ever used.
//!
//! **Only TLS allocates**; everything else is static. An allocation that fails ends in a reset whose reason is
//! `out-of-memory`. The stack is painted at start and what is no longer paint was used.

use core::{
    alloc::{GlobalAlloc, Layout},
    mem::MaybeUninit,
    ptr,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use cortex_m::peripheral::{MPU, SCB};
use embedded_alloc::LlffHeap;

/// 32 KiB: a handshake takes 7.8 KB, a stranger's 16 KiB at most on a 64-bit host. A gateway that names hundreds of authorities is
/// refused by the link's guard: its message is too long.
pub(crate) const HEAP_BYTES: usize = 32 * 1024;

const PAINT: u32 = 0xC5C5_C5C5;

struct MeteredHeap {
    heap: LlffHeap,
    used_bytes: AtomicUsize,
    peak_bytes: AtomicUsize,
    has_run_out: AtomicBool,
}

#[global_allocator]
static HEAP: MeteredHeap = MeteredHeap {
    heap: LlffHeap::empty(),
    used_bytes: AtomicUsize::new(0),
    peak_bytes: AtomicUsize::new(0),
    has_run_out: AtomicBool::new(false),
};

static mut ARENA: [MaybeUninit<u8>; HEAP_BYTES] = [MaybeUninit::uninit(); HEAP_BYTES];

// SAFETY: hands everything to the heap and counts beside it.
unsafe impl GlobalAlloc for MeteredHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: promised by the caller.
        let pointer = unsafe { self.heap.alloc(layout) };
        if pointer.is_null() {
            self.has_run_out.store(true, Ordering::Relaxed);
            return pointer;
        }
        let used_bytes = self.used_bytes.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        self.peak_bytes.fetch_max(used_bytes, Ordering::Relaxed);
        pointer
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        self.used_bytes.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: promised by the caller.
        unsafe { self.heap.dealloc(pointer, layout) }
    }
}

unsafe extern "C" {
    static mut _stack_end: u32;
    static mut _stack_start: u32;
}

/// What was used at most, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Of the heap, now.
    pub(crate) heap_bytes: usize,
    /// Of the heap, at most.
    pub(crate) heap_peak_bytes: usize,
    /// Of the stack, at most.
    pub(crate) stack_peak_bytes: usize,
}

/// No access to the lowest part of the stack: **an overflow is a fault, not somebody's broken variable.** The hard-fault handler
/// runs without protection (HFNMIENA is 0), on what the guard kept free.
const GUARD_BYTES: usize = 1024;
/// Region size 2^(9+1), enabled, no access, never executed.
const GUARD_ATTRIBUTES: u32 = 9 << 1 | 1 | 1 << 28;
const MPU_ENABLE_WITH_DEFAULT_MAP: u32 = 1 << 2 | 1;

fn guard_stack(mpu: &mut MPU) {
    // SAFETY: nothing lives in the guard, and everything else keeps the default map.
    unsafe {
        mpu.rnr.write(0);
        mpu.rbar.write(&raw const _stack_end as u32);
        mpu.rasr.write(GUARD_ATTRIBUTES);
        mpu.ctrl.write(MPU_ENABLE_WITH_DEFAULT_MAP);
    }
    cortex_m::asm::dsb();
    cortex_m::asm::isb();
}

const CFSR_DATA_ACCESS: u32 = 1 << 1;
const CFSR_STACKING: u32 = 1 << 4;
const CFSR_MMFAR_VALID: u32 = 1 << 7;
const CFSR_BFAR_VALID: u32 = 1 << 15;

/// The fault that is being handled was the stack's.
pub(super) fn has_overflowed() -> bool {
    // SAFETY: a read of a status register.
    let cfsr = unsafe { (*SCB::PTR).cfsr.read() };
    let guard = &raw const _stack_end as usize;
    let is_in_guard = (guard..guard + GUARD_BYTES).contains(&(fault_address() as usize));
    cfsr & CFSR_STACKING != 0 || (cfsr & CFSR_DATA_ACCESS != 0 && is_in_guard)
}

/// The address whose access failed, or 0.
pub(super) fn fault_address() -> u32 {
    // SAFETY: reads of status registers.
    unsafe {
        let scb = &*SCB::PTR;
        match scb.cfsr.read() {
            cfsr if cfsr & CFSR_MMFAR_VALID != 0 => scb.mmfar.read(),
            cfsr if cfsr & CFSR_BFAR_VALID != 0 => scb.bfar.read(),
            _ => 0,
        }
    }
}

/// Paints what of the stack is not in use, guards its end, and gives the heap its memory.
pub(super) fn start(mpu: &mut MPU) {
    // SAFETY: called once; nothing else names the arena.
    unsafe { HEAP.heap.init(&raw mut ARENA as usize, HEAP_BYTES) }
    let here: u32 = 0;
    let mut cell = &raw mut _stack_end;
    // 256 bytes for the frames of this function and of what it calls.
    let top = (&raw const here as usize).saturating_sub(256);
    while (cell as usize) < top {
        // SAFETY: inside the stack, below every live frame.
        unsafe {
            ptr::write_volatile(cell, PAINT);
            cell = cell.add(1);
        }
    }
    guard_stack(mpu);
}

/// An allocation has failed.
pub(super) fn has_run_out() -> bool {
    HEAP.has_run_out.load(Ordering::Relaxed)
}

/// What was used until now.
pub(crate) fn usage() -> Usage {
    Usage {
        heap_bytes: HEAP.used_bytes.load(Ordering::Relaxed),
        heap_peak_bytes: HEAP.peak_bytes.load(Ordering::Relaxed),
        stack_peak_bytes: stack_peak_bytes(),
    }
}

/// What the stack may take: all of its room in `memory.x` but the guard.
pub(crate) fn stack_bytes() -> usize {
    &raw const _stack_start as usize - &raw const _stack_end as usize - GUARD_BYTES
}

fn stack_peak_bytes() -> usize {
    let top = &raw const _stack_start as usize;
    let mut cell = (&raw const _stack_end).wrapping_byte_add(GUARD_BYTES);
    // SAFETY: inside the stack; its words are read as words whatever they hold.
    while (cell as usize) < top && unsafe { ptr::read_volatile(cell) } == PAINT {
        cell = cell.wrapping_add(1);
    }
    top - cell as usize
}
