//! A Kubernetes object of any kind, ready to be applied.

use kube::{
    Resource,
    api::{ApiResource, DynamicObject},
};
use serde::Serialize;

/// An object with only the fields that the operator owns, for server-side apply.
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
    /// If a type does not serialize to an object; all Kubernetes types do.
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
