//! Objects that a spec no longer asks for. Pure.

use kube::api::ApiResource;

use crate::resources::manifest::Manifest;

/// An object that there is, of the owner that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectId {
    pub resource: ApiResource,
    pub name: String,
    /// It is deleted under this identity alone, so that what somebody else puts in its place meanwhile stays.
    pub uid: String,
}

/// Of what was `found`, everything of these kinds that is not `desired`. What belongs to a `missing` kind stays: it is not asked for only because nobody
/// knows the kind at the moment.
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
        .filter(|found| !desired.iter().any(|w| w.resource == found.resource && w.name() == found.name))
        .cloned()
        .collect()
}
