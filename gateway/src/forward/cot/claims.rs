//! What is claimed of Cursor on Target, each as a test.

mod picture;
mod wire;
