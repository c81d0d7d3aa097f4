//! Names, labels and annotations of what the operator makes. Every name is the platform's or the pool's with a fixed ending, so that it is at
//! most 63 characters and two objects of one kind never share one.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

/// Field manager of everything that the operator applies.
pub const FIELD_MANAGER: &str = "switchyard";
/// Value of `app.kubernetes.io/managed-by` on everything that the operator makes.
pub const MANAGED_BY: &str = "switchyard";
/// Label with what made an object.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// Selects what the operator made.
pub const MANAGED_SELECTOR: &str = "app.kubernetes.io/managed-by=switchyard";
/// Label with the platform's name.
pub const PLATFORM_LABEL: &str = "switchyard.dev/platform";
/// Label with the pool's name.
pub const POOL_LABEL: &str = "switchyard.dev/pool";
/// Label with what a pool does.
pub const KIND_LABEL: &str = "switchyard.dev/kind";
/// Label with what an object is a part of, for instance `api`.
pub const COMPONENT_LABEL: &str = "app.kubernetes.io/component";
/// Annotation of a pod template: digest of the configuration that the pod reads.
pub const CONFIG_DIGEST: &str = "switchyard.dev/config-digest";
/// Annotation of a pod template: digest of the values of the Secrets' keys that the pod mounts.
pub const SECRETS_DIGEST: &str = "switchyard.dev/secrets-digest";

/// The external metric of the pods that a pool should have.
pub const DESIRED_REPLICAS_METRIC: &str = "switchyard_desired_replicas";
/// Label of its series with the pool's name.
pub const DESIRED_REPLICAS_POOL_LABEL: &str = "pool";

/// Key of a KEDA trigger's metadata: the pool's name.
pub const SCALER_POOL_KEY: &str = "pool";

/// Labels of an object of `platform`.
pub fn labels(platform: &str, component: &str) -> BTreeMap<String, String> {
    let mut labels = selector(platform, component);
    labels.insert(MANAGED_BY_LABEL.into(), MANAGED_BY.into());
    labels
}

/// Labels that pick the pods of one component of `platform`.
pub fn selector(platform: &str, component: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("app.kubernetes.io/name".to_owned(), "switchyard".to_owned()),
        (COMPONENT_LABEL.to_owned(), component.to_owned()),
        (PLATFORM_LABEL.to_owned(), platform.to_owned()),
    ])
}

/// Labels that pick the pods of one pool.
pub fn pool_selector(platform: &str, pool: &str) -> BTreeMap<String, String> {
    let mut labels = selector(platform, "worker");
    labels.insert(POOL_LABEL.into(), pool.into());
    labels
}

/// Labels as text, as a label selector is written.
pub fn as_selector(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// A short digest of `parts`, each told apart from the next; 16 hexadecimal digits.
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
    fn a_digest_tells_parts_apart() {
        assert_ne!(digest([b"ab".as_slice(), b"c"]), digest([b"a".as_slice(), b"bc"]));
        assert_eq!(digest([b"ab".as_slice()]), digest([b"ab".as_slice()]));
        assert_eq!(digest([]).len(), 16);
    }
}
