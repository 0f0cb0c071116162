//! A disk of its own for the gateway, whose power can be cut at any instant, again and again, while it is in use.
//!
//! ```text
//! gateway -> ext4 -> loop device, direct I/O -> disk.img on XFS       cut: disk.img is cloned (FICLONE)
//!            '- page cache and journal of the "host": not in the clone
//! ```
//!
//! A copy is a power cut only if it holds **what the disk held at one instant**, and nothing that the host only had in
//! memory. Both are seen to:
//!
//! - *Only what reached the disk.* The loop device does direct I/O (`losetup --direct-io=on`), so a block is in `disk.img`
//!   once the disk has taken it from ext4, and in no cache before that. Pages that ext4 has not written, and a journal
//!   that it has not committed, exist in memory only and are not in the clone.
//! - *At one instant.* `cp` of a file that is being written is no instant: a later block may be in it without an earlier
//!   one. XFS clones a file under its exclusive lock, after all direct I/O to it has ended, so the clone is the file
//!   between two writes. Nothing of the running gateway is stopped or told.
//!
//! ext4 then finds on the clone what it would find after a cut: a journal to replay. Mounting it does that.
//!
//! What this disk does not do is lose what it took and was not told to flush, or tear a sector: it has no volatile cache.
//! [`fieldpost_gateway::spool::faulty::FaultyDisk`] does both, in the simulation and the spool's own tests.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use super::{RigError, error::tool};

/// The gateway's disk: several minutes of load.
const DISK_BYTES: u64 = 768 << 20;
/// Room for the disk and what one clone of it does not share. XFS is at least 300 MiB.
const STORE_BYTES: u64 = 2 << 30;

/// A mounted ext4 on a file that can be cloned. Unmounted when dropped.
pub(super) struct Disk {
    // Dropped in this order: each stands on the next.
    mounted: Mount,
    _device: Device,
    store: Mount,
    dir: PathBuf,
    cuts_count: AtomicU32,
}

impl Disk {
    /// Makes one under the empty folder `dir`. Needs root.
    pub(super) fn new(dir: &Path) -> Result<Self, RigError> {
        let store = dir.join("store.img");
        sparse(&store, STORE_BYTES)?;
        tool(&["mkfs.xfs", "-q", "-m", "reflink=1", &text(&store)])?;
        let store = Mount::new(&["-o", "loop"], &store, &dir.join("store"))?;
        let image = store.at.join("disk.img");
        sparse(&image, DISK_BYTES)?;
        // Nothing is left to be initialised later: the load is all that writes.
        tool(&["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", &text(&image)])?;
        let device = Device::new(&image)?;
        let mounted = Mount::new(&[], Path::new(&device.0), &dir.join("disk"))?;
        Ok(Self { mounted, _device: device, store, dir: dir.to_path_buf(), cuts_count: AtomicU32::new(0) })
    }

    /// Where it is mounted.
    pub(super) fn at(&self) -> &Path {
        &self.mounted.at
    }

    /// Cuts the power of a copy: what the disk holds at this instant.
    pub(super) fn cut(&self) -> Result<Cut, RigError> {
        let number = self.cuts_count.fetch_add(1, Ordering::Relaxed);
        let image = self.store.at.join(format!("cut-{number}.img"));
        let disk = fs::File::open(self.store.at.join("disk.img")).map_err(RigError::io("open the disk"))?;
        let clone = fs::File::create(&image).map_err(RigError::io("make a clone's file"))?;
        // No other process is started for it: what is acknowledged meanwhile would have time to reach the disk.
        rustix::fs::ioctl_ficlone(clone, disk)
            .map_err(|error| RigError::io("clone the disk")(error.into()))?;
        Ok(Cut { image, at: self.dir.join(format!("cut-{number}")) })
    }
}

/// A disk after the cut. Its file is gone when dropped.
pub(super) struct Cut {
    image: PathBuf,
    at: PathBuf,
}

impl Cut {
    /// Mounts it, which replays the journal.
    pub(super) fn mount(&self) -> Result<Mount, RigError> {
        Mount::new(&["-o", "loop"], &self.image, &self.at)
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.image) {
            tracing::warn!(%error, "a clone stays behind");
        }
    }
}

/// Something mounted. Unmounted when dropped.
pub(super) struct Mount {
    at: PathBuf,
}

impl Mount {
    /// Mounts `what` at the folder `at`, which is made if it is not there.
    pub(super) fn new(options: &[&str], what: &Path, at: &Path) -> Result<Self, RigError> {
        fs::create_dir_all(at).map_err(RigError::io("make a mount point"))?;
        tool(&[&["mount"], options, &[&text(what), &text(at)]].concat())?;
        Ok(Self { at: at.to_path_buf() })
    }

    /// Where.
    pub(super) fn at(&self) -> &Path {
        &self.at
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(error) = tool(&["umount", &text(&self.at)]) {
            tracing::warn!(%error, "a mount stays behind");
        }
    }
}

/// A loop device that does direct I/O. Detached when dropped.
struct Device(String);

impl Device {
    fn new(image: &Path) -> Result<Self, RigError> {
        let device =
            tool(&["losetup", "--direct-io=on", "--find", "--show", &text(image)])?.trim().to_owned();
        let device = Self(device);
        // A kernel that cannot would fall back to its cache in silence: the copy would then prove nothing.
        let direct = tool(&["losetup", "--noheadings", "--output", "DIO", &device.0])?;
        if direct.trim() != "1" {
            return Err(RigError::Cannot {
                what: format!("do direct I/O on {}", device.0),
                why: "it is off".into(),
            });
        }
        Ok(device)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if let Err(error) = tool(&["losetup", "--detach", &self.0]) {
            tracing::warn!(%error, "a loop device stays behind");
        }
    }
}

fn sparse(path: &Path, bytes: u64) -> Result<(), RigError> {
    let file = fs::File::create(path).map_err(RigError::io("make a disk's file"))?;
    file.set_len(bytes).map_err(RigError::io("size a disk's file"))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
