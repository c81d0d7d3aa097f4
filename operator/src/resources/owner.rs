//! Owner references: the garbage collector deletes an object with its owner.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;

use crate::spec::names;

/// The owner of an object. The garbage collector deletes the object with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Owner {
    /// Namespace of the owner and its objects.
    pub namespace: String,
    /// Name of the platform that they are part of.
    pub platform: String,
    /// The reference to the owner.
    pub reference: OwnerReference,
}

impl Owner {
    /// The owner `object`, a part of `platform`. None if it is not stored in the API server.
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
