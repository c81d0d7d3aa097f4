//! The custom resources that depend on an object, and so need a reconcile after its change. Pure.

use std::collections::BTreeSet;

use crate::{
    crd::SetupStatus,
    kubernetes::cache::{
        entry::{CachedObject, Key, ObservedState},
        index::{ChangeSource, ObjectIndex},
        reconcile_request::ReconcileRequest,
    },
    spec::names::PLATFORM_LABEL,
};

impl ObjectIndex {
    /// Requests for every platform and pool.
    pub fn all_requests(&self) -> BTreeSet<ReconcileRequest> {
        self.entries
            .iter()
            .filter_map(|(key, entry)| match entry.object.state {
                ObservedState::Platform(_) => Some(ReconcileRequest::platform(&key.namespace, &key.name)),
                ObservedState::Pool { .. } => Some(ReconcileRequest::pool(&key.namespace, &key.name)),
                _ => None,
            })
            .collect()
    }

    /// Requests for the pools of a platform.
    pub fn pools_of(&self, namespace: &str, platform: &str) -> Vec<ReconcileRequest> {
        self.of_kind("WorkerPool", namespace)
            .filter(
                |(_, object, _)| matches!(&object.state, ObservedState::Pool { platform: own, .. } if own == platform),
            )
            .map(|(name, _, _)| ReconcileRequest::pool(namespace, name))
            .collect()
    }

    /// Requests for a custom resource and for those that depend on it.
    pub fn dependents(&self, key: &Key, object: &CachedObject) -> BTreeSet<ReconcileRequest> {
        match &object.state {
            ObservedState::Platform(_) => {
                let pools = self.pools_of(&key.namespace, &key.name);
                pools.into_iter().chain([ReconcileRequest::platform(&key.namespace, &key.name)]).collect()
            }
            ObservedState::Pool { platform, .. } => {
                let pool = ReconcileRequest::pool(&key.namespace, &key.name);
                BTreeSet::from([pool, ReconcileRequest::platform(&key.namespace, platform)])
            }
            _ => BTreeSet::new(),
        }
    }

    /// Requests that the change of an object from `before` to `after` causes.
    pub(super) fn requests_for(
        &self,
        key: &Key,
        before: Option<&CachedObject>,
        after: Option<&CachedObject>,
        source: ChangeSource,
    ) -> BTreeSet<ReconcileRequest> {
        let Some(any) = after.or(before) else { return BTreeSet::new() };
        let spec_is_same =
            matches!((before, after), (Some(before), Some(after)) if after.differs_in_state_only(before));
        let state_changed = before.map(|object| &object.state) != after.map(|object| &object.state);
        let mut requests = BTreeSet::new();
        match &any.state {
            ObservedState::Platform(_) => {
                if !spec_is_same {
                    return self.dependents(key, any);
                }
                if state_changed && source == ChangeSource::Watch {
                    requests.insert(ReconcileRequest::platform(&key.namespace, &key.name));
                }
                if setup(before) != setup(after) {
                    requests.extend(self.pools_of(&key.namespace, &key.name));
                }
            }
            ObservedState::Pool { .. } => {
                if !spec_is_same {
                    return self.dependents(key, any);
                }
                if state_changed && source == ChangeSource::Watch {
                    requests.insert(ReconcileRequest::pool(&key.namespace, &key.name));
                }
            }
            _ => {
                // An own write needs no reconcile, unless its result shows a state that the cache
                // had not seen.
                let is_relevant = if source == ChangeSource::OwnWrite {
                    before.is_some() && state_changed
                } else {
                    state_changed || !spec_is_same
                };
                if is_relevant {
                    requests.extend(
                        [before, after]
                            .into_iter()
                            .flatten()
                            .flat_map(|object| ReconcileRequest::owners(&key.namespace, object)),
                    );
                }
                if service(before) != service(after) {
                    requests
                        .extend(any.label(PLATFORM_LABEL).map(|name| ReconcileRequest::platform(&key.namespace, name)));
                }
            }
        }
        requests
    }
}

/// The part of the status of a platform that its pools depend on.
fn setup(object: Option<&CachedObject>) -> Option<&SetupStatus> {
    match &object?.state {
        ObservedState::Platform(Some(status)) => status.setup.as_ref(),
        _ => None,
    }
}

/// The part of a Deployment that the status of its platform reports.
fn service(object: Option<&CachedObject>) -> (bool, Option<&str>) {
    match object.map(|object| &object.state) {
        Some(ObservedState::Deployment { rollout, .. }) => (rollout.serves(), rollout.trouble.as_deref()),
        _ => (false, None),
    }
}
