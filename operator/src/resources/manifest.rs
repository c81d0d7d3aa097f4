//! An object of any kind as it is applied.

use kube::{
    Resource,
    api::{ApiResource, DynamicObject},
};
use serde::Serialize;

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
