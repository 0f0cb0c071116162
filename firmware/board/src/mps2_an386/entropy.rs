//! Random numbers: **from the host's operating system through semihosting, so for an emulated target only**.
//!
//! The part has no random number generator. A board that goes to a force brings a real one, behind
//! [`fieldpost_link::Entropy`]; this file is not compiled without the feature `emulated`, and that feature does not go
//! together with `device-image`.

use core::sync::atomic::{AtomicUsize, Ordering};

use cortex_m_semihosting::{nr, syscall};
use fieldpost_link::{Entropy, EntropyFailed};

const PATH: &[u8] = b"/dev/urandom\0";
const MODE_READ_BINARY: usize = 1;
const FAILED: usize = usize::MAX;

/// The host's generator.
pub(crate) static HOST_ENTROPY: HostEntropy = HostEntropy { handle: AtomicUsize::new(FAILED) };

/// See [`HOST_ENTROPY`].
#[derive(Debug)]
pub(crate) struct HostEntropy {
    handle: AtomicUsize,
}

impl HostEntropy {
    fn open(&self) -> Result<usize, EntropyFailed> {
        let open = self.handle.load(Ordering::Relaxed);
        if open != FAILED {
            return Ok(open);
        }
        let arguments = [PATH.as_ptr() as usize, MODE_READ_BINARY, PATH.len() - 1];
        // SAFETY: SYS_OPEN reads a name of the length given.
        let handle = unsafe { syscall(nr::OPEN, &arguments) };
        self.handle.store(handle, Ordering::Relaxed);
        if handle == FAILED { Err(EntropyFailed) } else { Ok(handle) }
    }
}

impl Entropy for HostEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyFailed> {
        let arguments = [self.open()?, bytes.as_mut_ptr() as usize, bytes.len()];
        // SAFETY: SYS_READ writes at most the length given to the buffer given.
        let missing = unsafe { syscall(nr::READ, &arguments) };
        if missing == 0 { Ok(()) } else { Err(EntropyFailed) }
    }
}
