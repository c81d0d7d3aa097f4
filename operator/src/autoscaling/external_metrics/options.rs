//! Options of the external metrics API.

/// API group.
pub const GROUP: &str = "external.metrics.k8s.io";

/// API version.
pub const VERSION: &str = "v1beta1";

/// Address and identity of the server.
#[derive(Debug, Clone)]
pub struct Options {
    /// Address to listen on.
    pub address: String,
    /// Namespace of the operator, and of the Secret with the certificate.
    pub namespace: String,
    /// Name of the Service of this server, and of the Secret.
    pub service: String,
}
