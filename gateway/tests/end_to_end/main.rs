//! The gateway's library against real parts: real sockets, real servers, a real disk.

mod forward;
