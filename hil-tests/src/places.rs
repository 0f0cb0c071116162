//! Where things stand: the repository, what cargo built.

use std::path::{Path, PathBuf};

use crate::Failure;

/// The top folder of the repository.
#[must_use]
pub fn root() -> PathBuf {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_dir.parent().expect("hil-tests stands in the repository's top folder").to_path_buf()
}

/// Where cargo builds for the host.
#[must_use]
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The gateway's binary, as `cargo build -p fieldpost-gateway` leaves it.
///
/// # Errors
/// [`Failure::Tool`] if it has not been built.
pub fn gateway_binary() -> Result<PathBuf, Failure> {
    let path = target_dir().join("debug/fieldpost");
    if path.is_file() {
        return Ok(path);
    }
    Err(Failure::tool(path.display().to_string(), "not built: `cargo build -p fieldpost-gateway`"))
}
