//! Whom a client trusts: the machine's certificates, read once, and only for addresses that need them.

use std::sync::OnceLock;

use reqwest::ClientBuilder;
use rustls::ClientConfig;
use rustls_platform_verifier::BuilderVerifierExt as _;

/// An `https://` address needs certificates to trust, and the machine has none.
#[derive(Debug, thiserror::Error)]
#[error(
    "an https:// address needs the machine's CA certificates, and there are none that can be read; \
     install them (on Debian, the package ca-certificates)"
)]
pub struct NoCertificates(#[source] rustls::Error);

/// Lets `http` trust what the machine trusts. A client that will never see an `https://` address trusts
/// nobody, and works on a machine without certificates.
///
/// # Errors
/// If there is nobody to trust, and `https` says that somebody must be.
pub fn trusting(http: ClientBuilder, https: bool) -> Result<ClientBuilder, NoCertificates> {
    install_crypto();
    Ok(if https { http.tls_backend_preconfigured(machines_trust()?) } else { http.tls_certs_only([]) })
}

/// What TLS needs to know of this machine. Reading all its certificates takes a good part of a second on
/// a small one, so it is done once; clones share what was read.
///
/// # Errors
/// If there is nobody to trust.
pub fn machines_trust() -> Result<ClientConfig, NoCertificates> {
    static TRUST: OnceLock<ClientConfig> = OnceLock::new();
    // A failure is not kept: the certificates may be installed while we run.
    if let Some(trust) = TRUST.get() {
        return Ok(trust.clone());
    }
    install_crypto();
    let trust = ClientConfig::builder().with_platform_verifier().map_err(NoCertificates)?;
    Ok(TRUST.get_or_init(|| trust.with_no_client_auth()).clone())
}

/// Gives TLS its cryptography (rustls with ring). Safe to call more than once; [`trusting`] does.
pub fn install_crypto() {
    // An error says that a provider is there already, which is what was wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
