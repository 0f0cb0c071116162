//! The page is built into the binary: when it changes, the binary does.

fn main() {
    println!("cargo::rerun-if-changed=ui/dist");
}
