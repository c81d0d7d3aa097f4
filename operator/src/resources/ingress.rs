//! Ingress of the API.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::networking::v1::{
        HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule, IngressServiceBackend,
        IngressSpec, IngressTLS, ServiceBackendPort,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

/// Paths of the API that are exposed, and whether each is a prefix. The admin API is not exposed.
pub const PATHS: [(&str, bool); 2] = [("/v1", true), ("/openapi.json", false)];

/// Routes `host` to the port named `port` of the Service `service`. `tls` is the name of the Secret
/// with the certificate.
pub fn ingress(
    mut metadata: ObjectMeta,
    annotations: Option<BTreeMap<String, String>>,
    class: Option<String>,
    host: &str,
    tls: Option<String>,
    (service, port): (&str, &str),
) -> Ingress {
    let path = |(path, prefix): (&str, bool)| HTTPIngressPath {
        path: Some(path.to_owned()),
        path_type: if prefix { "Prefix" } else { "Exact" }.to_owned(),
        backend: IngressBackend {
            service: Some(IngressServiceBackend {
                name: service.to_owned(),
                port: Some(ServiceBackendPort { name: Some(port.to_owned()), number: None }),
            }),
            resource: None,
        },
    };
    metadata.annotations = annotations.filter(|annotations| !annotations.is_empty());
    Ingress {
        metadata,
        spec: Some(IngressSpec {
            ingress_class_name: class,
            rules: Some(vec![IngressRule {
                host: Some(host.to_owned()),
                http: Some(HTTPIngressRuleValue { paths: PATHS.map(path).to_vec() }),
            }]),
            tls: tls.map(|secret| vec![IngressTLS { hosts: Some(vec![host.to_owned()]), secret_name: Some(secret) }]),
            default_backend: None,
        }),
        status: None,
    }
}
