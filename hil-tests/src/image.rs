//! Builds the firmware image as a release would: cargo in `firmware/board`, its own workspace and target.
//!
//! Variants are the image with a fault on purpose, named by a feature of the board; a rig that does not turn red on them is
//! worth nothing.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
};

use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SectionFlags, elf};

use crate::{Failure, log::Strings, places, qemu::Image};

/// The target in `firmware/board/.cargo/config.toml`.
const TARGET: &str = "thumbv7em-none-eabihf";
/// The name of the image's binary.
const BINARY: &str = "fieldpost-board";

/// How big an image is, from its ELF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Bytes in flash: code, constants, and the initial values of variables.
    pub flash_bytes: u64,
    /// Bytes of RAM that variables and the heap take, without the stack.
    pub ram_bytes: u64,
}

/// One build at a time: two would put their images in the same place.
static BUILD: Mutex<()> = Mutex::new(());

/// Builds the emulated image with the board's `features` beside `emulated` and returns it.
///
/// # Errors
/// [`Failure`] with what cargo said.
pub fn build(features: &[&str]) -> Result<Image, Failure> {
    let mut all = vec!["emulated"];
    all.extend(features);
    let _turn = BUILD.lock().unwrap_or_else(PoisonError::into_inner);
    cargo("build", &all)?;
    let variant = if features.is_empty() { "image".to_owned() } else { features.join("+") };
    let built = target_dir().join(TARGET).join("release").join(BINARY);
    let kept = target_dir().join(format!("{variant}.elf"));
    std::fs::copy(&built, &kept).map_err(Failure::at("copy the image from", &built))?;
    let strings = Strings::of(&kept)?;
    Ok(Image { elf: kept, strings })
}

/// Checks the image with exactly these features, as `cargo check` does.
///
/// # Errors
/// [`Failure`] with what cargo said.
pub fn check(features: &[&str]) -> Result<(), Failure> {
    cargo("check", features)
}

/// A folder of its own: cargo must not wait for whoever builds for the host.
fn target_dir() -> PathBuf {
    places::target_dir().join("board")
}

fn cargo(command: &str, features: &[&str]) -> Result<(), Failure> {
    let output = Command::new("cargo")
        .args([command, "--release", "--locked", "--quiet", "--features", &features.join(",")])
        .current_dir(places::root().join("firmware/board"))
        .env("CARGO_TARGET_DIR", target_dir())
        // Set by the cargo that runs us, for its own crate.
        .env_remove("RUSTFLAGS")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Failure::tool("cargo", error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::child("cargo", format!("cannot {command} the image with {features:?}: {said}")))
}

/// Reads the size of an image.
///
/// # Errors
/// [`Failure`] if it is not an ELF.
pub fn size(elf: &Path) -> Result<Size, Failure> {
    let bytes = std::fs::read(elf).map_err(Failure::at("read the image", elf))?;
    let file = object::File::parse(bytes.as_slice()).map_err(|error| Failure::child("image", error))?;
    let mut size = Size { flash_bytes: 0, ram_bytes: 0 };
    for section in file.sections() {
        let SectionFlags::Elf { sh_flags } = section.flags() else { continue };
        if sh_flags & u64::from(elf::SHF_ALLOC) == 0 || section.address() >= 0xF000_0000 {
            continue;
        }
        let is_written = sh_flags & u64::from(elf::SHF_WRITE) != 0;
        let has_contents = section.file_range().is_some();
        if has_contents {
            size.flash_bytes += section.size();
        }
        if is_written {
            size.ram_bytes += section.size();
        }
    }
    Ok(size)
}

/// The address of a symbol of the image.
///
/// # Errors
/// [`Failure`] if it has none of this name.
pub fn symbol(elf: &Path, name: &str) -> Result<u64, Failure> {
    let bytes = std::fs::read(elf).map_err(Failure::at("read the image", elf))?;
    let file = object::File::parse(bytes.as_slice()).map_err(|error| Failure::child("image", error))?;
    let found = file.symbols().find(|symbol| symbol.name() == Ok(name));
    found
        .map(|symbol| symbol.address())
        .ok_or_else(|| Failure::child("image", format!("has no symbol {name}")))
}
