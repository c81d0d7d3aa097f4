//! The objects that were seen: only newer states replace older ones, and every change is told to those whom it concerns. Pure but for the clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tokio::time::Instant;

use super::seen::{Content, Key, Seen};
use crate::{api::SetupStatus, names::PLATFORM_LABEL};

/// Beginning of the apiVersion of the custom resources.
const GROUP: &str = "switchyard.dev/";

/// A resource that has to be looked at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Touched {
    Platform { namespace: String, name: String },
    Pool { namespace: String, name: String },
}

/// Who wrote what has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Somebody; that it was the operator itself is not known any more.
    Anybody,
    /// The operator, just now: its own intentions are no news to it.
    Operator,
}

struct Entry {
    seen: Arc<Seen>,
    /// What the operator last applied, as a digest, and what came of it.
    applied: Option<(String, Arc<Seen>)>,
    /// When its content last changed.
    moved: Instant,
    /// The list in which it was last found.
    list: u64,
}

/// All objects.
#[derive(Default)]
pub struct Objects {
    all: BTreeMap<Key, Entry>,
    /// The number of the current list of each kind.
    lists: BTreeMap<String, u64>,
    /// Versions at which objects went, since the last list of their kind: an answer to a write may come after that.
    gone: BTreeMap<Key, u64>,
}

impl Objects {
    /// An object as it is kept.
    pub fn get(&self, key: &Key) -> Option<Arc<Seen>> {
        self.all.get(key).map(|entry| entry.seen.clone())
    }

    /// Everything of `kind` in `namespace`, with the time since which its content has been as it is.
    pub fn of_kind<'a>(
        &'a self,
        kind: &'a str,
        namespace: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Arc<Seen>, Instant)> {
        let first = Key { kind: kind.to_owned(), namespace: namespace.to_owned(), name: String::new() };
        self.all
            .range(first..)
            .take_while(move |(key, _)| key.kind == kind && key.namespace == namespace)
            .map(|(key, entry)| (key.name.as_str(), &entry.seen, entry.moved))
    }

    /// Keeps what was seen, unless something newer is known. Answers with whom that concerns.
    pub fn put(&mut self, key: &Key, seen: Seen, by: By) -> BTreeSet<Touched> {
        let list = self.lists.get(&key.kind).copied().unwrap_or_default();
        if seen.version > 0 && self.gone.get(key).is_some_and(|version| seen.version <= *version) {
            return BTreeSet::new();
        }
        let before = match self.all.get(key) {
            // A list may begin anew with lower versions, when the API server's store was restored.
            Some(entry) if entry.list == list && entry.seen.version >= seen.version && seen.version > 0 => {
                return BTreeSet::new();
            }
            other => other.map(|entry| entry.seen.clone()),
        };
        let seen = Arc::new(seen);
        let touched = self.concerned(key, before.as_deref(), Some(&seen), by);
        let moved = before.as_ref().is_none_or(|before| before.content != seen.content);
        match self.all.get_mut(key) {
            Some(entry) => {
                entry.seen = seen;
                entry.list = list;
                if moved {
                    entry.moved = Instant::now();
                }
            }
            None => {
                self.all.insert(key.clone(), Entry { seen, applied: None, moved: Instant::now(), list });
            }
        }
        touched
    }

    /// Keeps what came of applying a manifest of that digest.
    pub fn applied(&mut self, key: &Key, digest: &str, outcome: Seen) -> BTreeSet<Touched> {
        let shared = Arc::new(outcome.clone());
        let touched = self.put(key, outcome, By::Operator);
        if let Some(entry) = self.all.get_mut(key) {
            entry.applied = Some((digest.to_owned(), shared));
        }
        touched
    }

    /// Whether a manifest of that digest and metadata was applied, and nobody has changed anything since that applying it again would set right.
    pub fn is_as_applied(&self, key: &Key, digest: &str, meta: &ObjectMeta) -> bool {
        self.all.get(key).is_some_and(|entry| {
            entry
                .applied
                .as_ref()
                .is_some_and(|(last, outcome)| last == digest && entry.seen.is_untouched_since(outcome))
                && entry.seen.carries(meta)
        })
    }

    /// The object is gone, as it was last. Answers with whom that concerns.
    pub fn remove(&mut self, key: &Key, last: &Seen) -> BTreeSet<Touched> {
        // Of an older one of the same name, or from before it was given its labels back.
        let is_last = |entry: &Entry| entry.seen.meta.uid == last.meta.uid && entry.seen.version <= last.version;
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

    fn forget(&mut self, key: &Key) -> BTreeSet<Touched> {
        let Some(entry) = self.all.remove(key) else { return BTreeSet::new() };
        self.concerned(key, Some(&entry.seen), None, By::Anybody)
    }

    /// A list of everything of `kind` begins.
    pub fn begin(&mut self, kind: &str) {
        self.gone.retain(|key, _| key.kind != kind);
        *self.lists.entry(kind.to_owned()).or_default() += 1;
    }

    /// The list is complete: what was neither in it nor written since it began is gone. Answers with what that is, and whom it concerns.
    pub fn end(&mut self, kind: &str) -> (Vec<Key>, BTreeSet<Touched>) {
        let list = self.lists.get(kind).copied().unwrap_or_default();
        let gone: Vec<Key> = self
            .all
            .iter()
            .filter(|(key, entry)| key.kind == kind && entry.list < list)
            .map(|(key, _)| key.clone())
            .collect();
        let touched = gone.iter().flat_map(|key| self.forget(key)).collect();
        (gone, touched)
    }

    /// Every platform and pool.
    pub fn everybody(&self) -> BTreeSet<Touched> {
        self.all
            .iter()
            .filter_map(|(key, entry)| match entry.seen.content {
                Content::Platform(_) => Some(platform(&key.namespace, &key.name)),
                Content::Pool { .. } => Some(pool(&key.namespace, &key.name)),
                _ => None,
            })
            .collect()
    }

    /// The pools of a platform.
    pub fn pools_of(&self, namespace: &str, platform: &str) -> Vec<Touched> {
        self.of_kind("WorkerPool", namespace)
            .filter(|(_, seen, _)| matches!(&seen.content, Content::Pool { platform: own, .. } if own == platform))
            .map(|(name, _, _)| pool(namespace, name))
            .collect()
    }

    /// A custom resource itself, and those that go by it.
    pub fn around(&self, key: &Key, seen: &Seen) -> BTreeSet<Touched> {
        match &seen.content {
            Content::Platform(_) => {
                let pools = self.pools_of(&key.namespace, &key.name);
                pools.into_iter().chain([platform(&key.namespace, &key.name)]).collect()
            }
            Content::Pool { platform: of, .. } => {
                BTreeSet::from([pool(&key.namespace, &key.name), platform(&key.namespace, of)])
            }
            _ => BTreeSet::new(),
        }
    }

    fn concerned(&self, key: &Key, before: Option<&Seen>, after: Option<&Seen>, by: By) -> BTreeSet<Touched> {
        let Some(any) = after.or(before) else { return BTreeSet::new() };
        let same = matches!((before, after), (Some(before), Some(after)) if after.is_same_but_for_content(before));
        let news = before.map(|seen| &seen.content) != after.map(|seen| &seen.content);
        let mut touched = BTreeSet::new();
        match &any.content {
            Content::Platform(_) => {
                if !same {
                    return self.around(key, any);
                }
                if news && by == By::Anybody {
                    touched.insert(platform(&key.namespace, &key.name));
                }
                if set_up(before) != set_up(after) {
                    touched.extend(self.pools_of(&key.namespace, &key.name));
                }
            }
            Content::Pool { .. } => {
                if !same {
                    return self.around(key, any);
                }
                if news && by == By::Anybody {
                    touched.insert(pool(&key.namespace, &key.name));
                }
            }
            _ => {
                // What the operator did itself is no news, but for what others did to the object before.
                let is_news = if by == By::Operator { before.is_some() && news } else { news || !same };
                if is_news {
                    touched.extend([before, after].into_iter().flatten().flat_map(|seen| owners(&key.namespace, seen)));
                }
                if service(before) != service(after) {
                    touched.extend(any.label(PLATFORM_LABEL).map(|name| platform(&key.namespace, name)));
                }
            }
        }
        touched
    }
}

fn platform(namespace: &str, name: &str) -> Touched {
    Touched::Platform { namespace: namespace.to_owned(), name: name.to_owned() }
}

fn pool(namespace: &str, name: &str) -> Touched {
    Touched::Pool { namespace: namespace.to_owned(), name: name.to_owned() }
}

/// What pools go by in their platform's status.
fn set_up(seen: Option<&Seen>) -> Option<&SetupStatus> {
    match &seen?.content {
        Content::Platform(Some(status)) => status.set_up.as_ref(),
        _ => None,
    }
}

/// Those that an object belongs to.
fn owners(namespace: &str, seen: &Seen) -> Vec<Touched> {
    let ours = seen.meta.owner_references.iter().flatten().filter(|owner| owner.api_version.starts_with(GROUP));
    ours.filter_map(|owner| match owner.kind.as_str() {
        "AnalyticsPlatform" => Some(platform(namespace, &owner.name)),
        "WorkerPool" => Some(pool(namespace, &owner.name)),
        _ => None,
    })
    .collect()
}

/// What a platform tells of a Deployment of a pool: whether it serves, and what keeps it from that.
fn service(seen: Option<&Seen>) -> (bool, Option<&str>) {
    match seen.map(|seen| &seen.content) {
        Some(Content::Deployment { rollout, .. }) => (rollout.serves(), rollout.trouble.as_deref()),
        _ => (false, None),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
    use kube::api::{ApiResource, DynamicObject};
    use serde_json::{Value, json};

    use super::*;
    use crate::names;

    fn key(kind: &str, name: &str) -> Key {
        Key { kind: kind.into(), namespace: "shop".into(), name: name.into() }
    }

    /// A Deployment of the pool `burst`.
    fn deployment(uid: &str, version: u64, generation: i64, ready: i64) -> Seen {
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
        Seen::of("Deployment", &object)
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

    fn custom(kind: &str, version: u64, spec: Value, status: Value) -> Seen {
        let metadata = json!({"name": "x", "namespace": "shop", "uid": kind, "resourceVersion": version.to_string(), "generation": 1});
        let object = json!({"apiVersion": "switchyard.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec, "status": status});
        if kind == "WorkerPool" {
            Seen::of_pool(&serde_json::from_value(object).expect("a pool"))
        } else {
            Seen::of_platform(&serde_json::from_value(object).expect("a platform"))
        }
    }

    fn touched(pools: &[&str], platforms: &[&str]) -> BTreeSet<Touched> {
        pools.iter().map(|name| pool("shop", name)).chain(platforms.iter().map(|name| platform("shop", name))).collect()
    }

    #[test]
    fn only_newer_states_count_and_each_change_is_told_to_those_whom_it_concerns() {
        let (mut objects, burst) = (Objects::default(), key("Deployment", "burst"));
        let none = BTreeSet::new();
        assert_eq!(objects.put(&burst, deployment("a", 5, 1, 0), By::Anybody), touched(&["burst"], &[]));
        assert_eq!(objects.put(&burst, deployment("a", 4, 1, 1), By::Anybody), none, "older");
        assert_eq!(objects.put(&burst, deployment("a", 6, 1, 0), By::Anybody), none, "nothing that anybody goes by");
        let serves = touched(&["burst"], &["main"]);
        assert_eq!(
            objects.put(&burst, deployment("a", 7, 1, 1), By::Anybody),
            serves,
            "it serves now: the platform's too"
        );
        assert_eq!(objects.remove(&burst, &deployment("b", 9, 1, 0)), none, "another of that name");
        assert_eq!(objects.remove(&burst, &deployment("a", 9, 1, 0)), serves);
    }

    #[test]
    fn what_the_operator_wrote_is_no_news_but_what_it_came_upon_is() {
        let (mut objects, burst) = (Objects::default(), key("Deployment", "burst"));
        assert_eq!(objects.applied(&burst, "1", deployment("a", 5, 1, 0)), BTreeSet::new());
        assert_eq!(
            objects.put(&burst, deployment("a", 5, 1, 0), By::Anybody),
            BTreeSet::new(),
            "the watch tells of it"
        );
        // Between the last event and the answer to the write the pod became ready.
        assert_eq!(objects.applied(&burst, "2", deployment("a", 8, 2, 1)), touched(&["burst"], &["main"]));
    }

    #[test]
    fn what_was_applied_holds_until_somebody_changes_what_is_to_be() {
        let (mut objects, burst) = (Objects::default(), key("Deployment", "burst"));
        objects.applied(&burst, "1", deployment("a", 5, 1, 0));
        objects.put(&burst, deployment("a", 6, 1, 1), By::Anybody);
        assert!(objects.is_as_applied(&burst, "1", &meta()), "a state changes nothing");
        assert!(!objects.is_as_applied(&burst, "2", &meta()), "another manifest");
        let more = ObjectMeta { labels: Some([("more".to_owned(), "yes".to_owned())].into()), ..meta() };
        assert!(!objects.is_as_applied(&burst, "1", &more), "a label was taken away");
        objects.put(&burst, deployment("a", 7, 2, 1), By::Anybody);
        assert!(!objects.is_as_applied(&burst, "1", &meta()), "the spec was edited");
        objects.applied(&burst, "1", deployment("a", 8, 3, 1));
        objects.remove(&burst, &deployment("a", 9, 3, 1));
        assert!(!objects.is_as_applied(&burst, "1", &meta()), "it is gone");
    }

    #[test]
    fn an_answer_that_comes_after_the_end_brings_nothing_back() {
        let (mut objects, burst) = (Objects::default(), key("Deployment", "burst"));
        objects.put(&burst, deployment("a", 5, 1, 0), By::Anybody);
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
        let (mut objects, burst) = (Objects::default(), key("Deployment", "burst"));
        objects.put(&burst, deployment("a", 50, 2, 0), By::Anybody);
        objects.begin("Deployment");
        assert_eq!(objects.put(&burst, deployment("a", 5, 1, 0), By::Anybody), touched(&["burst"], &[]));
        objects.end("Deployment");
        assert_eq!(objects.get(&burst).expect("there").version, 5);
    }

    #[test]
    fn a_list_takes_away_what_is_not_in_it_but_nothing_that_was_written_meanwhile() {
        let mut objects = Objects::default();
        for name in ["stays", "goes"] {
            objects.put(&key("Deployment", name), deployment(name, 5, 1, 1), By::Anybody);
        }
        objects.begin("Deployment");
        objects.put(&key("Deployment", "stays"), deployment("stays", 5, 1, 1), By::Anybody);
        objects.applied(&key("Deployment", "made"), "1", deployment("made", 9, 1, 0));
        assert_eq!(objects.end("Deployment"), (vec![key("Deployment", "goes")], touched(&["burst"], &["main"])));
        let left: Vec<_> = objects.of_kind("Deployment", "shop").map(|(name, _, _)| name.to_owned()).collect();
        assert_eq!(left, ["made", "stays"]);
    }

    #[test]
    fn a_status_is_news_when_it_is_not_the_operators_own_and_pools_go_by_the_set_up() {
        let mut objects = Objects::default();
        let (main, burst) = (key("AnalyticsPlatform", "main"), key("WorkerPool", "burst"));
        let platform =
            |version, status| custom("AnalyticsPlatform", version, json!({"environment": "development"}), status);
        let of_pool = |version, status| {
            custom("WorkerPool", version, json!({"platformRef": {"name": "main"}, "kind": "cdn"}), status)
        };
        let written = |ready| json!({"desiredReplicas": 1, "replicas": 1, "readyReplicas": ready});
        assert_eq!(objects.put(&main, platform(1, json!({})), By::Anybody), touched(&[], &["main"]));
        assert_eq!(objects.put(&burst, of_pool(2, written(0)), By::Anybody), touched(&["burst"], &["main"]));
        assert_eq!(objects.put(&burst, of_pool(3, written(1)), By::Operator), BTreeSet::new());
        assert_eq!(objects.put(&burst, of_pool(4, written(7)), By::Anybody), touched(&["burst"], &[]), "not ours");
        assert_eq!(objects.put(&main, platform(5, json!({"url": "http://x"})), By::Operator), BTreeSet::new());
        let set_up = json!({"url": "http://x", "setup": {"job": "main-setup-1"}});
        assert_eq!(
            objects.put(&main, platform(6, set_up), By::Operator),
            touched(&["burst"], &[]),
            "pools waited for it"
        );
    }
}
