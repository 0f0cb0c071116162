//! Certificates and revocation lists: what a stranger shows in the handshake, and what an operator copies into place.

use std::path::Path;

use fieldpost_gateway::config::material::{Authority, MaterialError, RevocationList, canonical_serial};
use fieldpost_gateway::pki::{device_identity, identity_uri};
use fieldpost_link::tls::CertificateFacts;

use crate::allocation;

/// Per byte: the parser keeps a small vector for every element of two bytes.
const BYTES_PER_BYTE: usize = 2048;

/// The first byte chooses: a certificate in DER, or a revocation list in DER or PEM.
pub fn check(bytes: &[u8]) {
    let Some((choice, rest)) = bytes.split_first() else { return };
    let path = Path::new("list.pem");
    allocation::at_most((64 << 10) + rest.len() * BYTES_PER_BYTE, || match choice % 3 {
        0 => certificate(rest),
        1 => list(RevocationList::from_lists(path, vec![rest.to_vec().into()])),
        _ => list(RevocationList::from_pem(path, rest)),
    });
}

/// An authority that was taken has a name and is usable as a root. An identity is one that we would have written into a certificate.
fn certificate(der: &[u8]) {
    // The device's own reader of a gateway's certificate.
    if let Ok(facts) = allocation::at_most(0, || CertificateFacts::read(der)) {
        assert!(der.len() > 50, "{facts:?} out of {} bytes", der.len());
    }
    if let Ok(authority) = Authority::from_certificates(Path::new("ca.pem"), &[der.to_vec().into()]) {
        assert_eq!((authority.roots.len(), authority.subjects.len()), (1, 1));
    }
    let Ok(identity) = device_identity(&der.into()) else { return };
    let uri = identity_uri(&identity.force, &identity.device, identity.ceiling);
    assert!(der.windows(uri.len()).any(|window| window == uri.as_bytes()), "{uri} is not in the certificate");
    assert_eq!(canonical_serial(&identity.serial), identity.serial);
}

/// A list that was taken has an issuer and a date, and revokes what it lists.
fn list(list: Result<RevocationList, MaterialError>) {
    let Ok(list) = list else { return };
    assert_eq!(list.lists.len(), list.issuers.len());
    assert!(!list.lists.is_empty() && list.next_update_s < i64::MAX);
    assert!(list.revoked.iter().all(|serial| list.revokes(serial)));
}
