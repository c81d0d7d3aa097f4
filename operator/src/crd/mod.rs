//! The custom resources. The CRDs in `crds/` are generated from these types.

mod analytics_platform;
pub mod conditions;
mod duration;
pub mod generate;
mod monitoring;
mod shared;
mod worker_pool;

pub use analytics_platform::{
    AnalyticsPlatform, AnalyticsPlatformSpec, AnalyticsPlatformStatus, Api, ApiScaling, Broker, Cache,
    ConnectionAllocation, DatabaseSource, Environment, IngressOptions, LaneOverride, LaneOverrides, ObjectStoreSource,
    ParentRef, ProfileSourceSpec, RetrySpec, RouteOptions, SetupStatus, TierOverride, TierOverrides,
};
pub use duration::Seconds;
pub use monitoring::{Alerts, LatencyAlert, MonitoringSpec, PercentAlert, QueueAlert, RecoverySpec, Traces};
pub use shared::{Connections, PodTemplate, Resources, SecretRef};
pub use worker_pool::{Gpu, PlatformRef, Scaling, WorkerPool, WorkerPoolSpec, WorkerPoolStatus};

/// API group of the custom resources.
pub const GROUP: &str = "switchyard.dev";
