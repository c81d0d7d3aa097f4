//! The spec of a platform with all defaults applied. Pure.

use switchyard_contract::{Analysis, LaneLimits, Lanes, Pooler, Recovery, Retry, Role, TierLimits, Tiers};

use crate::{
    crd::{
        AnalyticsPlatformSpec, Environment, IngressOptions, LaneOverride, ObjectStoreSource, PodTemplate, Resources,
        RouteOptions, TierOverride,
    },
    spec::{
        connection_budget::{ApiDemand, DEFAULT_MAX, Share, count, share},
        defaults::{self, Targets},
        monitoring::Monitoring,
        replicas::{Replicas, ScalingBounds},
    },
};

/// The source of a backing service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source<T> {
    /// The operator runs a bundled one.
    Bundled,
    /// The user provides it.
    Named(T),
}

impl<T> Source<T> {
    /// Whether the operator runs a bundled one.
    pub const fn is_bundled(&self) -> bool {
        matches!(self, Self::Bundled)
    }
}

/// The source of the profiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileSource {
    pub endpoint: String,
    pub actor: String,
    pub secret: String,
}

/// The spec of a platform with all defaults applied. Secrets are references; their values are not
/// read.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a field of the spec")]
pub struct Settings {
    pub namespace: String,
    pub name: String,
    pub environment: Environment,
    pub paused: bool,
    pub network_policies: bool,
    pub namespace_limits: bool,
    pub database: Source<String>,
    pub broker: Source<String>,
    pub cache: Source<String>,
    pub object_store: Source<ObjectStoreSource>,
    pub profile_source: Option<ProfileSource>,
    pub max_connections: u32,
    pub pooler: Pooler,
    pub lanes: Lanes,
    pub tiers: Tiers,
    pub retry: Retry,
    pub analysis: Analysis,
    pub api_replicas: Replicas,
    pub api_targets: Targets,
    pub api_share: Share,
    pub api_resources: Resources,
    pub api_pod_template: Option<PodTemplate>,
    pub ingress: Option<IngressOptions>,
    pub route: Option<RouteOptions>,
    pub monitoring: Monitoring,
    /// Whether pods that stay unready are replaced.
    pub replace_pods: bool,
    pub recovery: Recovery,
}

impl Settings {
    /// The settings of the platform `namespace`/`name`.
    pub fn of(namespace: &str, name: &str, spec: &AnalyticsPlatformSpec) -> Self {
        let environment = spec.environment;
        let database = spec.database.clone().unwrap_or_default();
        let api = spec.api.clone().unwrap_or_default();
        let scaling = api.scaling.as_ref();
        let max_connections = database.max_connections.map_or(DEFAULT_MAX, count);
        let named = |name: Option<&String>| name.map_or(Source::Bundled, |name| Source::Named(name.clone()));
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            environment,
            paused: spec.paused.unwrap_or(false),
            namespace_limits: spec.namespace_limits.unwrap_or(false),
            network_policies: spec.network_policies.unwrap_or(true),
            database: named(database.secret_ref.as_ref().map(|secret| &secret.name)),
            broker: named(spec.broker.as_ref().map(|broker| &broker.secret_ref.name)),
            cache: named(spec.cache.as_ref().map(|cache| &cache.secret_ref.name)),
            object_store: spec.object_store.clone().map_or(Source::Bundled, Source::Named),
            profile_source: spec.profile_source.as_ref().map(|source| ProfileSource {
                endpoint: source.endpoint.clone().unwrap_or_else(|| "https://api.apify.com".into()),
                actor: source.actor.clone().unwrap_or_else(|| "apify~instagram-profile-scraper".into()),
                secret: source.secret_ref.name.clone(),
            }),
            max_connections,
            pooler: database.pooler.unwrap_or(Pooler::None),
            lanes: lanes(spec),
            tiers: tiers(spec),
            retry: spec.retry.as_ref().and_then(|retry| retry.delays.as_ref()).map_or_else(Retry::default, |delays| {
                Retry { delays_seconds: delays.iter().map(|delay| delay.0).collect() }
            }),
            analysis: Analysis::default(),
            api_replicas: Replicas::of(
                api.replicas,
                scaling
                    .map(ScalingBounds::from)
                    .or_else(|| default_api_scaling(environment).filter(|_| api.replicas.is_none())),
                defaults::api_replicas(environment),
            ),
            api_targets: Targets {
                cpu: scaling.and_then(|scaling| scaling.target_cpu).unwrap_or(defaults::API_TARGETS.cpu),
                memory: scaling.and_then(|scaling| scaling.target_memory).unwrap_or(defaults::API_TARGETS.memory),
            },
            api_share: share(Share::default_of(Role::Api, max_connections), api.connections.as_ref()),
            api_resources: defaults::api_resources(environment).overridden_by(api.resources.as_ref()),
            api_pod_template: api.pod_template,
            ingress: api.ingress,
            route: api.route,
            monitoring: Monitoring::of(spec.monitoring.as_ref()),
            replace_pods: spec.recovery.and_then(|recovery| recovery.replace_pods).unwrap_or(true),
            recovery: Recovery {
                quarantine_jobs: spec.recovery.and_then(|recovery| recovery.quarantine_jobs).unwrap_or(true),
            },
        }
    }

    /// The connections that the API requests of the connection budget.
    pub fn api_demand(&self) -> ApiDemand {
        ApiDemand {
            share: self.api_share,
            pods_at_most: self.api_replicas.pods_at_most(),
            bound: self.api_replicas.bound(),
        }
    }

    /// Address of the API inside the cluster.
    pub fn url(&self) -> String {
        format!("http://{}-api.{}.svc", self.name, self.namespace)
    }
}

/// The default bounds of the API.
fn default_api_scaling(environment: Environment) -> Option<ScalingBounds> {
    defaults::api_scaling(environment).map(|(min, max)| ScalingBounds::new(min, max))
}

fn lanes(spec: &AnalyticsPlatformSpec) -> Lanes {
    let defaults = Lanes::default();
    let over = spec.lanes.clone().unwrap_or_default();
    let lane = |default: LaneLimits, over: Option<LaneOverride>| {
        let over = over.unwrap_or_default();
        LaneLimits {
            capacity: over.capacity.map_or(default.capacity, count),
            max_running: over.max_running.map_or(default.max_running, count),
            timeout_seconds: over.timeout.map_or(default.timeout_seconds, |timeout| timeout.0),
        }
    };
    Lanes {
        critical: lane(defaults.critical, over.critical),
        high: lane(defaults.high, over.high),
        normal: lane(defaults.normal, over.normal),
        low: lane(defaults.low, over.low),
    }
}

fn tiers(spec: &AnalyticsPlatformSpec) -> Tiers {
    let defaults = Tiers::default();
    let over = spec.tiers.clone().unwrap_or_default();
    let tier = |default: TierLimits, over: Option<TierOverride>| {
        let over = over.unwrap_or_default();
        TierLimits {
            concurrent: over.concurrent.map_or(default.concurrent, count),
            daily: over.daily.map(count).or(default.daily),
            price: over.price.map_or(default.price, count),
            lane: over.lane.unwrap_or(default.lane),
        }
    };
    Tiers {
        free: tier(defaults.free, over.free),
        standard: tier(defaults.standard, over.standard),
        premium: tier(defaults.premium, over.premium),
        enterprise: tier(defaults.enterprise, over.enterprise),
    }
}
