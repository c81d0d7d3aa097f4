//! Counters of automatic recoveries. The database keeps a record of them for people
//! ([`Store::recovered`](crate::store::Store::recovered)).

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

/// An automatic recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A worker near its memory limit drained and exited, to be restarted.
    MemoryDrain,
    /// The lease of a silent worker expired, and its job was queued for another attempt.
    LeaseReopened,
    /// A job that crashed its workers was quarantined.
    JobQuarantined,
}

impl Action {
    /// All actions.
    pub const ALL: [Self; 3] = [Self::MemoryDrain, Self::LeaseReopened, Self::JobQuarantined];

    /// The name in metrics, in the database and in Kubernetes Events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MemoryDrain => "memory-drain",
            Self::LeaseReopened => "lease-reopened",
            Self::JobQuarantined => "job-quarantined",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    action: &'static str,
}

/// Recoveries of this process. Clones share the counters.
#[derive(Debug, Clone, Default)]
pub struct Recoveries(Family<Labels, Counter>);

impl Recoveries {
    /// Registers the counters.
    pub fn register(registry: &mut Registry) -> Self {
        let recoveries = Self::default();
        // `increase()` does not see a counter that starts at 1.
        for action in Action::ALL {
            drop(recoveries.0.get_or_create(&Labels { action: action.as_str() }));
        }
        registry.register("switchyard_recoveries", "Automatic recoveries, by action", recoveries.0.clone());
        recoveries
    }

    /// Counts a recovery.
    pub fn count(&self, action: Action) {
        self.0.get_or_create(&Labels { action: action.as_str() }).inc();
    }
}
