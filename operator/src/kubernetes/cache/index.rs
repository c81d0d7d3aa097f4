//! The objects that were seen: only newer states replace older ones, and every change is told to those whom it concerns. Pure but for the clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tokio::time::Instant;

use crate::{
    crd::SetupStatus,
    kubernetes::cache::entry::{CachedObject, Key, ObservedState},
    spec::names::PLATFORM_LABEL,
};

/// Beginning of the apiVersion of the custom resources.
const GROUP: &str = "switchyard.dev/";

/// A resource that has to be looked at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReconcileRequest {
    Platform { namespace: String, name: String },
    Pool { namespace: String, name: String },
}

/// Who wrote what has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeSource {
    /// Somebody; that it was the operator itself is not known any more.
    Watch,
    /// The operator, just now: its own intentions are no news to it.
    OwnWrite,
}

struct Entry {
    object: Arc<CachedObject>,
    /// What the operator last applied, as a digest, and what came of it.
    applied: Option<(String, Arc<CachedObject>)>,
    /// When its content last changed.
    changed_at: Instant,
    /// The list in which it was last found.
    list: u64,
}

/// All objects.
#[derive(Default)]
pub struct ObjectIndex {
    all: BTreeMap<Key, Entry>,
    /// The number of the current list of each kind.
    lists: BTreeMap<String, u64>,
    /// Versions at which objects went, since the last list of their kind: an answer to a write may come after that.
    gone: BTreeMap<Key, u64>,
}

impl ObjectIndex {
    /// An object as it is kept.
    pub fn get(&self, key: &Key) -> Option<Arc<CachedObject>> {
        self.all.get(key).map(|entry| entry.object.clone())
    }

    /// Everything of `kind` in `namespace`, with the time since which its content has been as it is.
    pub fn of_kind<'a>(
        &'a self,
        kind: &'a str,
        namespace: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Arc<CachedObject>, Instant)> {
        let first = Key { kind: kind.to_owned(), namespace: namespace.to_owned(), name: String::new() };
        self.all
            .range(first..)
            .take_while(move |(key, _)| key.kind == kind && key.namespace == namespace)
            .map(|(key, entry)| (key.name.as_str(), &entry.object, entry.changed_at))
    }

    /// Keeps what was seen, unless something newer is known. Answers with whom that concerns.
    pub fn put(&mut self, key: &Key, object: CachedObject, by: ChangeSource) -> BTreeSet<ReconcileRequest> {
        let list = self.lists.get(&key.kind).copied().unwrap_or_default();
        if object.version > 0 && self.gone.get(key).is_some_and(|version| object.version <= *version) {
            return BTreeSet::new();
        }
        let before = match self.all.get(key) {
            // A list may begin anew with lower versions, when the API server's store was restored.
            Some(entry) if entry.list == list && entry.object.version >= object.version && object.version > 0 => {
                return BTreeSet::new();
            }
            other => other.map(|entry| entry.object.clone()),
        };
        let object = Arc::new(object);
        let requests = self.requests_for(key, before.as_deref(), Some(&object), by);
        let changed_at = before.as_ref().is_none_or(|before| before.state != object.state);
        match self.all.get_mut(key) {
            Some(entry) => {
                entry.object = object;
                entry.list = list;
                if changed_at {
                    entry.changed_at = Instant::now();
                }
            }
            None => {
                self.all.insert(key.clone(), Entry { object, applied: None, changed_at: Instant::now(), list });
            }
        }
        requests
    }

    /// Keeps what came of applying a manifest of that digest.
    pub fn applied(&mut self, key: &Key, digest: &str, outcome: CachedObject) -> BTreeSet<ReconcileRequest> {
        let shared = Arc::new(outcome.clone());
        let requests = self.put(key, outcome, ChangeSource::OwnWrite);
        if let Some(entry) = self.all.get_mut(key) {
            entry.applied = Some((digest.to_owned(), shared));
        }
        requests
    }

    /// Whether a manifest of that digest and metadata was applied, and nobody has changed anything since that applying it again would set right.
    pub fn is_as_applied(&self, key: &Key, digest: &str, meta: &ObjectMeta) -> bool {
        self.all.get(key).is_some_and(|entry| {
            entry
                .applied
                .as_ref()
                .is_some_and(|(last, outcome)| last == digest && entry.object.is_untouched_since(outcome))
                && entry.object.carries(meta)
        })
    }

    /// The object is gone, as it was last. Answers with whom that concerns.
    pub fn remove(&mut self, key: &Key, last: &CachedObject) -> BTreeSet<ReconcileRequest> {
        // Of an older one of the same name, or from before it was given its labels back.
        let is_last = |entry: &Entry| entry.object.meta.uid == last.meta.uid && entry.object.version <= last.version;
        let known = self.all.get(key);
        if known.is_some_and(|entry| !is_last(entry)) {
            return BTreeSet::new();
        }
        // Of other people's Secrets there may be many, and of them the operator applies none.
        if key.kind != "Secret" {
            self.gone.insert(key.clone(), last.version);
        }
        self.forget(key)
    }

    fn forget(&mut self, key: &Key) -> BTreeSet<ReconcileRequest> {
        let Some(entry) = self.all.remove(key) else { return BTreeSet::new() };
        self.requests_for(key, Some(&entry.object), None, ChangeSource::Watch)
    }

    /// A list of everything of `kind` begins.
    pub fn begin(&mut self, kind: &str) {
        self.gone.retain(|key, _| key.kind != kind);
        *self.lists.entry(kind.to_owned()).or_default() += 1;
    }

    /// The list is complete: what was neither in it nor written since it began is gone. Answers with what that is, and whom it concerns.
    pub fn end(&mut self, kind: &str) -> (Vec<Key>, BTreeSet<ReconcileRequest>) {
        let list = self.lists.get(kind).copied().unwrap_or_default();
        let gone: Vec<Key> = self
            .all
            .iter()
            .filter(|(key, entry)| key.kind == kind && entry.list < list)
            .map(|(key, _)| key.clone())
            .collect();
        let requests = gone.iter().flat_map(|key| self.forget(key)).collect();
        (gone, requests)
    }

    /// Every platform and pool.
    pub fn all_requests(&self) -> BTreeSet<ReconcileRequest> {
        self.all
            .iter()
            .filter_map(|(key, entry)| match entry.object.state {
                ObservedState::Platform(_) => Some(platform(&key.namespace, &key.name)),
                ObservedState::Pool { .. } => Some(pool(&key.namespace, &key.name)),
                _ => None,
            })
            .collect()
    }

    /// The pools of a platform.
    pub fn pools_of(&self, namespace: &str, platform: &str) -> Vec<ReconcileRequest> {
        self.of_kind("WorkerPool", namespace)
            .filter(
                |(_, object, _)| matches!(&object.state, ObservedState::Pool { platform: own, .. } if own == platform),
            )
            .map(|(name, _, _)| pool(namespace, name))
            .collect()
    }

    /// A custom resource itself, and those that go by it.
    pub fn dependents(&self, key: &Key, object: &CachedObject) -> BTreeSet<ReconcileRequest> {
        match &object.state {
            ObservedState::Platform(_) => {
                let pools = self.pools_of(&key.namespace, &key.name);
                pools.into_iter().chain([platform(&key.namespace, &key.name)]).collect()
            }
            ObservedState::Pool { platform: of, .. } => {
                BTreeSet::from([pool(&key.namespace, &key.name), platform(&key.namespace, of)])
            }
            _ => BTreeSet::new(),
        }
    }

    fn requests_for(
        &self,
        key: &Key,
        before: Option<&CachedObject>,
        after: Option<&CachedObject>,
        by: ChangeSource,
    ) -> BTreeSet<ReconcileRequest> {
        let Some(any) = after.or(before) else { return BTreeSet::new() };
        let same = matches!((before, after), (Some(before), Some(after)) if after.is_same_but_for_content(before));
        let news = before.map(|object| &object.state) != after.map(|object| &object.state);
        let mut requests = BTreeSet::new();
        match &any.state {
            ObservedState::Platform(_) => {
                if !same {
                    return self.dependents(key, any);
                }
                if news && by == ChangeSource::Watch {
                    requests.insert(platform(&key.namespace, &key.name));
                }
                if set_up(before) != set_up(after) {
                    requests.extend(self.pools_of(&key.namespace, &key.name));
                }
            }
            ObservedState::Pool { .. } => {
                if !same {
                    return self.dependents(key, any);
                }
                if news && by == ChangeSource::Watch {
                    requests.insert(pool(&key.namespace, &key.name));
                }
            }
            _ => {
                // What the operator did itself is no news, but for what others did to the object before.
                let is_news = if by == ChangeSource::OwnWrite { before.is_some() && news } else { news || !same };
                if is_news {
                    requests.extend(
                        [before, after].into_iter().flatten().flat_map(|object| owners(&key.namespace, object)),
                    );
                }
                if service(before) != service(after) {
                    requests.extend(any.label(PLATFORM_LABEL).map(|name| platform(&key.namespace, name)));
                }
            }
        }
        requests
    }
}

fn platform(namespace: &str, name: &str) -> ReconcileRequest {
    ReconcileRequest::Platform { namespace: namespace.to_owned(), name: name.to_owned() }
}

fn pool(namespace: &str, name: &str) -> ReconcileRequest {
    ReconcileRequest::Pool { namespace: namespace.to_owned(), name: name.to_owned() }
}

/// What pools go by in their platform's status.
fn set_up(object: Option<&CachedObject>) -> Option<&SetupStatus> {
    match &object?.state {
        ObservedState::Platform(Some(status)) => status.setup.as_ref(),
        _ => None,
    }
}

/// Those that an object belongs to.
fn owners(namespace: &str, object: &CachedObject) -> Vec<ReconcileRequest> {
    let ours = object.meta.owner_references.iter().flatten().filter(|owner| owner.api_version.starts_with(GROUP));
    ours.filter_map(|owner| match owner.kind.as_str() {
        "AnalyticsPlatform" => Some(platform(namespace, &owner.name)),
        "WorkerPool" => Some(pool(namespace, &owner.name)),
        _ => None,
    })
    .collect()
}

/// What a platform tells of a Deployment of a pool: whether it serves, and what keeps it from that.
fn service(object: Option<&CachedObject>) -> (bool, Option<&str>) {
    match object.map(|object| &object.state) {
        Some(ObservedState::Deployment { rollout, .. }) => (rollout.serves(), rollout.trouble.as_deref()),
        _ => (false, None),
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
        pools.iter().map(|name| pool("shop", name)).chain(platforms.iter().map(|name| platform("shop", name))).collect()
    }

    #[test]
    fn only_newer_states_count_and_each_change_is_told_to_those_whom_it_concerns() {
        let (mut objects, burst) = (ObjectIndex::default(), key("Deployment", "burst"));
        let none = BTreeSet::new();
        assert_eq!(objects.put(&burst, deployment("a", 5, 1, 0), ChangeSource::Watch), requests(&["burst"], &[]));
        assert_eq!(objects.put(&burst, deployment("a", 4, 1, 1), ChangeSource::Watch), none, "older");
        assert_eq!(
            objects.put(&burst, deployment("a", 6, 1, 0), ChangeSource::Watch),
            none,
            "nothing that anybody goes by"
        );
        let serves = requests(&["burst"], &["main"]);
        assert_eq!(
            objects.put(&burst, deployment("a", 7, 1, 1), ChangeSource::Watch),
            serves,
            "it serves now: the platform's too"
        );
        assert_eq!(objects.remove(&burst, &deployment("b", 9, 1, 0)), none, "another of that name");
        assert_eq!(objects.remove(&burst, &deployment("a", 9, 1, 0)), serves);
    }

    #[test]
    fn what_the_operator_wrote_is_no_news_but_what_it_came_upon_is() {
        let (mut objects, burst) = (ObjectIndex::default(), key("Deployment", "burst"));
        assert_eq!(objects.applied(&burst, "1", deployment("a", 5, 1, 0)), BTreeSet::new());
        assert_eq!(
            objects.put(&burst, deployment("a", 5, 1, 0), ChangeSource::Watch),
            BTreeSet::new(),
            "the watch tells of it"
        );
        // Between the last event and the answer to the write the pod became ready.
        assert_eq!(objects.applied(&burst, "2", deployment("a", 8, 2, 1)), requests(&["burst"], &["main"]));
    }

    #[test]
    fn what_was_applied_holds_until_somebody_changes_what_is_to_be() {
        let (mut objects, burst) = (ObjectIndex::default(), key("Deployment", "burst"));
        objects.applied(&burst, "1", deployment("a", 5, 1, 0));
        objects.put(&burst, deployment("a", 6, 1, 1), ChangeSource::Watch);
        assert!(objects.is_as_applied(&burst, "1", &meta()), "a state changes nothing");
        assert!(!objects.is_as_applied(&burst, "2", &meta()), "another manifest");
        let more = ObjectMeta { labels: Some([("more".to_owned(), "yes".to_owned())].into()), ..meta() };
        assert!(!objects.is_as_applied(&burst, "1", &more), "a label was taken away");
        objects.put(&burst, deployment("a", 7, 2, 1), ChangeSource::Watch);
        assert!(!objects.is_as_applied(&burst, "1", &meta()), "the spec was edited");
        objects.applied(&burst, "1", deployment("a", 8, 3, 1));
        objects.remove(&burst, &deployment("a", 9, 3, 1));
        assert!(!objects.is_as_applied(&burst, "1", &meta()), "it is gone");
    }

    #[test]
    fn an_answer_that_comes_after_the_end_brings_nothing_back() {
        let (mut objects, burst) = (ObjectIndex::default(), key("Deployment", "burst"));
        objects.put(&burst, deployment("a", 5, 1, 0), ChangeSource::Watch);
        objects.remove(&burst, &deployment("a", 7, 1, 0));
        objects.applied(&burst, "1", deployment("a", 6, 2, 0));
        assert!(objects.get(&burst).is_none() && !objects.is_as_applied(&burst, "1", &meta()));
        objects.applied(&burst, "1", deployment("b", 9, 1, 0));
        assert!(objects.is_as_applied(&burst, "1", &meta()), "made anew");
        assert_eq!(objects.remove(&burst, &deployment("b", 8, 1, 0)), BTreeSet::new(), "from before the write");
        assert!(objects.get(&burst).is_some());
    }

    #[test]
    fn a_store_that_was_restored_begins_anew_with_lower_versions() {
        let (mut objects, burst) = (ObjectIndex::default(), key("Deployment", "burst"));
        objects.put(&burst, deployment("a", 50, 2, 0), ChangeSource::Watch);
        objects.begin("Deployment");
        assert_eq!(objects.put(&burst, deployment("a", 5, 1, 0), ChangeSource::Watch), requests(&["burst"], &[]));
        objects.end("Deployment");
        assert_eq!(objects.get(&burst).expect("there").version, 5);
    }

    #[test]
    fn a_list_takes_away_what_is_not_in_it_but_nothing_that_was_written_meanwhile() {
        let mut objects = ObjectIndex::default();
        for name in ["stays", "goes"] {
            objects.put(&key("Deployment", name), deployment(name, 5, 1, 1), ChangeSource::Watch);
        }
        objects.begin("Deployment");
        objects.put(&key("Deployment", "stays"), deployment("stays", 5, 1, 1), ChangeSource::Watch);
        objects.applied(&key("Deployment", "made"), "1", deployment("made", 9, 1, 0));
        assert_eq!(objects.end("Deployment"), (vec![key("Deployment", "goes")], requests(&["burst"], &["main"])));
        let left: Vec<_> = objects.of_kind("Deployment", "shop").map(|(name, _, _)| name.to_owned()).collect();
        assert_eq!(left, ["made", "stays"]);
    }

    #[test]
    fn a_status_is_news_when_it_is_not_the_operators_own_and_pools_go_by_the_set_up() {
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
            "not ours"
        );
        assert_eq!(
            objects.put(&main, platform(5, json!({"url": "http://x"})), ChangeSource::OwnWrite),
            BTreeSet::new()
        );
        let set_up = json!({"url": "http://x", "setup": {"job": "main-setup-1"}});
        assert_eq!(
            objects.put(&main, platform(6, set_up), ChangeSource::OwnWrite),
            requests(&["burst"], &[]),
            "pools waited for it"
        );
    }
}
