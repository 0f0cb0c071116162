//! The seam between a session and what carries its bytes.

use std::future::Future;
use std::io;
use std::task::{Context, Poll};

/// The bytes of one connection, both ways. In the gateway that is TLS; in a simulation, memory.
pub trait Pipe: Send {
    /// Reads what is there into `opened`, which is empty afterwards only at the end of the stream.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] if it is not what the peer sent; any other if the connection is lost.
    fn poll_read(&mut self, cx: &mut Context<'_>, opened: &mut Vec<u8>) -> Poll<io::Result<()>>;

    /// Takes `bytes`, emptying it, once what was taken before has gone out. Ready when all has.
    ///
    /// # Errors
    /// The connection is lost.
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &mut Vec<u8>) -> Poll<io::Result<()>>;

    /// Writes `bytes` and ends the connection in order. The caller bounds the time.
    ///
    /// # Errors
    /// The connection is lost; nothing is to be done about it.
    fn close(&mut self, bytes: &mut Vec<u8>) -> impl Future<Output = io::Result<()>> + Send;
}
