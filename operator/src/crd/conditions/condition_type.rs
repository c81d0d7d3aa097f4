//! Types of conditions.

use std::fmt;

/// The type of a condition of an `AnalyticsPlatform` or a `WorkerPool`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionType {
    Ready,
    DatabaseReady,
    BrokerReady,
    CacheReady,
    ObjectStoreReady,
    ProfileSourceConfigured,
    ConnectionBudget,
    Exposed,
    Healthy,
    MonitoringConfigured,
    Autoscaling,
    GpuCapacity,
    Accelerated,
    Reconciling,
    Stalled,
}

impl ConditionType {
    /// The value of `type` in a condition.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::DatabaseReady => "DatabaseReady",
            Self::BrokerReady => "BrokerReady",
            Self::CacheReady => "CacheReady",
            Self::ObjectStoreReady => "ObjectStoreReady",
            Self::ProfileSourceConfigured => "ProfileSourceConfigured",
            Self::ConnectionBudget => "ConnectionBudget",
            Self::Exposed => "Exposed",
            Self::Healthy => "Healthy",
            Self::MonitoringConfigured => "MonitoringConfigured",
            Self::Autoscaling => "Autoscaling",
            Self::GpuCapacity => "GpuCapacity",
            Self::Accelerated => "Accelerated",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
        }
    }

    /// Whether the condition repeats `Ready` for kstatus (Argo CD, Flux). It emits no Events.
    pub const fn repeats_ready(self) -> bool {
        matches!(self, Self::Reconciling | Self::Stalled)
    }
}

impl fmt::Display for ConditionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
