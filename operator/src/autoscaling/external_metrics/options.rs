//! Where the external-metrics API is served, and as whom.

/// API group and version.
pub const GROUP: &str = "external.metrics.k8s.io";

pub const VERSION: &str = "v1beta1";

/// Where to serve, and as whom.
#[derive(Debug, Clone)]
pub struct Options {
    /// Address to listen on.
    pub address: String,
    /// Namespace of the Secret with the certificate, which is the operator's own.
    pub namespace: String,
    /// Name of the Service that leads here, and of the Secret.
    pub service: String,
}
