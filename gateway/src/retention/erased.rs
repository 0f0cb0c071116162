//! The purge log, [`ERASED_FILE`]: what was erased, as counts by class. **A line is durable before its bytes go, and holds no
//! copy of what went.** After a crash in between, the same file has two lines; the later one is what happened.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// File name in the data directory. About 200 bytes for each segment of `spool.segment_bytes`; it is never cut.
pub const ERASED_FILE: &str = "erased.ndjson";

/// Appends `line` and fsyncs it.
pub(super) fn append(data_dir: &Path, line: &serde_json::Value) -> io::Result<()> {
    let path = data_dir.join(ERASED_FILE);
    let is_new = !path.exists();
    let mut file = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(&path)?;
    let mut text = if is_cut(&mut file)? { "\n".to_owned() } else { String::new() };
    text.push_str(&line.to_string());
    text.push('\n');
    file.write_all(text.as_bytes())?;
    rustix::fs::fsync(&file)?;
    if is_new {
        rustix::fs::fsync(File::open(data_dir)?)?;
    }
    Ok(())
}

/// Whether a crash left a line without its end.
fn is_cut(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}
