//! What the node's TLS addresses show: the operator's certificate, or one that the node makes for itself.
//!
//! Reads and writes PEM files; knows nothing of connections.

use crate::settings::CertificateFiles;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or is not what it should be.
    #[error("{path}: {reason}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The certificate could not be made.
    #[error("a self-signed certificate cannot be made: {0}")]
    Generate(#[from] rcgen::Error),
    /// Certificate and key do not go together, or cannot be used.
    #[error("{path}: the certificate cannot be used: {cause}", path = path.display())]
    Unusable {
        /// The certificate's file.
        path: PathBuf,
        /// What rustls said.
        cause: rustls::Error,
    },
}

/// The pair that the operator gave, or `<folder>/<name>.crt` and `.key`, made now if they are not there.
pub fn material(given: Option<&CertificateFiles>, folder: &Path, name: &str) -> Result<CertificateFiles, TlsError> {
    if let Some(files) = given {
        return Ok(files.clone());
    }
    let files = CertificateFiles { certificate: folder.join(format!("{name}.crt")), key: folder.join(format!("{name}.key")) };
    if files.certificate.exists() && files.key.exists() {
        return Ok(files);
    }
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()])?;
    // The key first: a crash in between leaves no certificate, and both are made anew.
    write_private(&files.key, &made.signing_key.serialize_pem())?;
    write_private(&files.certificate, &made.cert.pem())?;
    tracing::warn!(
        certificate = %files.certificate.display(),
        "made a self-signed certificate: clients cannot know that it is this node's; set ssl_cert and ssl_cert_key"
    );
    Ok(files)
}

/// 0600 from the first moment: there is no instant in which another user could open it.
fn write_private(path: &Path, text: &str) -> Result<(), TlsError> {
    let open = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    open.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .map_err(|error| TlsError::File { path: path.to_path_buf(), reason: error.to_string() })
}

/// The configuration of a listener that shows this certificate and speaks HTTP/1.1.
pub fn server_config(files: &CertificateFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let fault = |path: &Path, reason: String| TlsError::File { path: path.to_path_buf(), reason };
    let read = |error: rustls::pki_types::pem::Error| error.to_string();
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| fault(&files.certificate, read(error)))?;
    if chain.is_empty() {
        return Err(fault(&files.certificate, "holds no certificate in PEM".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| fault(&files.key, read(error)))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let unusable = |cause| TlsError::Unusable { path: files.certificate.clone(), cause };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_certificate_is_made_once_and_only_its_owner_reads_the_key() {
        let folder = std::env::temp_dir().join(format!("weir-tls-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let first = material(None, &folder, "proxy").unwrap();
        let text = std::fs::read(&first.certificate).unwrap();
        server_config(&first).unwrap();
        assert_eq!(std::fs::metadata(&first.key).unwrap().permissions().mode() & 0o777, 0o600);
        let second = material(None, &folder, "proxy").unwrap();
        assert_eq!(std::fs::read(second.certificate).unwrap(), text);
        std::fs::write(&first.certificate, "nothing").unwrap();
        assert!(server_config(&first).unwrap_err().to_string().contains("no certificate"));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
