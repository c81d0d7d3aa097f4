//! Orphans: objects that a spec no longer asks for. Pure.

use kube::api::ApiResource;

use crate::resources::manifest::Manifest;

/// Identity of an existing object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectId {
    pub resource: ApiResource,
    pub name: String,
    /// Precondition of its deletion, which protects a later object of the same name.
    pub uid: String,
}

/// The objects of `kinds` in `found` that are not `desired`.
///
/// Objects of a `missing` kind stay. The plan leaves them out only because the cluster does not
/// serve the kind at the moment.
pub fn orphans(
    found: &[ObjectId],
    kinds: &[ApiResource],
    missing: &[ApiResource],
    desired: &[Manifest],
) -> Vec<ObjectId> {
    found
        .iter()
        .filter(|found| !missing.contains(&found.resource))
        .filter(|found| kinds.contains(&found.resource))
        .filter(|found| {
            !desired.iter().any(|manifest| manifest.resource == found.resource && manifest.name() == found.name)
        })
        .cloned()
        .collect()
}
