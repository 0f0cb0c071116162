//! The page is built into the binary: when it changes, the binary does.

#![expect(clippy::print_stdout, reason = "how a build script speaks to cargo")]

fn main() {
    println!("cargo::rerun-if-changed=ui/dist");
}
