//! Certificates: who may knock at the front door, and the local authority that says so.
//!
//! Promise: **a device's identity is what its certificate says and nothing else; a certificate is known to the authority
//! before anybody holds it; a revoked one never gets back in.** Every act of the authority is one line in an append-only
//! index, synced before its result leaves this module, so a crash can lose a certificate nobody has yet, never the memory
//! of one that somebody has.
//!
//! ```text
//! pki/  ca.pem  ca.key (0600)  index.jsonl (every act)  crl.pem  server.pem  server.key (0600)
//!
//! issue  = index line + fsync -> certificate and key to the caller
//! revoke = index line + fsync -> new crl.pem (draft, fsync, rename) -> taken within a minute -> rustls refuses, open
//!          sessions end
//! ```
//!
//! - [`Authority`] issues, revokes and lists; one at a time per directory (file lock).
//! - [`device_identity`] reads the identity from a certificate that rustls has verified.
//! - [`FrontDoorTls`], [`PageTls`] build the rustls configurations and renew their contents on reload.

mod authority;
mod envelope;
mod files;
mod identity;
mod index;
mod mutual;
mod sessions;
#[cfg(test)]
mod tests;
mod tls;

pub use self::authority::{Authority, AuthorityError, DeviceRequest, Issued, Revoke, Validity};
pub use self::envelope::{make_envelope_key, read_envelope_key};
pub use self::files::{replace_file, write_new_private};
pub use self::identity::{
    Holder, Identity, IdentityError, certificate_holder, device_identity, identity_uri,
};
pub use self::index::{Entry, Status};
pub use self::mutual::{mutual_client, mutual_server, mutual_server_with};
pub use self::tls::{FrontDoorTls, PageTls, TlsError, client_verifier};
