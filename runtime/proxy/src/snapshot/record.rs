//! Services as the data path needs them: everything that can be worked out before the request is.

use http::HeaderValue;
use std::sync::Arc;
use std::time::Duration;
use weir_model::{Id, Service};
use weir_plugin_host::exchange::EntityFacts;

/// A service, ready to be connected to.
#[derive(Debug)]
pub struct ServiceRecord {
    /// What plugins and logs may know.
    pub facts: Arc<EntityFacts>,
    /// Whether the upstream is spoken to over TLS.
    pub tls: bool,
    /// Whether its certificate is verified; unset means the node's default.
    pub tls_verify: Option<bool>,
    /// Host name or IP address to connect to; an IPv6 address without brackets.
    pub host: Box<str>,
    /// Port to connect to.
    pub port: u16,
    /// `host:port`, the key of connection pools and the authority of an absolute target.
    pub authority: Box<str>,
    /// What the upstream gets as `Host` unless the route preserves the client's: the port is in it if it is not the default.
    pub host_header: HeaderValue,
    /// Prefix of upstream paths, normalised; `/` if the service has none.
    pub path: Box<str>,
    /// How often an exchange may be tried again, where that is safe.
    pub retries: u32,
    /// To be connected.
    pub connect_timeout: Duration,
    /// Between two successful writes.
    pub write_timeout: Duration,
    /// Between two successful reads.
    pub read_timeout: Duration,
}

/// What is wrong with a service that stands in the store.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ServiceFault {
    /// Not a protocol that this proxy speaks.
    #[error("protocol '{0}' is not supported; use http or https")]
    Protocol(String),
    /// Not a host name or an address.
    #[error("'{0}' is neither a host name nor an IP address")]
    Host(String),
    /// The path is not one.
    #[error("path '{0}': {1}")]
    Path(String, #[source] weir_model::path::PathError),
}

impl ServiceRecord {
    /// The identifier.
    pub fn id(&self) -> Id {
        self.facts.id
    }
    /// From the entity.
    pub fn new(service: &Service) -> Result<Self, ServiceFault> {
        let tls = match service.protocol.as_str() {
            "http" => false,
            "https" => true,
            other => return Err(ServiceFault::Protocol(other.to_owned())),
        };
        let wrong_host = || ServiceFault::Host(service.host.clone());
        let bare = service.host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&service.host);
        let named = if bare.contains(':') { format!("[{bare}]") } else { bare.to_owned() };
        crate::route::HostHeader::parse(named.as_bytes()).map_err(|_| wrong_host())?;
        let is_default_port = service.port == if tls { 443 } else { 80 };
        let authority = format!("{named}:{}", service.port);
        let host_header = if is_default_port { &named } else { &authority };
        let given = service.path.as_deref().unwrap_or("/");
        let path = weir_model::path::normalise(given).map_err(|error| ServiceFault::Path(given.to_owned(), error))?;
        Ok(Self {
            facts: facts(service.id, service.name.clone()),
            tls,
            tls_verify: service.tls_verify,
            host: bare.into(),
            port: service.port,
            host_header: HeaderValue::from_str(host_header).map_err(|_| wrong_host())?,
            authority: authority.into(),
            path: path.as_ref().into(),
            retries: service.retries,
            connect_timeout: Duration::from_millis(service.connect_timeout),
            write_timeout: Duration::from_millis(service.write_timeout),
            read_timeout: Duration::from_millis(service.read_timeout),
        })
    }
}

/// The part of a route or service that plugins may know.
pub(crate) fn facts(id: Id, name: Option<String>) -> Arc<EntityFacts> {
    Arc::new(EntityFacts { id, id_text: id.to_string(), name })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(protocol: &str, host: &str, port: u16, path: Option<&str>) -> Service {
        Service {
            id: Id::random(),
            name: None,
            protocol: protocol.to_owned(),
            host: host.to_owned(),
            port,
            path: path.map(str::to_owned),
            retries: 5,
            connect_timeout: 1,
            write_timeout: 2,
            read_timeout: 3,
            enabled: true,
            tls_verify: None,
        }
    }

    #[test]
    fn what_cannot_be_connected_to_is_refused() {
        let fault = |service: Service| ServiceRecord::new(&service).unwrap_err();
        assert_eq!(fault(service("grpc", "a", 80, None)), ServiceFault::Protocol("grpc".to_owned()));
        assert_eq!(fault(service("http", "a b", 80, None)), ServiceFault::Host("a b".to_owned()));
        assert_eq!(fault(service("http", "user@a", 80, None)), ServiceFault::Host("user@a".to_owned()));
        assert!(matches!(fault(service("http", "a", 80, Some("/%zz"))), ServiceFault::Path(..)));
    }

    #[test]
    fn the_host_header_names_the_port_only_where_it_is_not_the_default() {
        let header = |protocol, host, port| ServiceRecord::new(&service(protocol, host, port, None)).unwrap().host_header;
        assert_eq!(header("http", "a.example", 80), "a.example");
        assert_eq!(header("https", "a.example", 443), "a.example");
        assert_eq!(header("https", "a.example", 80), "a.example:80");
        assert_eq!(header("http", "::1", 8080), "[::1]:8080");
    }

    #[test]
    fn an_ipv6_address_is_connected_to_without_brackets_and_named_with_them() {
        for host in ["::1", "[::1]"] {
            let record = ServiceRecord::new(&service("http", host, 80, Some("/v1/"))).unwrap();
            assert_eq!((&*record.host, &*record.authority, &*record.path), ("::1", "[::1]:80", "/v1/"));
        }
    }
}
