//! TLS towards upstreams: against the system's roots, or unverified where the operator says so.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::sync::Arc;

/// The two ways, ready for use; shared by all workers.
#[derive(Clone)]
pub struct UpstreamTls {
    verified: Result<Arc<ClientConfig>, String>,
    unverified: Result<Arc<ClientConfig>, String>,
    verify: bool,
}

impl UpstreamTls {
    /// Reads the system's roots, once. A system without any can still reach upstreams that are not verified.
    pub fn new(verify: bool) -> Self {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(found.certs);
        let verified = if added == 0 {
            Err("the system has no root certificates; install them, or set tls_verify to false on the service".to_owned())
        } else {
            Self::verified(roots)
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let unverified = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())
            .map(|builder| {
                let verifier = Arc::new(Unverified(provider));
                Self::http1(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
            });
        Self { verified, unverified, verify }
    }
    /// With these roots instead of the system's.
    pub fn with_roots(roots: RootCertStore) -> Self {
        Self { verified: Self::verified(roots), ..Self::new(true) }
    }
    /// The configuration for a service; unset means the node's default.
    pub fn config(&self, verify: Option<bool>) -> Result<Arc<ClientConfig>, String> {
        if self.verifies(verify) { self.verified.clone() } else { self.unverified.clone() }
    }
    /// Whether the certificate is verified.
    pub fn verifies(&self, verify: Option<bool>) -> bool {
        verify.unwrap_or(self.verify)
    }

    fn verified(roots: RootCertStore) -> Result<Arc<ClientConfig>, String> {
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())
            .map(|builder| Self::http1(builder.with_root_certificates(roots).with_no_client_auth()))
    }
    fn http1(mut config: ClientConfig) -> Arc<ClientConfig> {
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(config)
    }
}

/// Accepts every certificate, for services with `tls_verify` false. The handshake's signatures are still checked.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
