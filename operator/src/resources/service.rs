use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::Owner;
use crate::names;

/// A Service in front of the pods of `component`: `port` leads to the pods' port of the name `target`.
pub fn service(owner: &Owner, name: &str, component: &str, port: i32, target: &str) -> Service {
    Service {
        metadata: owner.meta(name, component),
        spec: Some(ServiceSpec {
            selector: Some(names::selector(&owner.platform, component)),
            ports: Some(vec![ServicePort {
                name: Some(target.to_owned()),
                port,
                protocol: Some("TCP".into()),
                target_port: Some(IntOrString::String(target.to_owned())),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}
