//! Who gets through the front door, and what the rest is told.
