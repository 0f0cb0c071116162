//! Where the gateway's binary is.

use std::{io, path::PathBuf};

/// The path that was asked for, or `fieldpost` beside this program.
///
/// # Errors
/// If there is no such file; the text says how to build it.
pub fn gateway(asked: Option<PathBuf>) -> io::Result<PathBuf> {
    let path = match asked {
        Some(path) => path,
        None => std::env::current_exe()?.with_file_name("fieldpost"),
    };
    if path.is_file() {
        return Ok(path);
    }
    let text = format!(
        "{} does not exist: build it with `cargo build -p fieldpost-gateway` or name another with --binary",
        path.display()
    );
    Err(io::Error::new(io::ErrorKind::NotFound, text))
}
