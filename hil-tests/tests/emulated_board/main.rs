//! The firmware image on an emulated board against the real gateway.
//!
//! Names are claims about the emulated target. Run by `cargo xtask test board`, which builds what these need; without it they
//! fail and say what is missing.

mod rig;
