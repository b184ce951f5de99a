//! Takes the node's addresses and hands them to the rooms that serve on them.

use super::facts::Facts;
use super::{NodeError, status};
use crate::prefix::{Address, Listeners, Prefix};
use crate::settings::listen::Listen;
use crate::settings::{CertificateFiles, Secret, Settings};
use crate::tls;
use rustls::ServerConfig;
use std::net::TcpListener;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use weir_admin::{AdminContext, NodeFacts, Token};
use weir_model::PluginCatalog;
use weir_plugin_host::Host;
use weir_proxy::{ListenerSpec, Proxy};
use weir_store::Store;

/// Addresses that were taken, not served yet.
pub struct Bound {
    /// For the proxy, which opens its own sockets, one for each worker.
    pub proxy: Vec<ListenerSpec>,
    /// For the Admin API.
    pub admin: Vec<(TcpListener, Option<Arc<ServerConfig>>)>,
    /// For the status address.
    pub status: Vec<TcpListener>,
    /// What was taken, but for the proxy's.
    pub announced: Listeners,
}

impl Bound {
    /// Takes all addresses, or none: the first that is not to be had ends the start.
    pub fn all(settings: &Settings, prefix: &Prefix) -> Result<Self, NodeError> {
        let proxy_tls = config(&settings.proxy_listen, settings.ssl.as_ref(), prefix, "proxy")?;
        let admin_tls = config(&settings.admin_listen, settings.admin_ssl.as_ref(), prefix, "admin")?;
        settings.proxy_listen.iter().try_for_each(is_free)?;
        let proxy = settings.proxy_listen.iter();
        let proxy =
            proxy.map(|listen| ListenerSpec { address: listen.address, tls: proxy_tls.clone().filter(|_| listen.tls) }).collect();
        let (mut admin, mut status) = (Vec::new(), Vec::new());
        let mut announced = Listeners::default();
        for listen in &settings.admin_listen {
            let listener = bind("admin_listen", listen, &mut announced.admin)?;
            admin.push((listener, admin_tls.clone().filter(|_| listen.tls)));
        }
        for listen in &settings.status_listen {
            status.push(bind("status_listen", listen, &mut announced.status)?);
        }
        Ok(Self { proxy, admin, status, announced })
    }
}

/// The workers' sockets share their port (`SO_REUSEPORT`), and would share it with another node's just as well: each would get
/// some of the other's clients. A socket that shares with nobody finds out.
fn is_free(listen: &Listen) -> Result<(), NodeError> {
    let probe = TcpListener::bind(listen.address);
    probe.map(drop).map_err(|cause| NodeError::Listen { setting: "proxy_listen", address: listen.address, cause })
}

fn bind(setting: &'static str, listen: &Listen, announced: &mut Vec<Address>) -> Result<TcpListener, NodeError> {
    let fail = |cause| NodeError::Listen { setting, address: listen.address, cause };
    let listener = TcpListener::bind(listen.address).map_err(fail)?;
    // Tokio takes over none that would block.
    listener.set_nonblocking(true).map_err(fail)?;
    announced.push(Address { address: listener.local_addr().map_err(fail)?, tls: listen.tls });
    Ok(listener)
}

/// What the control addresses need of the rooms.
pub struct Rooms<'a> {
    pub settings: &'a Settings,
    pub facts: &'a Arc<Facts>,
    pub store: &'a Arc<dyn Store>,
    pub host: &'a Arc<Host>,
    /// True ends them.
    pub ending: &'a watch::Sender<bool>,
}

impl Rooms<'_> {
    /// Serves the Admin API and the status address until they are told to end.
    pub fn serve(
        &self,
        runtime: &tokio::runtime::Runtime,
        admin: Vec<(TcpListener, Option<Arc<ServerConfig>>)>,
        status: Vec<TcpListener>,
    ) -> std::io::Result<Vec<JoinHandle<()>>> {
        // Sockets are registered with the runtime that they are made in.
        let _guard = runtime.enter();
        let token = self.settings.admin_token.as_ref().and_then(|Secret(token)| Token::new(token.as_str()));
        // Cast here: the Admin API knows traits, and not who implements them.
        let catalog: Arc<dyn PluginCatalog> = Arc::<Host>::clone(self.host);
        let node: Arc<dyn NodeFacts> = Arc::<Facts>::clone(self.facts);
        let context = AdminContext::new(Arc::clone(self.store), catalog, node, token);
        let router = weir_admin::router(Arc::new(context.with_serving_wait(self.settings.db_update_propagation)));
        let mut tasks = Vec::new();
        for (listener, tls) in admin {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            tasks.push(runtime.spawn(weir_admin::serve(listener, tls, router.clone(), ended(self.ending.subscribe()))));
        }
        for listener in status {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            tasks.push(runtime.spawn(status::serve(listener, Arc::clone(self.facts), self.ending.subscribe())));
        }
        Ok(tasks)
    }
}

/// The proxy's addresses, in the order of its listeners, with the ports that it was given.
pub fn proxy_addresses(proxy: &Proxy, settings: &Settings) -> Vec<Address> {
    let taken = proxy.local_addrs().iter().zip(&settings.proxy_listen);
    taken.map(|(address, listen)| Address { address: *address, tls: listen.tls }).collect()
}

async fn ended(mut ending: watch::Receiver<bool>) {
    // An error means that the node is gone, which is an end as well.
    drop(ending.wait_for(|ending| *ending).await);
}

/// The TLS of a room, if one of its addresses speaks it: no certificate is made for nobody.
fn config(
    listens: &[Listen],
    given: Option<&CertificateFiles>,
    prefix: &Prefix,
    name: &str,
) -> Result<Option<Arc<ServerConfig>>, NodeError> {
    if !listens.iter().any(|listen| listen.tls) {
        return Ok(None);
    }
    let files = tls::material(given, &prefix.ssl(), name)?;
    Ok(Some(tls::server_config(&files)?))
}
