//! TLS towards Cassandra: whom this node trusts, and what it shows. Reads PEM files; knows nothing of sessions.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How Cassandra is spoken to through TLS. The files are read anew for each session, so that renewed ones are taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CassandraTls {
    /// Whether a node of Cassandra must show that it is one.
    pub verify: bool,
    /// Certificates of the authorities that are trusted; unset: the system's.
    pub trusted: Option<PathBuf>,
    /// What this node shows of itself.
    pub client: Option<ClientFiles>,
}

/// A certificate chain and its key, as PEM files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientFiles {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Which of the files a fault is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TlsFile {
    /// The authorities that are trusted.
    Trusted,
    /// This node's certificate.
    Certificate,
    /// Its key.
    Key,
}

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}", path = path.display())]
pub struct TlsFileError {
    /// Which.
    pub file: TlsFile,
    /// Where it is.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

impl CassandraTls {
    /// What a connection is made with. Always of `ring`, whatever else is compiled in.
    pub fn config(&self) -> Result<Arc<ClientConfig>, TlsFileError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let trusted = self.trusted.as_deref().unwrap_or(Path::new("the system's root certificates"));
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| fault(TlsFile::Trusted, trusted, error.to_string()))?;
        let builder = match self.verify {
            true => builder.with_root_certificates(self.roots(trusted)?),
            false => builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider))),
        };
        let Some(files) = &self.client else { return Ok(Arc::new(builder.with_no_client_auth())) };
        let chain = certificates(TlsFile::Certificate, &files.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&files.key)
            .map_err(|error| fault(TlsFile::Key, &files.key, pem_reason(&error, "no private key")))?;
        let config = builder.with_client_auth_cert(chain, key).map_err(|error| {
            let reason = match error {
                rustls::Error::InconsistentKeys(_) => {
                    format!("is not the key of the certificate in {}", files.certificate.display())
                }
                error => format!("cannot be used with the certificate in {}: {error}", files.certificate.display()),
            };
            fault(TlsFile::Key, &files.key, reason)
        })?;
        Ok(Arc::new(config))
    }

    fn roots(&self, place: &Path) -> Result<RootCertStore, TlsFileError> {
        let mut roots = RootCertStore::empty();
        match &self.trusted {
            Some(path) => {
                for certificate in certificates(TlsFile::Trusted, path)? {
                    roots.add(certificate).map_err(|error| fault(TlsFile::Trusted, path, error.to_string()))?;
                }
            }
            None => {
                let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if added == 0 {
                    return Err(fault(TlsFile::Trusted, place, "there are none".to_owned()));
                }
            }
        }
        Ok(roots)
    }
}

fn fault(file: TlsFile, path: &Path, reason: String) -> TlsFileError {
    TlsFileError { file, path: path.to_path_buf(), reason }
}

fn certificates(file: TlsFile, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = read.map_err(|error| fault(file, path, pem_reason(&error, "no certificate")))?;
    match chain.is_empty() {
        true => Err(fault(file, path, "holds no certificate in PEM".to_owned())),
        false => Ok(chain),
    }
}

fn pem_reason(error: &pem::Error, nothing: &str) -> String {
    match error {
        pem::Error::Io(error) => format!("cannot be read: {error}"),
        pem::Error::NoItemsFound => format!("holds {nothing} in PEM"),
        error => format!("is not PEM: {error}"),
    }
}

/// Accepts every certificate, for `cassandra_ssl_verify = false`. The handshake's signatures are still checked.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(tls: &CassandraTls) -> (TlsFile, String) {
        let error = tls.config().unwrap_err();
        (error.file, error.to_string())
    }

    #[test]
    fn each_bad_file_is_named_with_what_is_wrong_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let made = |name: &str| {
            let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
            let (certificate, key) = (folder.path().join(format!("{name}.crt")), folder.path().join(format!("{name}.key")));
            std::fs::write(&certificate, cert.pem()).unwrap();
            std::fs::write(&key, signing_key.serialize_pem()).unwrap();
            ClientFiles { certificate, key }
        };
        let (one, other) = (made("one"), made("other"));
        let no_pem = folder.path().join("no.pem");
        std::fs::write(&no_pem, "nothing").unwrap();
        let broken = folder.path().join("broken.pem");
        std::fs::write(&broken, "-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n").unwrap();
        let missing = folder.path().join("missing.pem");
        let good = CassandraTls { verify: true, trusted: Some(one.certificate.clone()), client: Some(one.clone()) };
        good.config().unwrap();
        for (path, said) in [(&missing, "cannot be read"), (&no_pem, "no certificate in PEM"), (&broken, "is not PEM")] {
            let (file, text) = refused(&CassandraTls { trusted: Some(path.clone()), ..good.clone() });
            assert!(file == TlsFile::Trusted && text.contains(said) && text.contains(path.to_str().unwrap()), "{text}");
            let client = Some(ClientFiles { certificate: path.clone(), ..one.clone() });
            let (file, text) = refused(&CassandraTls { client, ..good.clone() });
            assert!(file == TlsFile::Certificate && text.contains(said), "{text}");
        }
        for (key, said) in [(missing, "cannot be read"), (no_pem, "no private key in PEM"), (other.key, "is not the key of")] {
            let client = Some(ClientFiles { key, ..one.clone() });
            let (file, text) = refused(&CassandraTls { client, ..good.clone() });
            assert!(file == TlsFile::Key && text.contains(said), "{text}");
        }
    }
}
