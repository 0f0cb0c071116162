//! Hands the linker the memory layout. `device.x` is what cortex-m-rt asks of a board that brings its own vector table
//! (`src/mps2_an386/interrupt.rs`); ours names its handlers in Rust, so it is empty.

use std::{env, fs, io, path::PathBuf};

fn main() -> io::Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    fs::write(out.join("memory.x"), include_bytes!("memory.x"))?;
    fs::write(out.join("device.x"), "")?;
    println!("cargo:rustc-link-search={}", out.display());
    println!("cargo:rerun-if-changed=memory.x");
    Ok(())
}
