//! What the driver's errors mean to whoever runs a node: the cause, and what to do, in one line.

use super::CassandraOptions;
use rustls::{AlertDescription, CertificateError, InvalidMessage};
use scylla::errors::{
    BrokenConnectionError, BrokenConnectionErrorKind, ConnectionError, ConnectionPoolError, ConnectionSetupRequestErrorKind,
    DbError, ExecutionError, FrameHeaderParseError, MetadataError, NewSessionError, PrepareError, RequestAttemptError,
};
use std::io;

/// Why there is no session.
pub(super) fn of_session(options: &CassandraOptions, error: &NewSessionError) -> String {
    let cause = match error {
        NewSessionError::FailedToResolveAnyHostname(_) => {
            "its name is not known; see cassandra_contact_points, and the resolver of this machine".to_owned()
        }
        NewSessionError::MetadataError(MetadataError::ConnectionPoolError(error)) => of_pool(options, error),
        error => error.to_string(),
    };
    at(options, &cause)
}

/// The same, with where Cassandra is.
pub(super) fn at(options: &CassandraOptions, cause: &str) -> String {
    format!("Cassandra at {}: {cause}", options.contact_points.join(", "))
}

fn of_pool(options: &CassandraOptions, error: &ConnectionPoolError) -> String {
    match error {
        ConnectionPoolError::Broken { last_connection_error } => of_connection(options, last_connection_error),
        error => error.to_string(),
    }
}

fn of_connection(options: &CassandraOptions, error: &ConnectionError) -> String {
    match error {
        ConnectionError::ConnectTimeout => format!(
            "no connection within {} ms (cassandra_timeout); see whether it runs, and whether a firewall is between",
            options.connect_timeout.as_millis()
        ),
        ConnectionError::IoError(error) => of_io(options, error),
        ConnectionError::BrokenConnection(error) => of_broken(options, error),
        ConnectionError::ConnectionSetupRequestError(error) => of_setup(options, &error.error),
        error => error.to_string(),
    }
}

fn of_setup(options: &CassandraOptions, error: &ConnectionSetupRequestErrorKind) -> String {
    match error {
        ConnectionSetupRequestErrorKind::DbError(DbError::AuthenticationError, said) => {
            let user = options.credentials.as_ref().map_or("", |(user, _)| user);
            format!("it refuses user `{user}` ({said}); see cassandra_username and cassandra_password_file")
        }
        ConnectionSetupRequestErrorKind::MissingAuthentication => {
            "it asks for a login; set cassandra_username and cassandra_password_file".to_owned()
        }
        ConnectionSetupRequestErrorKind::BrokenConnection(error) => of_broken(options, error),
        error => error.to_string(),
    }
}

fn of_broken(options: &CassandraOptions, error: &BrokenConnectionError) -> String {
    use BrokenConnectionErrorKind as Broken;
    let kind = error.downcast_ref();
    let socket = match kind {
        Some(Broken::FrameHeaderParseError(FrameHeaderParseError::HeaderIoError(error)) | Broken::WriteError(error)) => {
            Some(error)
        }
        _ => None,
    };
    match (kind, socket) {
        (_, Some(socket)) if tls(socket).is_some() => of_io(options, socket),
        (Some(Broken::KeepaliveTimeout(_)), _) => "it takes connections, and does not answer on them; see its log".to_owned(),
        // A node that speaks TLS answers a client that does not with an alert, or not at all.
        (_, Some(socket)) if options.tls.is_none() => {
            format!("it ended the connection ({socket}); if it speaks TLS to its clients, set cassandra_ssl = true")
        }
        (_, Some(socket)) => format!("it ended the connection ({socket}); see its log"),
        _ => error.to_string(),
    }
}

fn of_io(options: &CassandraOptions, error: &io::Error) -> String {
    match tls(error) {
        Some(error) => of_tls(error),
        None if error.kind() == io::ErrorKind::ConnectionRefused => {
            "it refuses the connection; see whether it runs, and listens to clients at this address and port".to_owned()
        }
        None if options.tls.is_some() && error.kind() == io::ErrorKind::UnexpectedEof => {
            "it ended the connection in the TLS handshake; see whether it speaks TLS on this port".to_owned()
        }
        None => error.to_string(),
    }
}

/// The error of TLS that an error of the socket carries.
fn tls(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn of_tls(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "TLS: its certificate was signed by nobody whom this node trusts; set cassandra_ssl_trusted_certificate to the \
             certificate of the authority that signed it"
                .to_owned()
        }
        rustls::Error::InvalidCertificate(
            error @ (CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }),
        ) => format!(
            "TLS: its certificate is not for its address ({error}); it must carry the IP address by which the nodes of Cassandra \
             know it as a subject alternative name"
        ),
        rustls::Error::InvalidCertificate(error) => format!("TLS: its certificate is refused: {error}"),
        rustls::Error::AlertReceived(
            alert @ (AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown
            | AlertDescription::HandshakeFailure),
        ) => format!(
            "TLS: it refuses what this node shows of itself ({alert:?}); set cassandra_ssl_certificate and \
             cassandra_ssl_certificate_key to a certificate that it trusts"
        ),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "TLS: it does not speak TLS on this port; see client_encryption_options in its cassandra.yaml, or leave cassandra_ssl out"
                .to_owned()
        }
        error => format!("TLS: {error}"),
    }
}

/// Why a statement was not carried out, or nobody knows whether it was.
pub(super) fn of_statement(options: &CassandraOptions, error: &ExecutionError) -> String {
    match error {
        ExecutionError::RequestTimeout(limit) => format!("no answer within {} ms", limit.as_millis()),
        ExecutionError::ConnectionPoolError(error) | ExecutionError::PrepareError(PrepareError::ConnectionPoolError(error)) => {
            of_pool(options, error)
        }
        ExecutionError::LastAttemptError(error) => of_attempt(options, error),
        error => error.to_string(),
    }
}

/// Why a statement could not be made ready.
pub(super) fn of_preparing(options: &CassandraOptions, error: &PrepareError) -> String {
    match error {
        PrepareError::ConnectionPoolError(error) => of_pool(options, error),
        PrepareError::AllAttemptsFailed { first_attempt } => of_attempt(options, first_attempt),
        error => error.to_string(),
    }
}

fn of_attempt(options: &CassandraOptions, error: &RequestAttemptError) -> String {
    match error {
        RequestAttemptError::DbError(DbError::Unavailable { required, alive, .. }, _) => format!(
            "{alive} of the nodes that hold the keyspace are up, and it takes {required}; start the others, or see cassandra_repl_factor"
        ),
        RequestAttemptError::DbError(DbError::Unauthorized, said) => {
            format!("user {} may not do this: {said}", options.credentials.as_ref().map_or("(none)", |(user, _)| user))
        }
        RequestAttemptError::DbError(DbError::ReadTimeout { .. } | DbError::WriteTimeout { .. }, said) => {
            format!("its nodes have not answered each other in time ({said})")
        }
        RequestAttemptError::BrokenConnectionError(error) => of_broken(options, error),
        error => error.to_string(),
    }
}
