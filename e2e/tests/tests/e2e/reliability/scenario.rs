//! The faults, and for how long each lasts.

use std::time::Duration;

/// A fault of one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    PodsKilled,
    NodeDrained,
    DatabaseKilled,
    DatabaseDown,
    BrokerDown,
    CacheDown,
    ObjectStoreSlow,
    SourceMalformed,
    NetworkPartitioned,
    DiskFull,
    CertificateExpired,
    ClockSkewed,
    DatabaseHung,
    PodPartitioned,
    Failover,
}

use Scenario::{
    BrokerDown, CacheDown, CertificateExpired, ClockSkewed, DatabaseDown, DatabaseHung, DatabaseKilled, DiskFull,
    Failover, NetworkPartitioned, NodeDrained, ObjectStoreSlow, PodPartitioned, PodsKilled, SourceMalformed,
};

impl Scenario {
    /// Faults of a platform with bundled services.
    pub const BUNDLED: [Self; 9] = [
        PodsKilled,
        NodeDrained,
        DatabaseKilled,
        DatabaseDown,
        BrokerDown,
        CacheDown,
        ObjectStoreSlow,
        SourceMalformed,
        NetworkPartitioned,
    ];
    /// Faults of a platform with a user-managed database. The last one leaves a single server.
    pub const USER_MANAGED: [Self; 6] =
        [DiskFull, CertificateExpired, ClockSkewed, DatabaseHung, PodPartitioned, Failover];

    /// The name by which `RELIABILITY` selects the scenario.
    pub const fn name(self) -> &'static str {
        match self {
            PodsKilled => "pods-killed",
            NodeDrained => "node-drained",
            DatabaseKilled => "database-killed",
            DatabaseDown => "database-down",
            BrokerDown => "broker-down",
            CacheDown => "cache-down",
            ObjectStoreSlow => "object-store-slow",
            SourceMalformed => "source-malformed",
            NetworkPartitioned => "network-partitioned",
            DiskFull => "disk-full",
            CertificateExpired => "certificate-expired",
            ClockSkewed => "clock-skewed",
            DatabaseHung => "database-hung",
            PodPartitioned => "pod-partitioned",
            Failover => "failover",
        }
    }

    /// The fault, as docs/measurements/reliability.md names it.
    pub const fn description(self) -> &'static str {
        match self {
            PodsKilled => "a pod of the API or of a worker pool killed every 5 s, for 1 min",
            NodeDrained => "the node drained: every pod of the platform evicted, and the node uncordoned after 30 s",
            DatabaseKilled => "PostgreSQL killed (its StatefulSet recreates the pod)",
            DatabaseDown => "PostgreSQL down for 3 min",
            BrokerDown => "RabbitMQ down for 5 min",
            CacheDown => "Redis down for 2 min",
            ObjectStoreSlow => "the S3 server stopped for 3 s of every 4, for 2 min",
            SourceMalformed => "every second response of the profile source is not JSON, for 2 min",
            NetworkPartitioned => "packets from the only general worker to PostgreSQL dropped for 2 min",
            DiskFull => "the volume of PostgreSQL full for 3 min",
            CertificateExpired => "the certificate of PostgreSQL expired, with every connection terminated, for 3 min",
            ClockSkewed => "the clock of PostgreSQL 5 min ahead for 1 min",
            DatabaseHung => "PostgreSQL hung (its connections stay open) for 7 min",
            PodPartitioned => {
                "packets from one of two general workers to PostgreSQL dropped until the operator replaces its pod"
            }
            Failover => "the primary of PostgreSQL lost; its standby promoted after 30 s",
        }
    }

    /// The alert that must fire, if the fault lasts long enough for one.
    pub const fn alert(self) -> Option<&'static str> {
        match self {
            DiskFull => Some("SwitchyardDatabaseCannotWrite"),
            CertificateExpired | DatabaseDown | DatabaseHung => Some("SwitchyardDatabaseBreakerOpen"),
            BrokerDown => Some("SwitchyardBrokerDisconnected"),
            _ => None,
        }
    }

    /// Duration of the fault; for [`PodPartitioned`] the limit for the operator to replace the pod.
    pub const fn duration(self) -> Duration {
        Duration::from_secs(match self {
            PodsKilled | DatabaseKilled | ClockSkewed => 60,
            NodeDrained | Failover => 30,
            DiskFull | CertificateExpired | DatabaseDown => 180,
            DatabaseHung => 420,
            // The operator waits for five minutes of evidence, and for its next reconcile.
            PodPartitioned => 600,
            BrokerDown => 300,
            CacheDown | ObjectStoreSlow | SourceMalformed | NetworkPartitioned => 120,
        })
    }
}
