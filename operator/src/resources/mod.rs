//! Pure builders of Kubernetes objects, one file a kind. No client in sight.

pub mod config_map;
pub mod deployment;
pub mod horizontal_pod_autoscaler;
pub mod http_route;
pub mod ingress;
pub mod job;
pub mod limit_range;
pub mod merge;
pub mod network_policy;
pub mod pod;
pub mod pod_disruption_budget;
pub mod pod_monitor;
pub mod prometheus_rule;
pub mod resource_quota;
pub mod scaled_object;
pub mod secret;
pub mod service;
pub mod stateful_set;
pub mod worker_pool;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{
    Resource,
    api::{ApiResource, DynamicObject},
};
use serde::Serialize;

use crate::names;

/// Who an object belongs to: the garbage collector removes it with its owner.
#[derive(Debug, Clone, PartialEq)]
pub struct Owner {
    /// Namespace of owner and objects.
    pub namespace: String,
    /// The platform that all of it is a part of.
    pub platform: String,
    /// The owner itself.
    pub reference: OwnerReference,
}

impl Owner {
    /// The owner `object`, a part of `platform`. None when it was never stored.
    pub fn of<K: Resource<DynamicType = ()>>(object: &K, platform: &str) -> Option<Self> {
        Some(Self {
            namespace: object.meta().namespace.clone()?,
            platform: platform.to_owned(),
            reference: object.controller_owner_ref(&())?,
        })
    }

    /// Whether `object` belongs to this owner.
    pub fn owns<K: Resource>(&self, object: &K) -> bool {
        self.is_of(object.meta())
    }

    /// Whether an object with this metadata belongs to this owner.
    pub fn is_of(&self, meta: &ObjectMeta) -> bool {
        meta.owner_references.iter().flatten().any(|reference| reference.uid == self.reference.uid)
    }

    /// Metadata of an object of this owner.
    pub fn meta(&self, name: impl Into<String>, component: &str) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.into()),
            namespace: Some(self.namespace.clone()),
            labels: Some(names::labels(&self.platform, component)),
            owner_references: Some(vec![self.reference.clone()]),
            ..ObjectMeta::default()
        }
    }
}

/// An object as it is applied: only the fields that the operator decides on.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Manifest {
    /// Its kind.
    #[serde(skip)]
    pub resource: ApiResource,
    /// The object.
    pub object: DynamicObject,
}

impl Manifest {
    /// The manifest of a typed object.
    ///
    /// # Panics
    /// When a Kubernetes type does not serialize to an object, which none does.
    pub fn of<K: Resource<DynamicType = ()> + Serialize>(object: &K) -> Self {
        let value = serde_json::to_value(object).expect("a Kubernetes object is JSON");
        Self {
            resource: ApiResource::erase::<K>(&()),
            object: serde_json::from_value(value).expect("a Kubernetes object has metadata"),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.object.metadata.name.as_deref().unwrap_or_default()
    }

    /// `Kind/name`, for messages.
    pub fn title(&self) -> String {
        format!("{}/{}", self.resource.kind, self.name())
    }
}
