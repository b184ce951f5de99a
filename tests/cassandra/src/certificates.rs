//! Key stores of nodes and the authority that signed them, made by Java's `keytool`.

use crate::config::{CLIENT_AUTHORITY_STORE, STORE_PASSWORD};
use crate::error::HarnessError;
use crate::installation::Installation;
use crate::process::run;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The authority's certificate, below the cluster's folder.
pub(crate) const CA_FILE: &str = "ca.pem";

/// `ca.pem` in `root`, and in the folder of each node `server.p12` for its address, and whom it trusts among clients.
pub(crate) fn make(
    installation: &Installation,
    root: &Path,
    nodes: &[(PathBuf, Ipv4Addr)],
    clients: Option<&Path>,
) -> Result<(), HarnessError> {
    let keytool = |store: &Path, words: &[&str]| {
        let mut command = Command::new(installation.keytool());
        command.args(words).arg("-keystore").arg(store).args(["-storetype", "PKCS12", "-storepass", STORE_PASSWORD]);
        crate::config::without_java_settings(&mut command);
        run(&mut command)
    };
    let authority = root.join("ca.p12");
    let ca = root.join(CA_FILE);
    let ca_text = ca.to_string_lossy();
    let key = ["-keyalg", "EC", "-groupname", "secp256r1", "-validity", "30"];
    let own =
        ["-genkeypair", "-alias", "ca", "-dname", "CN=weir tests authority", "-ext", "bc:c=ca:true", "-ext", "ku:c=keyCertSign"];
    keytool(&authority, &[&own[..], &key].concat())?;
    keytool(&authority, &["-exportcert", "-alias", "ca", "-rfc", "-file", &ca_text])?;
    for (folder, address) in nodes {
        let store = folder.join("server.p12");
        let (request, signed) = (folder.join("server.csr"), folder.join("server.pem"));
        let (request, signed) = (request.to_string_lossy(), signed.to_string_lossy());
        let name = format!("san=ip:{address}");
        keytool(&store, &[&["-genkeypair", "-alias", "server", "-dname", "CN=weir tests node"], &key[..]].concat())?;
        keytool(&store, &["-certreq", "-alias", "server", "-file", &request])?;
        let sign = ["-gencert", "-alias", "ca", "-rfc", "-validity", "30", "-ext", &name, "-ext", "eku=serverAuth"];
        keytool(&authority, &[&sign[..], &["-infile", &request, "-outfile", &signed]].concat())?;
        // The authority first: a signed certificate is taken only if its chain is known.
        keytool(&store, &["-importcert", "-noprompt", "-alias", "ca", "-file", &ca_text])?;
        keytool(&store, &["-importcert", "-noprompt", "-alias", "server", "-file", &signed])?;
        if let Some(clients) = clients {
            let trusted = folder.join(CLIENT_AUTHORITY_STORE);
            keytool(&trusted, &["-importcert", "-noprompt", "-alias", "clients", "-file", &clients.to_string_lossy()])?;
        }
    }
    Ok(())
}
