//! The requests to reconcile that a change of an object causes. Pure.

use crate::kubernetes::cache::entry::CachedObject;

/// apiVersions of the custom resources begin with it.
const GROUP: &str = "switchyard.dev/";

/// A custom resource to reconcile.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReconcileRequest {
    Platform { namespace: String, name: String },
    Pool { namespace: String, name: String },
}

impl ReconcileRequest {
    /// Reconciles a platform.
    pub fn platform(namespace: &str, name: &str) -> Self {
        Self::Platform { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// Reconciles a pool.
    pub fn pool(namespace: &str, name: &str) -> Self {
        Self::Pool { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// Reconciles the owners of an object in `namespace`.
    pub fn owners<'a>(namespace: &'a str, object: &'a CachedObject) -> impl Iterator<Item = Self> + 'a {
        let owners = object.meta.owner_references.iter().flatten();
        owners.filter(|owner| owner.api_version.starts_with(GROUP)).filter_map(|owner| match owner.kind.as_str() {
            "AnalyticsPlatform" => Some(Self::platform(namespace, &owner.name)),
            "WorkerPool" => Some(Self::pool(namespace, &owner.name)),
            _ => None,
        })
    }
}
