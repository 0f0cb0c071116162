//! HTTPS from the gateway to a server of the force: whom it trusts, and how long it waits for a connection.
//!
//! **Only the configured authority is trusted where there is one, and no redirect is ever followed**: a client made of this
//! connector has no way to. HTTP/1.1; clear text only if the caller lets such a URL through.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

const CONNECT_MS_MAX: u64 = 5_000;

/// The file cannot be used as certificates of authorities.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {path} as certificates of authorities: {detail}")]
pub struct AuthorityError {
    /// The PEM file.
    pub path: String,
    /// What is wrong.
    pub detail: String,
}

/// A connector that trusts `authority`, or the system's roots without one. Blocking: reads certificates.
///
/// # Errors
/// [`AuthorityError`].
pub fn connector(authority: Option<&Path>) -> Result<HttpsConnector<HttpConnector>, AuthorityError> {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_connect_timeout(Some(Duration::from_millis(CONNECT_MS_MAX)));
    connector.set_nodelay(true);
    Ok(HttpsConnectorBuilder::new()
        .with_tls_config(tls(authority)?)
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector))
}

/// Whether a URL names this machine: `localhost` or a loopback address.
#[must_use]
pub fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The library's message names the step; what went wrong is in its causes.
#[must_use]
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

/// TLS that trusts `authority`, or the system's roots without one. Blocking: reads certificates.
pub(crate) fn tls(authority: Option<&Path>) -> Result<ClientConfig, AuthorityError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has TLS 1.3 and 1.2");
    let builder = match authority {
        Some(path) => builder.with_root_certificates(roots(path)?),
        None => match builder.clone().with_native_roots() {
            Ok(builder) => builder,
            // Such a machine can still talk to loopback; anything else fails at the handshake and says so.
            Err(error) => {
                tracing::warn!(%error, "the system has no certificates of authorities");
                builder.with_root_certificates(RootCertStore::empty())
            }
        },
    };
    Ok(builder.with_no_client_auth())
}

fn roots(path: &Path) -> Result<RootCertStore, AuthorityError> {
    let wrong = |detail: &dyn std::fmt::Display| AuthorityError {
        path: path.display().to_string(),
        detail: detail.to_string(),
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))? {
        let certificate = certificate.map_err(|error| wrong(&error))?;
        roots.add(certificate).map_err(|error| wrong(&error))?;
    }
    if roots.is_empty() { Err(wrong(&"it holds no certificate")) } else { Ok(roots) }
}
