//! StatefulSet of a bundled server.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec},
        core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, PodTemplateSpec, VolumeResourceRequirements},
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta},
    },
};

use crate::{resources::owner::Owner, spec::names};

/// A bundled server with one pod. `data` is the name and the size of its persistent volume, which
/// is deleted with the platform.
pub fn stateful_set(
    owner: &Owner,
    name: &str,
    component: &str,
    data: Option<(&'static str, &'static str)>,
    template: PodTemplateSpec,
) -> StatefulSet {
    let claim = |(name, size): (&str, &str)| PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(name.into()),
            labels: Some(names::labels(&owner.platform, component)),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".into()]),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), Quantity(size.into()))])),
                limits: None,
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    };
    StatefulSet {
        metadata: owner.meta(name, component),
        spec: Some(StatefulSetSpec {
            replicas: Some(1),
            revision_history_limit: Some(3),
            service_name: Some(name.to_owned()),
            selector: LabelSelector {
                match_labels: Some(names::selector(&owner.platform, component)),
                match_expressions: None,
            },
            template,
            volume_claim_templates: data.map(|data| vec![claim(data)]),
            persistent_volume_claim_retention_policy: data.map(|_| StatefulSetPersistentVolumeClaimRetentionPolicy {
                when_deleted: Some("Delete".into()),
                when_scaled: Some("Retain".into()),
            }),
            ..StatefulSetSpec::default()
        }),
        status: None,
    }
}
