//! Whom the API server's word is taken from: the certificates that it presents when it hands requests on, as a ConfigMap of the cluster says.

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

/// Whoever has one of these certificates speaks for others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// The roots, in PEM.
    roots: String,
    /// Common names that the certificate may have; any when empty.
    names: Vec<String>,
}

impl Trust {
    /// Reads it.
    ///
    /// # Errors
    /// When the ConfigMap cannot be read, or the cluster has no aggregation layer.
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

    /// What checks a certificate in the handshake.
    ///
    /// # Errors
    /// When the roots are none.
    pub fn verifier(&self) -> anyhow::Result<Arc<dyn ClientCertVerifier>> {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(self.roots.as_bytes()) {
            roots.add(root?)?;
        }
        Ok(WebPkiClientVerifier::builder(Arc::new(roots)).build()?)
    }

    /// Whether a certificate that the verifier has let through may speak for others.
    pub fn vouches(&self, certificate: &CertificateDer<'_>) -> bool {
        let Ok((_, certificate)) = x509_parser::parse_x509_certificate(certificate) else { return false };
        let mut names = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
        self.names.is_empty() || names.any(|name| self.names.iter().any(|allowed| allowed == name))
    }
}
