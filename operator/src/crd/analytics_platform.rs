//! The `AnalyticsPlatform` custom resource.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use switchyard_contract::{Lane, Pooler, Role};

use crate::crd::{
    duration::Seconds,
    monitoring::{MonitoringSpec, RecoverySpec},
    shared::{Connections, PodTemplate, Resources, SecretRef},
};

/// A platform that analyzes profiles in the background.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "switchyard.dev",
    version = "v1alpha1",
    kind = "AnalyticsPlatform",
    plural = "analyticsplatforms",
    namespaced,
    status = "AnalyticsPlatformStatus",
    derive = "PartialEq",
    shortname = "ap",
    category = "switchyard",
    doc = "AnalyticsPlatform is an analytics back end: an API that accepts analyses, worker pools that run them, and the services that both use.",
    printcolumn(name = "Environment", type_ = "string", json_path = ".spec.environment", description = "Preset of defaults"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status", description = "Whether the platform accepts and runs analyses"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", description = "Reason of the Ready condition"),
    printcolumn(name = "Health", type_ = "integer", json_path = ".status.health", description = "Health score, 0 to 100"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", description = "Message of the Ready condition"),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.url", description = "Address of the API inside the cluster", priority = 1),
    validation = Rule::new("size(self.metadata.name) <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name must be at most 40 characters of a-z, 0-9 and '-', and begin with a letter: Services are named after it"),
)]
#[x_kube(
    validation = Rule::new("self.environment == 'development' || (has(self.database) && has(self.database.secretRef))")
        .message("name your database in spec.database.secretRef: only environment development runs a bundled one"),
    validation = Rule::new("self.environment == 'development' || has(self.broker)")
        .message("name your broker in spec.broker.secretRef: only environment development runs a bundled one"),
    validation = Rule::new("self.environment == 'development' || has(self.cache)")
        .message("name your cache in spec.cache.secretRef: only environment development runs a bundled one"),
    validation = Rule::new("self.environment == 'development' || has(self.objectStore)")
        .message("name your object store in spec.objectStore: only environment development runs a bundled one")
)]
pub struct AnalyticsPlatformSpec {
    /// Preset that supplies the defaults: replicas, resources and, in development, the bundled
    /// services.
    pub environment: Environment,
    /// PostgreSQL database. In development the operator runs a bundled one if `secretRef` is not
    /// set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<DatabaseSource>,
    /// RabbitMQ broker. If not set in development, the operator runs a bundled one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker: Option<Broker>,
    /// Redis cache. If not set in development, the operator runs a bundled one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Cache>,
    /// Bucket for images. If not set in development, the operator runs a bundled S3 server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_store: Option<ObjectStoreSource>,
    /// Source of the profiles. If not set, every analysis fails without a retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile_source: Option<ProfileSourceSpec>,
    /// API server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<Api>,
    /// Limits of the priority lanes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lanes: Option<LaneOverrides>,
    /// Limits and prices of the tenant tiers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tiers: Option<TierOverrides>,
    /// Retries of failed attempts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetrySpec>,
    /// Creates NetworkPolicies that allow only the connections that the platform's pods need.
    /// NetworkPolicies of your own can allow more. Defaults to true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_policies: Option<bool>,
    /// Creates a ResourceQuota and a LimitRange that limit the namespace to 125 % of what the
    /// platform needs at its maximum size. They apply to every pod of the namespace, so set this
    /// only if the platform has the namespace to itself. Defaults to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_limits: Option<bool>,
    /// Metrics, alerts and traces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitoring: Option<MonitoringSpec>,
    /// Automatic recovery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<RecoverySpec>,
    /// While true, the operator changes nothing of this platform and its pools. They keep running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
}

/// Environment is a preset of defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// One small pod of each workload, and a bundled service for each one that is not configured.
    Development,
    /// Like production, but smaller. Every backing service must be configured.
    Staging,
    /// For production load. Every backing service must be configured.
    Production,
}

impl Environment {
    /// The name in YAML.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Staging => "staging",
            Self::Production => "production",
        }
    }
}

/// PostgreSQL 15 or later.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseSource {
    /// Secret with the key `uri` (`postgres://user:password@host:5432/name`). Optional keys:
    /// `admin-uri` (a login that may create roles, used by the setup Job only), `replica-uris`
    /// (read replicas, separated by commas or newlines) and `ca.crt` (CA certificates in PEM). URI
    /// parameters such as `sslmode=verify-full` are respected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// Maximum number of database connections of the whole platform. Defaults to 500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 100_000))]
    pub max_connections: Option<i32>,
    /// Connection pooler between the workloads and PostgreSQL. Defaults to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pooler: Option<Pooler>,
}

/// RabbitMQ 3.10 or later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Broker {
    /// Secret with the key `uri` (`amqp://user:password@host:5672/vhost`, or `amqps://`). Optional
    /// key: `ca.crt` (CA certificates in PEM).
    pub secret_ref: SecretRef,
}

/// Redis 6 or later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cache {
    /// Secret with the key `uri` (`redis://:password@host:6379/0`, or `rediss://`). Optional key:
    /// `ca.crt` (CA certificates in PEM).
    pub secret_ref: SecretRef,
}

/// An S3-compatible bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectStoreSource {
    /// URL of the server, for example `https://s3.eu-central-1.amazonaws.com`.
    #[schemars(length(max = 1024))]
    #[x_kube(validation = Rule::new("self.matches('^https?://[^/?#@\\\\s]+(/[^?#\\\\s]*)?$')")
        .message("endpoint must be a URL such as https://s3.example.com: it begins with http:// or https:// and carries no user, query or fragment"))]
    pub endpoint: String,
    /// Name of the bucket.
    #[schemars(length(min = 3, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9][a-z0-9.-]*[a-z0-9]$')")
        .message("bucket must be 3 to 63 characters of a-z, 0-9, '.' and '-'"))]
    pub bucket: String,
    /// Region. Defaults to us-east-1, which servers without regions accept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub region: Option<String>,
    /// Secret with the keys `access-key` and `secret-key`.
    pub secret_ref: SecretRef,
}

/// The Apify API, or a server with a compatible one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProfileSourceSpec {
    /// URL of the API. Defaults to <https://api.apify.com>.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    #[x_kube(validation = Rule::new("self.matches('^https?://[^/?#@\\\\s]+(/[^?#\\\\s]*)?$')")
        .message("endpoint must be a URL such as https://api.apify.com: it begins with http:// or https:// and carries no user, query or fragment"))]
    pub endpoint: Option<String>,
    /// Actor to run. Defaults to apify~instagram-profile-scraper.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub actor: Option<String>,
    /// Secret with the key `token`.
    pub secret_ref: SecretRef,
}

/// API server: size, resources and exposure.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.replicas) && has(self.scaling))")
        .message("give either api.replicas or api.scaling, not both: remove replicas to let the API be scaled, or scaling to keep it fixed")
)]
pub struct Api {
    /// Number of pods. Cannot be combined with `scaling`. If neither is set: 1 in development, 2 in
    /// staging, and autoscaling between 3 and 10 in production.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000))]
    pub replicas: Option<i32>,
    /// Scales the number of pods with a HorizontalPodAutoscaler. If neither this nor `replicas` is
    /// set, production scales between 3 and 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<ApiScaling>,
    /// Database connections of the API. Defaults to size 100 and overflow 50 of 500 connections, in
    /// proportion to `database.maxConnections`, with waitTimeout 2s and statementTimeout 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<Connections>,
    /// Resources of the `api` container, merged over those of the environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Overrides of the pod template. The container is named `api`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<PodTemplate>,
    /// Ingress that exposes the API outside the cluster. It does not expose the admin API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<IngressOptions>,
    /// HTTPRoute of the Gateway API that exposes the API outside the cluster. It does not expose
    /// the admin API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<RouteOptions>,
}

/// Ingress in front of the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct IngressOptions {
    /// Host name of the API.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')")
        .message("host must be a name such as analytics.example.com: a-z, 0-9, '-' and '.'"))]
    pub host: String,
    /// IngressClass. Defaults to the cluster's default class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub class_name: Option<String>,
    /// Secret of type kubernetes.io/tls for the host. If not set, the Ingress has no `tls` section.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// Annotations of the Ingress, for example `cert-manager.io/cluster-issuer`, or longer timeouts
    /// for requests that stream events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// HTTPRoute in front of the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteOptions {
    /// Host name of the API. The Gateway terminates TLS.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')")
        .message("host must be a name such as analytics.example.com: a-z, 0-9, '-' and '.'"))]
    pub host: String,
    /// Gateways that the route attaches to.
    #[schemars(length(min = 1, max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub parent_refs: Vec<ParentRef>,
}

/// Reference to a Gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParentRef {
    /// Name of the Gateway.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Namespace of the Gateway. Defaults to the namespace of the platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// Listener of the Gateway. Defaults to every listener that accepts the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub section_name: Option<String>,
}

/// Bounds and targets of the autoscaled API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.min <= self.max").message("min must not be above max: lower min or raise max"))]
pub struct ApiScaling {
    /// Minimum number of pods.
    #[schemars(range(min = 1, max = 1_000))]
    pub min: i32,
    /// Maximum number of pods. The API's database connections are divided among this many pods and
    /// one more for a rollout.
    #[schemars(range(min = 1, max = 1_000))]
    pub max: i32,
    /// Target CPU utilization, in percent of the request. Defaults to 70.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000))]
    pub target_cpu: Option<i32>,
    /// Target memory utilization, in percent of the request. Defaults to 80. Set 1000 to scale on
    /// CPU only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000))]
    pub target_memory: Option<i32>,
}

/// Limits of the four priority lanes. A field that is not set keeps its default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LaneOverrides {
    /// Most urgent lane. Defaults to capacity 50, maxRunning 3, timeout 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub critical: Option<LaneOverride>,
    /// Second lane. Defaults to capacity 200, maxRunning 5, timeout 2m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<LaneOverride>,
    /// Third lane. Defaults to capacity 500, maxRunning 8, timeout 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normal: Option<LaneOverride>,
    /// Least urgent lane. Defaults to capacity 1000, maxRunning 4, timeout 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<LaneOverride>,
}

/// Limits of one lane.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LaneOverride {
    /// Maximum number of queued requests. The API refuses further ones with 429 `lane-full`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub capacity: Option<i32>,
    /// Maximum number of analyses of this lane that run at once on the whole platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000))]
    pub max_running: Option<i32>,
    /// Time limit of one attempt of a job, for example `5m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Seconds>,
}

/// Limits of the four tenant tiers. A field that is not set keeps its default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TierOverrides {
    /// Free tier. Defaults to concurrent 2, daily 50, price 1, lane low.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free: Option<TierOverride>,
    /// Standard tier. Defaults to concurrent 5, daily 500, price 2, lane normal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standard: Option<TierOverride>,
    /// Premium tier. Defaults to concurrent 10, daily 2000, price 3, lane high.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub premium: Option<TierOverride>,
    /// Enterprise tier. Defaults to concurrent 20, no daily limit, price 5, lane critical.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enterprise: Option<TierOverride>,
}

/// Limits, price and lane of one tier.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TierOverride {
    /// Maximum number of unfinished analyses of a tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub concurrent: Option<i32>,
    /// Maximum number of analyses of a tenant in one UTC day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub daily: Option<i32>,
    /// Price of one analysis, in whole credits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub price: Option<i32>,
    /// Lane of this tier's analyses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<Lane>,
}

/// Retries of failed attempts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetrySpec {
    /// Delays before the next attempts. A job is dead after as many failures as there are delays.
    /// Defaults to 60s, 120s, 300s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 10), extend("x-kubernetes-list-type" = "atomic"))]
    pub delays: Option<Vec<Seconds>>,
}

/// Observed state of the platform.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnalyticsPlatformStatus {
    /// Generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Preset in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// Address of the API inside the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Health score from 0 to 100, in steps of ten. The metric `switchyard_platform_health_score`
    /// has the exact value. Absent while the API does not report it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<i32>,
    /// Last setup that succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup: Option<SetupStatus>,
    /// Connection budget, one allocation for each database role.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["role"]))]
    pub connections: Vec<ConnectionAllocation>,
    /// Conditions. Always present: `Ready`, `DatabaseReady`, `BrokerReady`, `CacheReady`,
    /// `ObjectStoreReady`, `ProfileSourceConfigured`, `ConnectionBudget`, `Reconciling` and
    /// `Stalled`. `Exposed` is present if `api.ingress` or `api.route` is set, `Healthy` while the
    /// API reports its health, and `MonitoringConfigured` while the API server refuses the
    /// monitoring objects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Last setup that succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SetupStatus {
    /// Name of the setup Job. It ends with a digest of configuration, Secrets and image. Workloads
    /// run with the configuration that this Job prepared.
    pub job: String,
}

/// Allocation of database connections to one database role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionAllocation {
    /// Database role. PostgreSQL limits it to `size` + `overflow` connections.
    pub role: Role,
    /// Number of connections.
    pub size: i32,
    /// Additional connections for peaks.
    pub overflow: i32,
    /// Maximum number of pods at once, including the surge of a rollout.
    pub pods_at_most: i32,
    /// Maximum number of connections that these pods hold together.
    pub used_at_most: i32,
}
