//! Why the board started, and how it resets itself.
//!
//! A note in RAM that start-up does not clear says why the last life ended. **A note that is not whole is not believed**: RAM
//! after power-on holds anything. A life that ended without a note, while the RAM shows there was one, ended by the watchdog's
//! hard reset or the reset line.
//!
//! QEMU models no register that says why this part was reset; its RAM keeps its contents through a reset, and a new process begins
//! with zeros. A part with such a register reads it in [`take`].
//!
//! The note lives through a reset, not through a power cut right after it; from then on the reason is in the device's first
//! STATUS record, which is on flash.

use core::{cell::UnsafeCell, mem::MaybeUninit, panic::PanicInfo, ptr};

use cortex_m_rt::exception;
use fieldpost_protocol::ResetReason;

use super::memory;

/// What ended the last life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, defmt::Format)]
#[repr(u32)]
pub(crate) enum Cause {
    /// No life before this one.
    PowerOn = 1,
    /// It was alive and left no note.
    Unexplained = 2,
    /// The watchdog's warning.
    Watchdog = 3,
    /// A panic; the place is noted.
    Panic = 4,
    /// A processor fault; the address that could not be reached is noted, or 0.
    Fault = 5,
    /// The heap had no room.
    OutOfMemory = 6,
    /// The firmware asked for it.
    Requested = 7,
    /// The stack ran into its guard.
    StackOverflow = 8,
}

impl Cause {
    const ALL: [Self; 8] = [
        Self::PowerOn,
        Self::Unexplained,
        Self::Watchdog,
        Self::Panic,
        Self::Fault,
        Self::OutOfMemory,
        Self::Requested,
        Self::StackOverflow,
    ];

    /// As the device reports it.
    pub(crate) fn reason(self) -> ResetReason {
        match self {
            Self::PowerOn => ResetReason::POWER_ON,
            Self::Unexplained | Self::Watchdog => ResetReason::WATCHDOG,
            Self::Panic | Self::Fault | Self::StackOverflow => ResetReason::FAULT,
            Self::OutOfMemory => ResetReason::OUT_OF_MEMORY,
            Self::Requested => ResetReason::SOFTWARE,
        }
    }
}

/// Where the last life ended: for a panic a line, for a fault an address, else 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, defmt::Format)]
pub(crate) struct Ending {
    /// Why.
    pub(crate) cause: Cause,
    /// Where.
    pub(crate) place: u32,
    /// For a panic, the hash of the file's name (see [`file_hash`]); else 0.
    pub(crate) file: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Note {
    cause: u32,
    place: u32,
    file: u32,
    /// Of the three before.
    check: u32,
}

impl Note {
    fn new(cause: u32, place: u32, file: u32) -> Self {
        Self { cause, place, file, check: check_of(cause, place, file) }
    }
}

/// In the note while the firmware lives.
const ALIVE: u32 = 0x414C_4956;

fn check_of(cause: u32, place: u32, file: u32) -> u32 {
    [cause, place, file]
        .iter()
        .fold(0x4650_4231, |check: u32, word| (check ^ word).wrapping_mul(0x0100_0193).rotate_left(7))
}

struct Kept(UnsafeCell<MaybeUninit<Note>>);

// SAFETY: read once at start, before there are tasks; written only as the last act of a life.
unsafe impl Sync for Kept {}

#[unsafe(link_section = ".uninit.reset_note")]
static NOTE: Kept = Kept(UnsafeCell::new(MaybeUninit::uninit()));

fn write(note: Note) {
    // SAFETY: see `Kept`.
    unsafe { ptr::write_volatile(NOTE.0.get().cast(), note) }
}

/// Reads the note and marks this life as begun. Call once, first.
pub(super) fn take() -> Ending {
    // SAFETY: the note is four words, and any bits are words; see `Kept`.
    let note: Note = unsafe { ptr::read_volatile(NOTE.0.get().cast()) };
    write(Note::new(ALIVE, 0, 0));
    if note.check != check_of(note.cause, note.place, note.file) {
        return Ending { cause: Cause::PowerOn, place: 0, file: 0 };
    }
    let cause =
        Cause::ALL.into_iter().find(|cause| *cause as u32 == note.cause).unwrap_or(Cause::Unexplained);
    Ending { cause, place: note.place, file: note.file }
}

/// Ends this life.
pub(crate) fn now(cause: Cause) -> ! {
    end(cause, 0, 0)
}

fn end(cause: Cause, place: u32, file: u32) -> ! {
    write(Note::new(cause as u32, place, file));
    cortex_m::peripheral::SCB::sys_reset()
}

/// FNV-1a of a file's name as the compiler wrote it: a note has no room for the name.
pub(crate) fn file_hash(name: &str) -> u32 {
    name.bytes().fold(0x811C_9DC5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    cortex_m::interrupt::disable();
    if memory::has_run_out() {
        end(Cause::OutOfMemory, 0, 0);
    }
    let (line, file) = info.location().map_or((0, 0), |place| (place.line(), file_hash(place.file())));
    end(Cause::Panic, line, file)
}

#[defmt::panic_handler]
fn defmt_panic() -> ! {
    core::panic!()
}

/// Without a look at the stack, which may be gone: the fault's registers say enough.
#[exception(trampoline = false)]
unsafe fn HardFault() -> ! {
    if memory::has_overflowed() {
        end(Cause::StackOverflow, 0, 0);
    }
    end(Cause::Fault, memory::fault_address(), 0)
}

#[exception]
unsafe fn DefaultHandler(interrupt: i16) {
    end(Cause::Fault, u32::from(interrupt.unsigned_abs()), 0);
}
