//! The tasks, from the sensor to the air. Each is written against traits; `main` gives it this board's parts.

pub(crate) mod device;
pub(crate) mod dial;
pub(crate) mod link;
pub(crate) mod net;
pub(crate) mod sense;
