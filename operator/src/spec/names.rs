//! Names, labels and annotations of the objects of the operator.
//!
//! Every name is the name of the platform or pool with a fixed suffix. Names are at most 63
//! characters and unique among the objects of one kind.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

/// Field manager of all objects that the operator applies.
pub const FIELD_MANAGER: &str = "switchyard";
/// Value of `app.kubernetes.io/managed-by` on all objects of the operator.
pub const MANAGED_BY: &str = "switchyard";
/// Label with the tool that manages an object.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// Selects the objects of the operator.
pub const MANAGED_SELECTOR: &str = "app.kubernetes.io/managed-by=switchyard";
/// Label with the name of the platform.
pub const PLATFORM_LABEL: &str = "switchyard.dev/platform";
/// Label with the name of the pool.
pub const POOL_LABEL: &str = "switchyard.dev/pool";
/// Label with the kind of a pool.
pub const KIND_LABEL: &str = "switchyard.dev/kind";
/// Label with the component of an object, for example `api`.
pub const COMPONENT_LABEL: &str = "app.kubernetes.io/component";
/// Annotation of a pod template: digest of the configuration of the pod.
pub const CONFIG_DIGEST: &str = "switchyard.dev/config-digest";
/// Annotation of a pod template: digest of the Secret values that the pod mounts.
pub const SECRETS_DIGEST: &str = "switchyard.dev/secrets-digest";

/// The external metric with the desired pods of a pool.
pub const DESIRED_REPLICAS_METRIC: &str = "switchyard_desired_replicas";
/// Label of the metric with the name of the pool.
pub const DESIRED_REPLICAS_POOL_LABEL: &str = "pool";

/// Key of the metadata of a KEDA trigger: the name of the pool.
pub const SCALER_POOL_KEY: &str = "pool";

/// Labels of an object of `platform`.
pub fn labels(platform: &str, component: &str) -> BTreeMap<String, String> {
    let mut labels = selector(platform, component);
    labels.insert(MANAGED_BY_LABEL.into(), MANAGED_BY.into());
    labels
}

/// Labels that select the pods of one component of `platform`.
pub fn selector(platform: &str, component: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("app.kubernetes.io/name".to_owned(), "switchyard".to_owned()),
        (COMPONENT_LABEL.to_owned(), component.to_owned()),
        (PLATFORM_LABEL.to_owned(), platform.to_owned()),
    ])
}

/// Labels that select the pods of one pool.
pub fn pool_selector(platform: &str, pool: &str) -> BTreeMap<String, String> {
    let mut labels = selector(platform, "worker");
    labels.insert(POOL_LABEL.into(), pool.into());
    labels
}

/// The labels as a label selector in string form.
pub fn as_selector(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// A digest of `parts`, 16 hexadecimal digits. Each part is hashed with its length, so that the
/// boundaries count.
pub fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex::encode(&hash.finalize()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_distinguishes_the_boundaries_of_its_parts() {
        assert_ne!(digest([b"ab".as_slice(), b"c"]), digest([b"a".as_slice(), b"bc"]));
        assert_eq!(digest([b"ab".as_slice()]), digest([b"ab".as_slice()]));
        assert_eq!(digest([]).len(), 16);
    }
}
