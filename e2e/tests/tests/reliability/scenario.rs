//! What is broken, and for how long.

use std::time::Duration;

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    PodsKilled,
    NodeDrained,
    DatabaseKilled,
    DatabaseAway,
    BrokerAway,
    CacheAway,
    StoreSlow,
    SourceRubbish,
    NetworkCut,
    DiskFull,
    CertificateExpired,
    ClockJumps,
    DatabaseSilent,
    PodSick,
    FailsOver,
}

use Scenario::{
    BrokerAway, CacheAway, CertificateExpired, ClockJumps, DatabaseAway, DatabaseKilled, DatabaseSilent, DiskFull,
    FailsOver, NetworkCut, NodeDrained, PodSick, PodsKilled, SourceRubbish, StoreSlow,
};

impl Scenario {
    /// Of a platform with bundled servers.
    pub const BUNDLED: [Self; 9] = [
        PodsKilled,
        NodeDrained,
        DatabaseKilled,
        DatabaseAway,
        BrokerAway,
        CacheAway,
        StoreSlow,
        SourceRubbish,
        NetworkCut,
    ];
    /// Of a platform whose database is a pair of the user's own. The last one leaves a single server.
    pub const OWN: [Self; 6] = [DiskFull, CertificateExpired, ClockJumps, DatabaseSilent, PodSick, FailsOver];

    pub const fn name(self) -> &'static str {
        match self {
            PodsKilled => "pods-killed",
            NodeDrained => "node-drained",
            DatabaseKilled => "database-killed",
            DatabaseAway => "database-away",
            BrokerAway => "broker-away",
            CacheAway => "cache-away",
            StoreSlow => "store-slow",
            SourceRubbish => "source-rubbish",
            NetworkCut => "network-cut",
            DiskFull => "disk-full",
            CertificateExpired => "certificate-expired",
            ClockJumps => "clock-jumps",
            DatabaseSilent => "database-silent",
            PodSick => "pod-sick",
            FailsOver => "fails-over",
        }
    }

    pub const fn words(self) -> &'static str {
        match self {
            PodsKilled => "a pod of the API or of a worker pool killed every 5 s, for a minute",
            NodeDrained => "the node drained: every pod of the platform evicted, and half a minute later let back",
            DatabaseKilled => "PostgreSQL killed (its pod comes back by itself)",
            DatabaseAway => "PostgreSQL away for 3 min",
            BrokerAway => "RabbitMQ away for 5 min",
            CacheAway => "Redis away for 2 min",
            StoreSlow => "the S3 server stopped for 3 s of every 4, for 2 min",
            SourceRubbish => "every second profile from the source is no JSON, for 2 min",
            NetworkCut => "no packet from the general worker to PostgreSQL, for 2 min",
            DiskFull => "the volume of PostgreSQL full, for 3 min",
            CertificateExpired => "the certificate of PostgreSQL expired and every connection made anew, for 3 min",
            ClockJumps => "the clock of PostgreSQL 5 min ahead, for a minute",
            DatabaseSilent => "PostgreSQL stopped without a word (its connections stay open), for 7 min",
            PodSick => {
                "no packet from one of two general workers to PostgreSQL, until the operator has replaced its pod"
            }
            FailsOver => "the primary of PostgreSQL lost; 30 s later its standby is promoted",
        }
    }

    /// The alert by which it has to be known, where it lasts long enough for one.
    pub const fn alert(self) -> Option<&'static str> {
        match self {
            DiskFull => Some("SwitchyardDatabaseCannotWrite"),
            CertificateExpired | DatabaseAway | DatabaseSilent => Some("SwitchyardDatabaseBreakerOpen"),
            BrokerAway => Some("SwitchyardBrokerDisconnected"),
            _ => None,
        }
    }

    pub const fn lasts(self) -> Duration {
        Duration::from_secs(match self {
            PodsKilled | DatabaseKilled | ClockJumps => 60,
            NodeDrained | FailsOver => 30,
            DiskFull | CertificateExpired | DatabaseAway => 180,
            DatabaseSilent => 420,
            // As long as that takes: five minutes of evidence, and the next look.
            PodSick => 600,
            BrokerAway => 300,
            CacheAway | StoreSlow | SourceRubbish | NetworkCut => 120,
        })
    }
}
