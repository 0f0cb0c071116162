//! # Rigs around the whole product
//!
//! - `cargo xtask` (`src/bin/xtask`): installs what the tests need and runs every check; `.ci/run` calls it.
//! - `browser/`: a real browser against the running demo.
//! - `gnss/`: real receivers' logs, judged by a parser that is not ours.
//!
//! The flashable image on an emulated board joins here. The rigs that break the gateway's binary are commands of the
//! simulator (`fieldpost-sim rig`), because they share its bare devices with the benchmarks.
