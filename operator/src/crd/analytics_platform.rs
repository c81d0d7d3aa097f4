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

/// A platform that analyses profiles in the background.
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
    doc = "An analytics back end: an API that takes analyses, worker pools that run them, and what they need to do so.",
    printcolumn(name = "Environment", type_ = "string", json_path = ".spec.environment", description = "The preset that it starts from"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status", description = "Whether it takes and runs analyses"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", description = "Why it is ready or not"),
    printcolumn(name = "Health", type_ = "integer", json_path = ".status.health", description = "How well it does, 0 to 100"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", description = "The same in words"),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.url", description = "The API inside the cluster", priority = 1),
    validation = Rule::new("size(self.metadata.name) <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name must be at most 40 characters of a-z, 0-9 and '-', and begin with a letter: Services are named after it"),
)]
#[x_kube(
    validation = Rule::new("self.environment == 'development' || (has(self.database) && has(self.database.secretRef))")
        .message("name your database in spec.database.secretRef: only environment development brings one along"),
    validation = Rule::new("self.environment == 'development' || has(self.broker)")
        .message("name your broker in spec.broker.secretRef: only environment development brings one along"),
    validation = Rule::new("self.environment == 'development' || has(self.cache)")
        .message("name your cache in spec.cache.secretRef: only environment development brings one along"),
    validation = Rule::new("self.environment == 'development' || has(self.objectStore)")
        .message("name your object store in spec.objectStore: only environment development brings one along")
)]
pub struct AnalyticsPlatformSpec {
    /// The preset that everything left out is taken from: replicas, resources, and in development the bundled backing services.
    pub environment: Environment,
    /// PostgreSQL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<DatabaseSource>,
    /// RabbitMQ. Left out, in development one is brought along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker: Option<Broker>,
    /// Redis. Left out, in development one is brought along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Cache>,
    /// A bucket for images. Left out, in development an S3 server is brought along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_store: Option<ObjectStoreSource>,
    /// Where profiles come from. Left out, every analysis fails for good and says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile_source: Option<ProfileSourceSpec>,
    /// The API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<Api>,
    /// What each lane admits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lanes: Option<LaneOverrides>,
    /// What each tier of tenants may do and pays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tiers: Option<TierOverrides>,
    /// What happens to a failed attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetrySpec>,
    /// Whether NetworkPolicies close the platform's pods to all connections but those that they need. Left out: true. Policies of your own may open more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_policies: Option<bool>,
    /// Whether the namespace is the platform's own, so that a ResourceQuota and a LimitRange hold it to what the platform needs at its most and a
    /// quarter more. Left out: false, since a quota holds everybody in the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_limits: Option<bool>,
    /// How the platform is watched, and when somebody is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitoring: Option<MonitoringSpec>,
    /// What is healed without anybody asking for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<RecoverySpec>,
    /// While true the operator changes nothing of this platform and its pools; they go on running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
}

/// A preset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// One of each, small, with bundled backing services for whatever is not named.
    Development,
    /// Like production, smaller. Every backing service must be named.
    Staging,
    /// For real load. Every backing service must be named.
    Production,
}

impl Environment {
    /// Its name in YAML.
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
    /// A Secret with the key `uri` (`postgres://user:password@host:5432/name`), and if wanted `admin-uri` (a login that may create roles; it is used
    /// by the setup Job alone), `replica-uris` (read replicas, separated by commas or line ends) and `ca.crt` (the roots, in PEM, that certificates are
    /// checked against). `?sslmode=verify-full` and the like in an address are obeyed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// Connections that the platform may use in all. Left out: 500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 100_000))]
    pub max_connections: Option<i32>,
    /// What stands between the workloads and PostgreSQL. Left out: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pooler: Option<Pooler>,
}

/// RabbitMQ 3.10 or later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Broker {
    /// A Secret with the key `uri` (`amqp://user:password@host:5672/vhost`, or `amqps://`), and if wanted `ca.crt` (the roots, in PEM, that its
    /// certificate is checked against).
    pub secret_ref: SecretRef,
}

/// Redis 6 or later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cache {
    /// A Secret with the key `uri` (`redis://:password@host:6379/0`, or `rediss://`), and if wanted `ca.crt` (the roots, in PEM, that its certificate is
    /// checked against).
    pub secret_ref: SecretRef,
}

/// An S3-compatible bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectStoreSource {
    /// Address of the server, for instance `https://s3.eu-central-1.amazonaws.com`.
    #[schemars(length(max = 1024))]
    #[x_kube(validation = Rule::new("self.matches('^https?://[^/?#@\\\\s]+(/[^?#\\\\s]*)?$')")
        .message("endpoint must be a URL such as https://s3.example.com: it begins with http:// or https:// and carries no user, query or fragment"))]
    pub endpoint: String,
    /// Name of the bucket.
    #[schemars(length(min = 3, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9][a-z0-9.-]*[a-z0-9]$')")
        .message("bucket must be 3 to 63 characters of a-z, 0-9, '.' and '-'"))]
    pub bucket: String,
    /// Region. Left out: us-east-1, which servers without regions take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub region: Option<String>,
    /// A Secret with the keys `access-key` and `secret-key`.
    pub secret_ref: SecretRef,
}

/// Apify's API, or what speaks its protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProfileSourceSpec {
    /// Address of the API. Left out: https://api.apify.com.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    #[x_kube(validation = Rule::new("self.matches('^https?://[^/?#@\\\\s]+(/[^?#\\\\s]*)?$')")
        .message("endpoint must be a URL such as https://api.apify.com: it begins with http:// or https:// and carries no user, query or fragment"))]
    pub endpoint: Option<String>,
    /// The actor to run. Left out: apify~instagram-profile-scraper.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub actor: Option<String>,
    /// A Secret with the key `token`.
    pub secret_ref: SecretRef,
}

/// The API's pods.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.replicas) && has(self.scaling))")
        .message("give either api.replicas or api.scaling, not both: remove replicas to let the API be scaled, or scaling to keep it fixed")
)]
pub struct Api {
    /// How many pods. Left out and without `scaling`: 1 in development, 2 in staging, and in production 3 to 10 as the load wants it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000))]
    pub replicas: Option<i32>,
    /// Lets the number of pods follow the load, by a HorizontalPodAutoscaler. Left out: in production 3 to 10, unless `replicas` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<ApiScaling>,
    /// The API's share of the database connections. Left out: 100 and 50 overflow, 2s to wait, 10s for a statement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<Connections>,
    /// Resources of the API's container, over those of the environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Overrides for the pods' template; the container is named `api`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<PodTemplate>,
    /// An Ingress that leads callers from outside to the API. The admin's calls stay inside the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<IngressOptions>,
    /// An HTTPRoute of the Gateway API that does the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<RouteOptions>,
}

/// An Ingress in front of the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct IngressOptions {
    /// The host name that callers use.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')")
        .message("host must be a name such as analytics.example.com: a-z, 0-9, '-' and '.'"))]
    pub host: String,
    /// The class of the Ingress. Left out: the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub class_name: Option<String>,
    /// A Secret of type kubernetes.io/tls for the host. Left out: whatever the Ingress controller does without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// Annotations, for instance `cert-manager.io/cluster-issuer`, or longer timeouts for the calls that wait for events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// An HTTPRoute in front of the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteOptions {
    /// The host name that callers use. TLS is the Gateway's.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')")
        .message("host must be a name such as analytics.example.com: a-z, 0-9, '-' and '.'"))]
    pub host: String,
    /// The Gateways that take it in.
    #[schemars(length(min = 1, max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub parent_refs: Vec<ParentRef>,
}

/// A Gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParentRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its namespace. Left out: the platform's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// The listener of it. Left out: every one that takes the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub section_name: Option<String>,
}

/// Bounds of an API whose size follows the load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.min <= self.max").message("min must not be above max: lower min or raise max"))]
pub struct ApiScaling {
    /// Fewest pods.
    #[schemars(range(min = 1, max = 1_000))]
    pub min: i32,
    /// Most pods. The API's database connections are planned for this many and one more during a rollout.
    #[schemars(range(min = 1, max = 1_000))]
    pub max: i32,
    /// CPU use, in percent of the request, that the number of pods aims at. Left out: 70.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000))]
    pub target_cpu: Option<i32>,
    /// Memory use, in percent of the request, that the number of pods aims at. Left out: 80. 1000 leaves
    /// memory out of account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000))]
    pub target_memory: Option<i32>,
}

/// Limits of the four lanes; what is left out keeps its default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LaneOverrides {
    /// For what cannot wait. Left out: capacity 50, maxRunning 3, timeout 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub critical: Option<LaneOverride>,
    /// Left out: capacity 200, maxRunning 5, timeout 2m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<LaneOverride>,
    /// Left out: capacity 500, maxRunning 8, timeout 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normal: Option<LaneOverride>,
    /// For what can wait. Left out: capacity 1000, maxRunning 4, timeout 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<LaneOverride>,
}

/// Limits of one lane.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LaneOverride {
    /// Requests that may be queued at once; past it a request is refused with `lane-full`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub capacity: Option<i32>,
    /// Analyses of this lane that may run at once on the whole platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000))]
    pub max_running: Option<i32>,
    /// How long one attempt of a job may run, such as `5m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Seconds>,
}

/// The four tiers; what is left out keeps its default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TierOverrides {
    /// Left out: 2 at once, 50 a day, 1 credit, lane low.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free: Option<TierOverride>,
    /// Left out: 5 at once, 500 a day, 2 credits, lane normal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standard: Option<TierOverride>,
    /// Left out: 10 at once, 2000 a day, 3 credits, lane high.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub premium: Option<TierOverride>,
    /// Left out: 20 at once, any number a day, 5 credits, lane critical.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enterprise: Option<TierOverride>,
}

/// Limits, price and lane of one tier.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TierOverride {
    /// Analyses that may be unfinished at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub concurrent: Option<i32>,
    /// Analyses accepted in one UTC day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub daily: Option<i32>,
    /// Whole credits taken for one analysis.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub price: Option<i32>,
    /// The lane that this tier's analyses run in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<Lane>,
}

/// What happens to a failed attempt.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetrySpec {
    /// Waits before the next attempts. A job is dead after as many failures as there are delays. Left out: 60s, 120s, 300s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 10), extend("x-kubernetes-list-type" = "atomic"))]
    pub delays: Option<Vec<Seconds>>,
}

/// What is going on with a platform.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnalyticsPlatformStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The preset in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// Address of the API inside the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// How well it does, 0 to 100, in steps of ten; the metric `switchyard_platform_health_score` has it in full. Absent while the API does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<i32>,
    /// The last setup that succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup: Option<SetupStatus>,
    /// The connection budget, row by row.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["role"]))]
    pub connections: Vec<ConnectionAllocation>,
    /// `Ready`, `DatabaseReady`, `BrokerReady`, `CacheReady`, `ObjectStoreReady`, `ProfileSourceConfigured`, `ConnectionBudget`, `Exposed`, `Healthy`, `Watched`, `Reconciling`, `Stalled`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// The last setup that succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SetupStatus {
    /// Name of its Job, which carries a digest of configuration, Secrets and image. Workloads are rolled out to what this setup prepared.
    pub job: String,
}

/// One row of the connection budget: a database role and what may log in as it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionAllocation {
    /// The database role; PostgreSQL holds it to `size` + `overflow` connections.
    pub role: Role,
    /// Connections.
    pub size: i32,
    /// Connections on top of `size` for peaks.
    pub overflow: i32,
    /// Pods that may be there at once, surge included.
    pub pods_at_most: i32,
    /// Connections that those pods may hold at most, all together.
    pub used_at_most: i32,
}
