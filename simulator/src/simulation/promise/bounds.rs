//! Promise 8: **the spool never takes more of the disk than it may**, and memory beside it stays within its bounds.

use super::{Checker, Fact};

/// Cursor files of 8 KiB, two slots each, and the alarms' snapshot with its draft.
const BESIDE_BYTES: u64 = 256 << 10;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Bounds;

impl Checker for Bounds {
    fn name(&self) -> &'static str {
        "bounded everything"
    }

    fn see(&mut self, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::Used {
                disk_bytes,
                disk_bytes_max,
                archive_bytes,
                archive_bytes_max,
                pending_bytes,
                pending_bytes_max,
            } => {
                if archive_bytes > archive_bytes_max {
                    return Err(format!(
                        "{archive_bytes} bytes in the archive, {archive_bytes_max} are allowed"
                    ));
                }
                if disk_bytes > disk_bytes_max + BESIDE_BYTES {
                    return Err(format!("{disk_bytes} bytes on the disk, {disk_bytes_max} are allowed"));
                }
                if pending_bytes > pending_bytes_max {
                    return Err(format!(
                        "{pending_bytes} bytes wait for the writer, {pending_bytes_max} may"
                    ));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
