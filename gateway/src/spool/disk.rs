//! The one seam between the spool and storage.
//!
//! **Everything the spool asks of a file system goes through [`Disk`] and [`DiskFile`]**, so that a test can hold an
//! fsync back, fill the disk or cut the power at a chosen instant ([`super::faulty::FaultyDisk`]). [`RealDisk`] is the
//! only place of the product that calls `fdatasync`.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

/// The spool holds positions: nobody but its owner reads it, whatever the directory allows.
const MODE: u32 = 0o600;

/// Keeps a directory locked against a second gateway until it is dropped.
pub trait DirLock: Send + Sync {}

/// A file system, as far as the spool needs one. Paths are absolute or relative to the process.
///
/// A full disk is reported as [`io::ErrorKind::StorageFull`] or [`io::ErrorKind::QuotaExceeded`]; every other error
/// is taken as damage to the storage.
pub trait Disk: Send + Sync + 'static {
    /// Creates a directory and its parents; an existing one is fine.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Names of the files in a directory, in no order. A missing directory is an error.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Takes the exclusive lock of a directory through the lock file at `path`;
    /// [`io::ErrorKind::WouldBlock`] if another process (or another open spool) has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>>;
    /// Creates a new file for reading and writing; an existing one is an error.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens an existing file for reading only.
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Renames a file, replacing the target. Durable after [`Disk::sync_dir`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file. Durable after [`Disk::sync_dir`].
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// An open file. All positions are absolute; there is no shared file position.
pub trait DiskFile: Send + Sync {
    /// Reads up to `buf.len()` bytes at `offset`; 0 means end of file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes up to `buf.len()` bytes at `offset`; may write fewer.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize>;
    /// Makes written data durable (fdatasync). **After an error the state of the file is unknown: never call it again
    /// and hope.** The kernel may have marked the lost pages clean, so that a second call succeeds over missing data.
    fn sync_data(&self) -> io::Result<()>;
    /// Reserves `bytes` of space without writing them; a file system without support may do nothing.
    fn allocate(&self, bytes: u64) -> io::Result<()>;
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// True for a file without any bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// True if the error says that there is no space left (disk or quota), which passes; other errors do not.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Writes all of `buf` at `offset`, however short the single writes are.
pub(crate) fn write_all_at(file: &dyn DiskFile, mut buf: &[u8], mut offset: u64) -> io::Result<()> {
    while !buf.is_empty() {
        let written_bytes = file.write_at(buf, offset)?;
        if written_bytes == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        buf = &buf[written_bytes..];
        offset += written_bytes as u64;
    }
    Ok(())
}

/// Reads until `buf` is full or the file ends; returns the bytes read.
pub(crate) fn read_full_at(file: &dyn DiskFile, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        let read_bytes = file.read_at(&mut buf[filled..], offset + filled as u64)?;
        if read_bytes == 0 {
            break;
        }
        filled += read_bytes;
    }
    Ok(filled)
}

/// Reads as much as can be read: sectors that cannot, or lie past the end, come as zeros, which hold no record.
pub(super) fn read_sectors_at(file: &dyn DiskFile, buf: &mut [u8], offset: u64) {
    const SECTOR_BYTES: usize = 4096;
    for (index, sector) in buf.chunks_mut(SECTOR_BYTES).enumerate() {
        let at = offset + (index * SECTOR_BYTES) as u64;
        let good_bytes = read_full_at(file, sector, at).unwrap_or(0);
        sector[good_bytes..].fill(0);
    }
}

/// The operating system's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        std::fs::create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        Ok(names)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(MODE).open(path)?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(FileLock { _file: file }))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().create_new(true).read(true).write(true).mode(MODE).open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(RealFile(File::open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        Ok(rustix::fs::fsync(File::open(dir)?)?)
    }
}

/// The lock goes with the descriptor, so also with a killed process.
struct FileLock {
    _file: File,
}

impl DirLock for FileLock {}

struct RealFile(File);

impl DiskFile for RealFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        retry_interrupted(|| self.0.read_at(buf, offset))
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        retry_interrupted(|| self.0.write_at(buf, offset))
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(&self.0)?)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.0, rustix::fs::FallocateFlags::empty(), 0, bytes) {
            // The zeros that follow reserve the space just as well, only slower.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

fn retry_interrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
