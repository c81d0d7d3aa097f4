//! The objects that were seen: only newer states replace older ones, and every change is told to those whom it concerns. Pure but for the clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tokio::time::Instant;

use super::seen::{Content, Key, Seen};
use crate::{api::SetUpStatus, names::PLATFORM_LABEL};

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
        let before = match self.all.get_mut(key) {
            Some(entry) if entry.seen.version >= seen.version && seen.version > 0 => {
                entry.list = list;
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
        // Of an older one of the same name.
        if self.all.get(key).is_none_or(|entry| entry.seen.meta.uid != last.meta.uid) {
            return BTreeSet::new();
        }
        self.forget(key)
    }

    fn forget(&mut self, key: &Key) -> BTreeSet<Touched> {
        let Some(entry) = self.all.remove(key) else { return BTreeSet::new() };
        self.concerned(key, Some(&entry.seen), None, By::Anybody)
    }

    /// A list of everything of `kind` begins.
    pub fn begin(&mut self, kind: &str) {
        *self.lists.entry(kind.to_owned()).or_default() += 1;
    }

    /// The list is complete: what was neither in it nor written since it began is gone. Answers with whom that concerns.
    pub fn end(&mut self, kind: &str) -> BTreeSet<Touched> {
        let list = self.lists.get(kind).copied().unwrap_or_default();
        let gone: Vec<Key> = self
            .all
            .iter()
            .filter(|(key, entry)| key.kind == kind && entry.list < list)
            .map(|(key, _)| key.clone())
            .collect();
        gone.iter().flat_map(|key| self.forget(key)).collect()
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
fn set_up(seen: Option<&Seen>) -> Option<&SetUpStatus> {
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
