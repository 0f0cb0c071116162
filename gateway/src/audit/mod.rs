//! Log before look (Data Protection Act 2018, section 62): who was shown whose position, when, and what exactly.
//!
//! ```text
//! handler --Asked + Unseen--> AccessLog --looks that wait together--> AccessFiles (chain, fsync) --Logged--> answer
//! ```
//! **No position leaves the gateway before its access record is durable**, and this is not left to care: what holds a
//! position is [`Unseen`], which only a [`Logged`] opens, which only a durable record makes. If the record cannot be
//! written, nothing is shown.
//!
//! What is sent to force systems has a chain of its own by the same code ([`series`]): the disclosure log, which
//! `forward::release` writes and [`disclosed`] answers from.
//!
//! Each line holds the hash of all before it, across files of bounded size, so what is changed or taken out in the middle
//! is seen; the end is held by the head beside it and by the heads that went to other machines. Whoever may write the
//! data directory and knows no such head can still write the whole log anew: see SECURITY.md.

pub mod answer;
pub mod disclosed;
pub mod export;
pub mod files;
pub mod hash;
pub mod line;
pub mod log;
pub mod look;
pub mod pictures;
pub mod rebuild;
pub mod runs;
pub mod series;
mod sieve;
pub mod unseen;
pub mod verify;

pub use self::files::{AccessFiles, Journal};
pub use self::log::{AccessLog, NotShown, show_now};
pub use self::look::{Asked, Field, Holds, Look, Precision, Subjects, What, Who};
pub use self::series::Series;
pub use self::unseen::{Logged, Unseen};

#[cfg(test)]
mod tests;
