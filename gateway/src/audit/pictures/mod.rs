//! The picture journal: what live pages were shown, once for all of them.
//!
//! ```text
//! Board --keyframe, changes--> PictureFiles --fsync--> Committed --> queues of the pages
//!                              DATA_DIR/pictures/pictures-000001-1795000000123.fpp
//! ```
//! **A change is durable here before it is in any page's queue**: a queue takes only what is [`Committed`], and only the
//! fsync makes that. With the interval on record in the access log it says which bytes a page was sent, to the last one
//! (`fieldpost audit rebuild`). Rendered JSON is kept, not the state behind it: what was shown stays what was shown,
//! whatever a later version would render.
//!
//! Nothing is kept that nobody looks at: the journal begins with a keyframe when somebody does, and stops when the last
//! one has gone. Files are chained by SHA-256 like the access record and are removed, oldest first, by age and by size; the
//! access record says which and what their last hash was.

mod codec;
mod delta;
mod format;
mod read;
mod wire;
mod write;

pub use self::codec::Entry;
pub use self::read::{FileEnd, PictureFile, files, first_n, read};
pub use self::write::{Committed, Keep, PictureFiles, PictureHead, Retired};

/// Directory of the journal in the data directory.
pub const PICTURES_DIR: &str = "pictures";

#[cfg(test)]
mod tests;
