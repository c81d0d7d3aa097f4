//! Service of the API or of a bundled server.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use crate::{resources::owner::Owner, spec::names};

/// A Service for the pods of `component`. Each of `ports` is its port number and the name of the
/// target port.
pub fn service(owner: &Owner, name: &str, component: &str, ports: &[(i32, &str)]) -> Service {
    let port = |(number, target): &(i32, &str)| ServicePort {
        name: Some((*target).to_owned()),
        port: *number,
        protocol: Some("TCP".into()),
        target_port: Some(IntOrString::String((*target).to_owned())),
        ..ServicePort::default()
    };
    Service {
        metadata: owner.meta(name, component),
        spec: Some(ServiceSpec {
            selector: Some(names::selector(&owner.platform, component)),
            ports: Some(ports.iter().map(port).collect()),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}
