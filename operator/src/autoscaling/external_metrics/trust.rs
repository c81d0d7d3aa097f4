//! Client certificates of the API server, from the ConfigMap `extension-apiserver-authentication`.
//!
//! See "Configure the Aggregation Layer" in the Kubernetes documentation.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use tokio_rustls::rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};

const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";

/// The client certificates that may name another user in the request headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// Root certificates, in PEM.
    roots: String,
    /// Allowed common names of the certificate. Any if empty.
    names: Vec<String>,
}

impl Trust {
    /// Reads the ConfigMap.
    ///
    /// # Errors
    /// If the ConfigMap cannot be read, or the cluster has no aggregation layer.
    pub async fn read(client: &Client) -> anyhow::Result<Self> {
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
        let data = maps.get(NAME).await?.data.unwrap_or_default();
        let Some(roots) = data.get("requestheader-client-ca-file").cloned() else {
            anyhow::bail!(
                "ConfigMap {NAMESPACE}/{NAME} has no requestheader-client-ca-file: the API server runs without an aggregation layer"
            );
        };
        let names = data
            .get("requestheader-allowed-names")
            .map_or_else(Vec::new, |names| serde_json::from_str(names).unwrap_or_default());
        Ok(Self { roots, names })
    }

    /// Verifies the certificate of a client during the handshake.
    ///
    /// # Errors
    /// If the root certificates are invalid.
    pub fn verifier(&self) -> anyhow::Result<Arc<dyn ClientCertVerifier>> {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(self.roots.as_bytes()) {
            roots.add(root?)?;
        }
        Ok(WebPkiClientVerifier::builder(Arc::new(roots)).build()?)
    }

    /// Whether a verified certificate has an allowed common name.
    pub fn is_trusted(&self, certificate: &CertificateDer<'_>) -> bool {
        let Ok((_, certificate)) = x509_parser::parse_x509_certificate(certificate) else { return false };
        let mut names = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
        self.names.is_empty() || names.any(|name| self.names.iter().any(|allowed| allowed == name))
    }
}
