use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::Toleration, apimachinery::pkg::apis::meta::v1::Condition};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use switchyard_contract::{Kind, Lane};

use crate::crd::{
    duration::Seconds,
    shared::{Connections, PodTemplate, Resources},
};

/// Workers of one kind that serve one platform.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "switchyard.dev",
    version = "v1alpha1",
    kind = "WorkerPool",
    plural = "workerpools",
    namespaced,
    status = "WorkerPoolStatus",
    derive = "PartialEq",
    shortname = "wp",
    category = "switchyard",
    doc = "Workers of one kind that serve one platform. Becomes a Deployment of the same name.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Platform", type_ = "string", json_path = ".spec.platformRef.name", description = "The platform that it serves"),
    printcolumn(name = "Kind", type_ = "string", json_path = ".spec.kind", description = "What its workers do"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status", description = "Whether it does its work"),
    printcolumn(name = "Desired", type_ = "integer", json_path = ".status.desiredReplicas", description = "Pods that it should have"),
    printcolumn(name = "Ready Pods", type_ = "integer", json_path = ".status.readyReplicas", description = "Pods that are ready"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", description = "Why it is ready or not"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", description = "The same in words", priority = 1),
    validation = Rule::new("size(self.metadata.name) <= 52 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name must be at most 52 characters of a-z, 0-9 and '-', and begin with a letter: objects and labels are named after it"),
)]
#[x_kube(
    validation = Rule::new("!(has(self.replicas) && has(self.scaling))")
        .message("give either replicas or scaling, not both: remove replicas to let the pool be scaled, or scaling to keep it fixed"),
    validation = Rule::new("self.kind == oldSelf.kind").message("kind is immutable: make another WorkerPool and delete this one"),
    validation = Rule::new("self.platformRef.name == oldSelf.platformRef.name")
        .message("platformRef is immutable: make another WorkerPool and delete this one"),
    validation = Rule::new("!has(self.gpu) || self.kind == 'ai'").message("gpu is for pools of kind ai: remove gpu or set kind to ai")
)]
pub struct WorkerPoolSpec {
    /// The `AnalyticsPlatform` that the pool serves, in the same namespace. Immutable.
    pub platform_ref: PlatformRef,
    /// What the workers do. Immutable.
    pub kind: Kind,
    /// The lanes that the pool serves; all of them when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4), extend("x-kubernetes-list-type" = "set"))]
    pub lanes: Option<Vec<Lane>>,
    /// How many pods the pool has. Left out and without `scaling` it is 1. Also set by `kubectl scale`. Never given together with `scaling`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000))]
    pub replicas: Option<i32>,
    /// Lets the number of pods follow the load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<Scaling>,
    /// Jobs that one pod runs at once. Left out: 8, for kind ai 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000))]
    pub concurrency: Option<i32>,
    /// A share of the database connections of the pool's own. Left out: the pool shares the row of its kind with the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<Connections>,
    /// GPUs for each pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<Gpu>,
    /// Resources of the worker's container, over those of the platform's environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Overrides for the pods' template; the container is named `worker`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<PodTemplate>,
}

/// An `AnalyticsPlatform` in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlatformRef {
    /// Name of the platform.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Bounds and aim of a pool whose size follows the load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.min <= self.max").message("min must not be above max: lower min or raise max"),
    validation = Rule::new("!(has(self.targetWait) && has(self.targetBacklog))")
        .message("give either targetWait or targetBacklog, not both")
)]
pub struct Scaling {
    /// Fewest pods.
    #[schemars(range(min = 0, max = 10_000))]
    pub min: i32,
    /// Most pods. The pool's database connections are planned for this many and one more during a rollout.
    #[schemars(range(min = 1, max = 10_000))]
    pub max: i32,
    /// The time that a job should wait at most before it starts, such as `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_wait: Option<Seconds>,
    /// Jobs that may wait for each pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub target_backlog: Option<i32>,
}

/// GPUs of a pool's pods, and where there are some.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gpu {
    /// The extended resource that stands for a GPU; left out `nvidia.com/gpu`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 253))]
    pub resource: Option<String>,
    /// GPUs for each pod.
    #[schemars(range(min = 1, max = 64))]
    pub count: i32,
    /// Labels of the nodes that have them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<BTreeMap<String, String>>,
    /// Taints of those nodes that the pods put up with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub tolerations: Option<Vec<Toleration>>,
    /// RuntimeClass of the pods, for instance `nvidia`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub runtime_class_name: Option<String>,
    /// Whether such nodes are made as they are needed, by a cluster autoscaler: then scaling asks for pods that no node has room for yet. Left out, it
    /// asks for no more than the nodes that are there have GPUs for. Quotas bind either way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes_on_demand: Option<bool>,
}

/// What is going on with a pool.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerPoolStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Pods that the pool should have.
    #[serde(default)]
    pub desired_replicas: i32,
    /// Pods that it has.
    #[serde(default)]
    pub replicas: i32,
    /// Pods that are ready.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Label selector of its pods, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Database connections that one pod may hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections_per_pod: Option<i32>,
    /// `Ready`, `ConnectionBudget`, `Reconciling`, `Stalled`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
