//! A cached object: its metadata, and the part of its spec and status that decisions need. Pure.

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, StatefulSet},
        autoscaling::v2::{HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition},
        batch::v1::Job,
    },
    apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta},
};
use kube::api::DynamicObject;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    crd::{AnalyticsPlatform, AnalyticsPlatformStatus, WorkerPool, WorkerPoolStatus},
    kubernetes::rollout::{JobState, Rollout},
    resources::manifest::Manifest,
    spec::names::{self, digest},
};

/// Kind, namespace and name of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub kind: String,
    pub namespace: String,
    pub name: String,
}

impl Key {
    /// The key of an object of `kind`.
    pub fn of(kind: &str, meta: &ObjectMeta) -> Self {
        Self {
            kind: kind.to_owned(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        }
    }

    /// The key of the object that a manifest is applied to.
    pub fn of_manifest(manifest: &Manifest) -> Self {
        Self::of(&manifest.resource.kind, &manifest.object.metadata)
    }
}

/// Changes whenever the spec changes, and as rarely otherwise as the kind allows.
#[derive(Debug, Clone, PartialEq, Eq)]
enum SpecVersion {
    /// `metadata.generation`.
    Generation(i64),
    /// Digest of the spec, for kinds without a generation whose status other controllers write.
    Digest(String),
    /// The resourceVersion, for kinds with neither.
    Version(u64),
}

/// The last known state of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct CachedObject {
    /// Without managedFields and the fields that the API server maintains, except the UID.
    pub meta: ObjectMeta,
    /// The resourceVersion, which only grows. 0 if it is not a number.
    pub version: u64,
    spec_version: SpecVersion,
    pub state: ObservedState,
}

/// The part of an object that decisions need.
#[derive(Debug, Clone, PartialEq)]
pub enum ObservedState {
    /// Only the metadata matters.
    Nothing,
    Deployment {
        rollout: Rollout,
        replicas: Option<i32>,
        /// Whether a field manager other than the operator's owns `spec.replicas`.
        handed_over: bool,
    },
    StatefulSet(Rollout),
    Job(JobState),
    Autoscaler(Vec<HorizontalPodAutoscalerCondition>),
    Platform(Option<Box<AnalyticsPlatformStatus>>),
    Pool {
        platform: String,
        status: Option<Box<WorkerPoolStatus>>,
    },
}

impl CachedObject {
    /// Caches an object of `kind`.
    pub fn of(kind: &str, object: &DynamicObject) -> Self {
        let custom = match kind {
            "Secret" => Some(Self::of_secret(&object.metadata)),
            "WorkerPool" => typed(object).map(|pool| Self::of_pool(&pool)),
            _ => None,
        };
        custom.unwrap_or_else(|| Self::of_built_in(kind, object))
    }

    fn of_built_in(kind: &str, object: &DynamicObject) -> Self {
        let state = match kind {
            "Deployment" => typed(object).map(|deployment: Deployment| ObservedState::Deployment {
                rollout: Rollout::of_deployment(&deployment),
                replicas: deployment.spec.as_ref().and_then(|spec| spec.replicas),
                handed_over: handed_over(object.metadata.managed_fields.iter().flatten()),
            }),
            "StatefulSet" => {
                typed(object).map(|set: StatefulSet| ObservedState::StatefulSet(Rollout::of_stateful_set(&set)))
            }
            "Job" => typed(object).map(|job: Job| ObservedState::Job(JobState::of(&job))),
            "HorizontalPodAutoscaler" => typed(object).map(|autoscaler: HorizontalPodAutoscaler| {
                ObservedState::Autoscaler(autoscaler.status.and_then(|status| status.conditions).unwrap_or_default())
            }),
            "ScaledObject" => {
                Some(ObservedState::Autoscaler(conditions_of_scaled_object(&object.data["status"]["conditions"])))
            }
            _ => None,
        };
        let by_spec = matches!(kind, "HorizontalPodAutoscaler" | "ResourceQuota");
        let spec = by_spec.then(|| digest([object.data["spec"].to_string().as_bytes()]));
        Self::new(&object.metadata, spec, state.unwrap_or(ObservedState::Nothing))
    }

    /// Caches the metadata of an object.
    pub fn of_meta(meta: &ObjectMeta) -> Self {
        Self::new(meta, None, ObservedState::Nothing)
    }

    /// Caches the UID and the version of a Secret.
    pub fn of_secret(meta: &ObjectMeta) -> Self {
        let (uid, resource_version) = (meta.uid.clone(), meta.resource_version.clone());
        Self::of_meta(&ObjectMeta { uid, resource_version, ..ObjectMeta::default() })
    }

    /// Caches a platform.
    pub fn of_platform(platform: &AnalyticsPlatform) -> Self {
        Self::new(&platform.metadata, None, ObservedState::Platform(platform.status.clone().map(Box::new)))
    }

    /// Caches a pool.
    pub fn of_pool(pool: &WorkerPool) -> Self {
        let platform = pool.spec.platform_ref.name.clone();
        Self::new(&pool.metadata, None, ObservedState::Pool { platform, status: pool.status.clone().map(Box::new) })
    }

    fn new(meta: &ObjectMeta, spec: Option<String>, state: ObservedState) -> Self {
        let version = meta.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0);
        let generation = meta.generation.filter(|generation| *generation > 0);
        let spec_version = spec
            .map(SpecVersion::Digest)
            .or(generation.map(SpecVersion::Generation))
            .unwrap_or(SpecVersion::Version(version));
        let meta = ObjectMeta {
            uid: meta.uid.clone(),
            labels: meta.labels.clone(),
            annotations: meta.annotations.clone(),
            owner_references: meta.owner_references.clone(),
            deletion_timestamp: meta.deletion_timestamp.clone(),
            ..ObjectMeta::default()
        };
        Self { meta, version, spec_version, state }
    }

    /// Whether this is the same object as `other`, with the same spec.
    pub fn is_unmodified_since(&self, other: &Self) -> bool {
        self.meta.uid == other.meta.uid && self.spec_version == other.spec_version
    }

    /// Whether this is the same object as `other`, with the same metadata and spec.
    pub fn differs_in_state_only(&self, other: &Self) -> bool {
        self.spec_version == other.spec_version && self.meta == other.meta
    }

    /// Whether the object carries the labels, annotations and owners of `desired`.
    pub fn carries(&self, desired: &ObjectMeta) -> bool {
        fn all<K: Ord, V: PartialEq>(
            desired: Option<&std::collections::BTreeMap<K, V>>,
            have: Option<&std::collections::BTreeMap<K, V>>,
        ) -> bool {
            desired.into_iter().flatten().all(|(key, value)| have.and_then(|have| have.get(key)) == Some(value))
        }
        all(desired.labels.as_ref(), self.meta.labels.as_ref())
            && all(desired.annotations.as_ref(), self.meta.annotations.as_ref())
            && desired
                .owner_references
                .iter()
                .flatten()
                .all(|owner| self.meta.owner_references.iter().flatten().any(|have| have == owner))
    }

    /// The value of one of its labels.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.meta.labels.as_ref()?.get(key).map(String::as_str)
    }
}

fn typed<K: DeserializeOwned>(object: &DynamicObject) -> Option<K> {
    let object = serde_json::to_value(object).and_then(serde_json::from_value);
    object.inspect_err(|error| tracing::warn!(%error, "could not decode object")).ok()
}

/// The `Ready` condition of a ScaledObject as one of a HorizontalPodAutoscaler. None before KEDA
/// has reconciled it.
fn conditions_of_scaled_object(conditions: &Value) -> Vec<HorizontalPodAutoscalerCondition> {
    let text =
        |condition: &Value, field: &str| condition[field].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let ready = conditions.as_array().into_iter().flatten().filter(|condition| condition["type"] == "Ready");
    ready
        .filter(|condition| condition["status"] != "Unknown")
        .map(|condition| HorizontalPodAutoscalerCondition {
            type_: "AbleToScale".into(),
            status: text(condition, "status").unwrap_or_default(),
            reason: text(condition, "reason"),
            message: text(condition, "message"),
            last_transition_time: None,
        })
        .collect()
}

fn handed_over<'a>(mut managers: impl Iterator<Item = &'a ManagedFieldsEntry>) -> bool {
    managers.any(|entry| {
        let replicas = entry.fields_v1.as_ref().is_some_and(|fields| fields.0["f:spec"]["f:replicas"] != Value::Null);
        replicas && entry.manager.as_deref() != Some(names::FIELD_MANAGER)
    })
}
