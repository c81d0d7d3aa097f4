//! The `WorkerPool` custom resource.

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

/// Workers of one kind for one platform.
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
    doc = "WorkerPool is a set of workers of one kind for one AnalyticsPlatform. The operator runs it as a Deployment of the same name.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Platform", type_ = "string", json_path = ".spec.platformRef.name", description = "AnalyticsPlatform of the pool"),
    printcolumn(name = "Kind", type_ = "string", json_path = ".spec.kind", description = "Kind of work"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status", description = "Whether the pool serves"),
    printcolumn(name = "Desired", type_ = "integer", json_path = ".status.desiredReplicas", description = "Desired number of pods"),
    printcolumn(name = "Ready Pods", type_ = "integer", json_path = ".status.readyReplicas", description = "Number of ready pods"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", description = "Reason of the Ready condition"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", description = "Message of the Ready condition", priority = 1),
    validation = Rule::new("size(self.metadata.name) <= 52 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name must be at most 52 characters of a-z, 0-9 and '-', and begin with a letter: objects and labels are named after it"),
)]
#[x_kube(
    validation = Rule::new("!(has(self.replicas) && has(self.scaling))")
        .message("give either replicas or scaling, not both: remove replicas to let the pool be scaled, or scaling to keep it fixed"),
    validation = Rule::new("self.kind == oldSelf.kind").message("kind is immutable: create another WorkerPool and delete this one"),
    validation = Rule::new("self.platformRef.name == oldSelf.platformRef.name")
        .message("platformRef is immutable: create another WorkerPool and delete this one"),
    validation = Rule::new("!has(self.gpu) || self.kind == 'ai'").message("gpu is for pools of kind ai: remove gpu or set kind to ai")
)]
pub struct WorkerPoolSpec {
    /// AnalyticsPlatform of the pool, in the same namespace. Immutable.
    pub platform_ref: PlatformRef,
    /// Kind of work: `general` fetches profiles and joins the results, `cdn` stores images,
    /// `discovery` finds related profiles, and `ai` runs the models. Immutable.
    pub kind: Kind,
    /// Lanes that the pool serves. Defaults to all lanes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4), extend("x-kubernetes-list-type" = "set"))]
    pub lanes: Option<Vec<Lane>>,
    /// Number of pods. Cannot be combined with `scaling`. Defaults to 1 if neither is set. `kubectl
    /// scale` sets this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000))]
    pub replicas: Option<i32>,
    /// Scales the number of pods with the load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<Scaling>,
    /// Number of jobs that one pod runs at once. Defaults to 2 for kind ai and to 8 for other
    /// kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000))]
    pub concurrency: Option<i32>,
    /// Database connections of this pool alone, in addition to the allocation of its database role.
    /// If not set, the pool shares that allocation with the other pools of the role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<Connections>,
    /// GPUs of the pods. Only for kind ai.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<Gpu>,
    /// Resources of the `worker` container, merged over those of the platform's environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Overrides of the pod template. The container is named `worker`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<PodTemplate>,
}

/// Reference to an `AnalyticsPlatform` in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlatformRef {
    /// Name of the AnalyticsPlatform.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Bounds and target of a scaled pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.min <= self.max").message("min must not be above max: lower min or raise max"),
    validation = Rule::new("!(has(self.targetWait) && has(self.targetBacklog))")
        .message("give either targetWait or targetBacklog, not both")
)]
pub struct Scaling {
    /// Minimum number of pods. With 0 the pool scales to zero while it is idle.
    #[schemars(range(min = 0, max = 10_000))]
    pub min: i32,
    /// Maximum number of pods. The connection budget plans for this many pods and one more for a
    /// rollout.
    #[schemars(range(min = 1, max = 10_000))]
    pub max: i32,
    /// Target for the time that a job waits before it starts, for example `30s`. Defaults to 30s.
    /// Cannot be combined with `targetBacklog`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_wait: Option<Seconds>,
    /// Target for the number of waiting jobs for each pod. Cannot be combined with `targetWait`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub target_backlog: Option<i32>,
}

/// GPUs of the pods, and the nodes that have them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gpu {
    /// Extended resource of a GPU. Defaults to nvidia.com/gpu.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 253))]
    pub resource: Option<String>,
    /// Number of GPUs of each pod.
    #[schemars(range(min = 1, max = 64))]
    pub count: i32,
    /// Labels of the nodes with GPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<BTreeMap<String, String>>,
    /// Tolerations of the pods for the taints of these nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub tolerations: Option<Vec<Toleration>>,
    /// RuntimeClass of the pods, for example `nvidia`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub runtime_class_name: Option<String>,
    /// Set to true if a cluster autoscaler adds nodes with GPUs. Otherwise the pool scales only to
    /// as many pods as the existing nodes have GPUs for. ResourceQuotas limit it in both cases.
    /// Defaults to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes_on_demand: Option<bool>,
}

/// Observed state of the pool.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerPoolStatus {
    /// Generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Desired number of pods.
    #[serde(default)]
    pub desired_replicas: i32,
    /// Number of pods.
    #[serde(default)]
    pub replicas: i32,
    /// Number of ready pods.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Label selector of the pods, in string form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Maximum number of database connections of one pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections_per_pod: Option<i32>,
    /// Conditions. Always present: `Ready`, `Reconciling` and `Stalled`. `ConnectionBudget` is
    /// present once the budget is computed, `Autoscaling` while the pool is scaled. `Accelerated`
    /// is present once a pod with a GPU reports its execution provider, `GpuCapacity` while a
    /// scaled pool requests GPUs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
