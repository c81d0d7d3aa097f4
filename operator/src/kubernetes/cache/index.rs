//! The index of cached objects. Only a newer version replaces an object, and each change yields the
//! requests to reconcile that depend on it. Pure but for the clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tokio::time::Instant;

use crate::kubernetes::cache::{
    entry::{CachedObject, Key},
    reconcile_request::ReconcileRequest,
};

/// Source of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeSource {
    /// A watch. The writer is unknown and may be the operator itself.
    Watch,
    /// A write of the operator, which needs no reconcile to learn of it.
    OwnWrite,
}

pub(super) struct Entry {
    pub object: Arc<CachedObject>,
    /// Digest of the manifest that the operator last applied, and the result.
    applied: Option<(String, Arc<CachedObject>)>,
    /// When the state last changed.
    changed_at: Instant,
    /// Number of the list that last contained the object.
    list: u64,
}

/// All cached objects.
#[derive(Default)]
pub struct ObjectIndex {
    pub(super) entries: BTreeMap<Key, Entry>,
    /// Number of the current list of each kind.
    lists: BTreeMap<String, u64>,
    /// Versions at which objects were deleted since the last list of their kind. The response to an
    /// earlier write may arrive later and must not bring the object back.
    deleted: BTreeMap<Key, u64>,
}

impl ObjectIndex {
    /// A cached object.
    pub fn get(&self, key: &Key) -> Option<Arc<CachedObject>> {
        self.entries.get(key).map(|entry| entry.object.clone())
    }

    /// The objects of `kind` in `namespace`: name, object, and time of the last change of its
    /// state.
    pub fn of_kind<'a>(
        &'a self,
        kind: &'a str,
        namespace: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Arc<CachedObject>, Instant)> {
        let first = Key { kind: kind.to_owned(), namespace: namespace.to_owned(), name: String::new() };
        self.entries
            .range(first..)
            .take_while(move |(key, _)| key.kind == kind && key.namespace == namespace)
            .map(|(key, entry)| (key.name.as_str(), &entry.object, entry.changed_at))
    }

    /// Puts an object unless the index holds a newer version. Returns the requests that the change
    /// causes.
    pub fn put(&mut self, key: &Key, object: CachedObject, source: ChangeSource) -> BTreeSet<ReconcileRequest> {
        let list = self.lists.get(&key.kind).copied().unwrap_or_default();
        if object.version > 0 && self.deleted.get(key).is_some_and(|version| object.version <= *version) {
            return BTreeSet::new();
        }
        let before = match self.entries.get(key) {
            // A list of a restored etcd may have lower versions.
            Some(entry) if entry.list == list && entry.object.version >= object.version && object.version > 0 => {
                return BTreeSet::new();
            }
            other => other.map(|entry| entry.object.clone()),
        };
        let object = Arc::new(object);
        let requests = self.requests_for(key, before.as_deref(), Some(&object), source);
        let changed_at = before.as_ref().is_none_or(|before| before.state != object.state);
        match self.entries.get_mut(key) {
            Some(entry) => {
                entry.object = object;
                entry.list = list;
                if changed_at {
                    entry.changed_at = Instant::now();
                }
            }
            None => {
                self.entries.insert(key.clone(), Entry { object, applied: None, changed_at: Instant::now(), list });
            }
        }
        requests
    }

    /// Records the result of applying a manifest with this digest. Returns the requests that the
    /// change causes.
    pub fn record_apply(&mut self, key: &Key, digest: &str, result: CachedObject) -> BTreeSet<ReconcileRequest> {
        let shared = Arc::new(result.clone());
        let requests = self.put(key, result, ChangeSource::OwnWrite);
        if let Some(entry) = self.entries.get_mut(key) {
            entry.applied = Some((digest.to_owned(), shared));
        }
        requests
    }

    /// Whether a manifest with this digest and metadata was applied, and no change since would be
    /// reverted by applying it again.
    pub fn is_as_applied(&self, key: &Key, digest: &str, meta: &ObjectMeta) -> bool {
        self.entries.get(key).is_some_and(|entry| {
            entry
                .applied
                .as_ref()
                .is_some_and(|(last, result)| last == digest && entry.object.is_unmodified_since(result))
                && entry.object.carries(meta)
        })
    }

    /// Removes a deleted object, `last` being its final state. Returns the requests that this
    /// causes.
    pub fn remove(&mut self, key: &Key, last: &CachedObject) -> BTreeSet<ReconcileRequest> {
        // The event may concern an earlier object of the same name, or be older than the entry: an
        // object that loses its labels is deleted for the watch, and the operator may have restored
        // them since.
        let is_last = |entry: &Entry| entry.object.meta.uid == last.meta.uid && entry.object.version <= last.version;
        let known = self.entries.get(key);
        if known.is_some_and(|entry| !is_last(entry)) {
            return BTreeSet::new();
        }
        // The operator applies no Secrets, and a cluster may hold many.
        if key.kind != "Secret" {
            self.deleted.insert(key.clone(), last.version);
        }
        self.forget(key)
    }

    fn forget(&mut self, key: &Key) -> BTreeSet<ReconcileRequest> {
        let Some(entry) = self.entries.remove(key) else { return BTreeSet::new() };
        self.requests_for(key, Some(&entry.object), None, ChangeSource::Watch)
    }

    /// Begins a list of `kind`.
    pub fn begin_list(&mut self, kind: &str) {
        self.deleted.retain(|key, _| key.kind != kind);
        *self.lists.entry(kind.to_owned()).or_default() += 1;
    }

    /// Ends a list of `kind`: removes the objects that it did not contain and that the operator has
    /// not written since it began. Returns their keys and the requests that this causes.
    pub fn end_list(&mut self, kind: &str) -> (Vec<Key>, BTreeSet<ReconcileRequest>) {
        let list = self.lists.get(kind).copied().unwrap_or_default();
        let deleted: Vec<Key> = self
            .entries
            .iter()
            .filter(|(key, entry)| key.kind == kind && entry.list < list)
            .map(|(key, _)| key.clone())
            .collect();
        let requests = deleted.iter().flat_map(|key| self.forget(key)).collect();
        (deleted, requests)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
    use kube::api::{ApiResource, DynamicObject};
    use serde_json::{Value, json};

    use super::*;
    use crate::spec::names;

    fn key(kind: &str, name: &str) -> Key {
        Key { kind: kind.into(), namespace: "shop".into(), name: name.into() }
    }

    /// A Deployment of the pool `burst`.
    fn deployment(uid: &str, version: u64, generation: i64, ready: i64) -> CachedObject {
        let mut object =
            DynamicObject::new("burst", &ApiResource::erase::<k8s_openapi::api::apps::v1::Deployment>(&()));
        object.metadata = ObjectMeta {
            uid: Some(uid.into()),
            resource_version: Some(version.to_string()),
            generation: Some(generation),
            ..meta()
        };
        object.data =
            json!({"spec": {"replicas": 1, "selector": {}, "template": {}}, "status": {"readyReplicas": ready}});
        CachedObject::of("Deployment", &object)
    }

    fn meta() -> ObjectMeta {
        let owner = OwnerReference {
            api_version: "switchyard.dev/v1alpha1".into(),
            kind: "WorkerPool".into(),
            name: "burst".into(),
            uid: "p".into(),
            ..OwnerReference::default()
        };
        ObjectMeta {
            labels: Some(names::labels("main", "worker")),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "its callers pass literals of json!")]
    fn custom(kind: &str, version: u64, spec: Value, status: Value) -> CachedObject {
        let metadata = json!({"name": "x", "namespace": "shop", "uid": kind, "resourceVersion": version.to_string(), "generation": 1});
        let object = json!({"apiVersion": "switchyard.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec, "status": status});
        if kind == "WorkerPool" {
            CachedObject::of_pool(&serde_json::from_value(object).expect("a pool"))
        } else {
            CachedObject::of_platform(&serde_json::from_value(object).expect("a platform"))
        }
    }

    fn requests(pools: &[&str], platforms: &[&str]) -> BTreeSet<ReconcileRequest> {
        let pools = pools.iter().map(|name| ReconcileRequest::pool("shop", name));
        pools.chain(platforms.iter().map(|name| ReconcileRequest::platform("shop", name))).collect()
    }

    #[test]
    fn newer_version_replaces_and_requests_owners_and_platform() {
        let (mut objects, burst) = (ObjectIndex::default(), key("Deployment", "burst"));
        let none = BTreeSet::new();
        assert_eq!(objects.put(&burst, deployment("a", 5, 1, 0), ChangeSource::Watch), requests(&["burst"], &[]));
        assert_eq!(objects.put(&burst, deployment("a", 4, 1, 1), ChangeSource::Watch), none, "older");
        assert_eq!(
            objects.put(&burst, deployment("a", 6, 1, 0), ChangeSource::Watch),
            none,
            "no dependent state changed"
        );
        let serves = requests(&["burst"], &["main"]);
        assert_eq!(
            objects.put(&burst, deployment("a", 7, 1, 1), ChangeSource::Watch),
            serves,
            "it serves now, which the platform reports"
        );
        assert_eq!(objects.remove(&burst, &deployment("b", 9, 1, 0)), none, "another object of that name");
        assert_eq!(objects.remove(&burst, &deployment("a", 9, 1, 0)), serves);
    }

    #[test]
    fn own_write_requests_nothing_unless_it_reveals_a_new_state() {
        let (mut objects, burst) = (ObjectIndex::default(), key("Deployment", "burst"));
        assert_eq!(objects.record_apply(&burst, "1", deployment("a", 5, 1, 0)), BTreeSet::new());
        assert_eq!(
            objects.put(&burst, deployment("a", 5, 1, 0), ChangeSource::Watch),
            BTreeSet::new(),
            "the watch repeats the write"
        );
        // The pod became ready between the last event and the response to the write.
        assert_eq!(objects.record_apply(&burst, "2", deployment("a", 8, 2, 1)), requests(&["burst"], &["main"]));
    }

    #[test]
    fn applied_manifest_holds_until_the_spec_or_labels_change() {
        let (mut objects, burst) = (ObjectIndex::default(), key("Deployment", "burst"));
        objects.record_apply(&burst, "1", deployment("a", 5, 1, 0));
        objects.put(&burst, deployment("a", 6, 1, 1), ChangeSource::Watch);
        assert!(objects.is_as_applied(&burst, "1", &meta()), "a status change");
        assert!(!objects.is_as_applied(&burst, "2", &meta()), "another manifest");
        let more = ObjectMeta { labels: Some([("more".to_owned(), "yes".to_owned())].into()), ..meta() };
        assert!(!objects.is_as_applied(&burst, "1", &more), "a label was removed");
        objects.put(&burst, deployment("a", 7, 2, 1), ChangeSource::Watch);
        assert!(!objects.is_as_applied(&burst, "1", &meta()), "the spec was edited");
        objects.record_apply(&burst, "1", deployment("a", 8, 3, 1));
        objects.remove(&burst, &deployment("a", 9, 3, 1));
        assert!(!objects.is_as_applied(&burst, "1", &meta()), "it was deleted");
    }

    #[test]
    fn late_response_to_a_write_does_not_bring_a_deleted_object_back() {
        let (mut objects, burst) = (ObjectIndex::default(), key("Deployment", "burst"));
        objects.put(&burst, deployment("a", 5, 1, 0), ChangeSource::Watch);
        objects.remove(&burst, &deployment("a", 7, 1, 0));
        objects.record_apply(&burst, "1", deployment("a", 6, 2, 0));
        assert!(objects.get(&burst).is_none() && !objects.is_as_applied(&burst, "1", &meta()));
        objects.record_apply(&burst, "1", deployment("b", 9, 1, 0));
        assert!(objects.is_as_applied(&burst, "1", &meta()), "recreated");
        assert_eq!(objects.remove(&burst, &deployment("b", 8, 1, 0)), BTreeSet::new(), "from before the write");
        assert!(objects.get(&burst).is_some());
    }

    #[test]
    fn list_of_a_restored_etcd_replaces_objects_with_lower_versions() {
        let (mut objects, burst) = (ObjectIndex::default(), key("Deployment", "burst"));
        objects.put(&burst, deployment("a", 50, 2, 0), ChangeSource::Watch);
        objects.begin_list("Deployment");
        assert_eq!(objects.put(&burst, deployment("a", 5, 1, 0), ChangeSource::Watch), requests(&["burst"], &[]));
        objects.end_list("Deployment");
        assert_eq!(objects.get(&burst).expect("there").version, 5);
    }

    #[test]
    fn list_removes_absent_objects_except_those_written_meanwhile() {
        let mut objects = ObjectIndex::default();
        for name in ["stays", "goes"] {
            objects.put(&key("Deployment", name), deployment(name, 5, 1, 1), ChangeSource::Watch);
        }
        objects.begin_list("Deployment");
        objects.put(&key("Deployment", "stays"), deployment("stays", 5, 1, 1), ChangeSource::Watch);
        objects.record_apply(&key("Deployment", "created"), "1", deployment("created", 9, 1, 0));
        assert_eq!(objects.end_list("Deployment"), (vec![key("Deployment", "goes")], requests(&["burst"], &["main"])));
        let left: Vec<_> = objects.of_kind("Deployment", "shop").map(|(name, _, _)| name.to_owned()).collect();
        assert_eq!(left, ["created", "stays"]);
    }

    #[test]
    fn foreign_status_write_and_setup_change_request_reconciles() {
        let mut objects = ObjectIndex::default();
        let (main, burst) = (key("AnalyticsPlatform", "main"), key("WorkerPool", "burst"));
        let platform =
            |version, status| custom("AnalyticsPlatform", version, json!({"environment": "development"}), status);
        let of_pool = |version, status| {
            custom("WorkerPool", version, json!({"platformRef": {"name": "main"}, "kind": "cdn"}), status)
        };
        let written = |ready| json!({"desiredReplicas": 1, "replicas": 1, "readyReplicas": ready});
        assert_eq!(objects.put(&main, platform(1, json!({})), ChangeSource::Watch), requests(&[], &["main"]));
        assert_eq!(objects.put(&burst, of_pool(2, written(0)), ChangeSource::Watch), requests(&["burst"], &["main"]));
        assert_eq!(objects.put(&burst, of_pool(3, written(1)), ChangeSource::OwnWrite), BTreeSet::new());
        assert_eq!(
            objects.put(&burst, of_pool(4, written(7)), ChangeSource::Watch),
            requests(&["burst"], &[]),
            "foreign write"
        );
        assert_eq!(
            objects.put(&main, platform(5, json!({"url": "http://x"})), ChangeSource::OwnWrite),
            BTreeSet::new()
        );
        let setup = json!({"url": "http://x", "setup": {"job": "main-setup-1"}});
        assert_eq!(
            objects.put(&main, platform(6, setup), ChangeSource::OwnWrite),
            requests(&["burst"], &[]),
            "pools wait for the setup"
        );
    }
}
