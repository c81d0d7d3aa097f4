//! What a process heals without anybody asking, as its metrics count it. People read of it in the database ([`Store::recovered`](crate::store::Store::recovered)).

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A worker near its memory limit finished its jobs and ended, to be started anew.
    MemoryDrain,
    /// The job of a worker that went silent went to another attempt.
    LeaseReopened,
    /// A job that took workers down is dead before it takes down more.
    JobQuarantined,
}

impl Action {
    /// Every one of them.
    pub const ALL: [Self; 3] = [Self::MemoryDrain, Self::LeaseReopened, Self::JobQuarantined];

    /// As metrics, the database and Events name it.
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

/// The counters of one process. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Recoveries(Family<Labels, Counter>);

impl Recoveries {
    /// Makes the counters, and shows them in `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let recoveries = Self::default();
        // From the beginning: a counter that begins at 1 shows no increase.
        for action in Action::ALL {
            drop(recoveries.0.get_or_create(&Labels { action: action.as_str() }));
        }
        registry.register("switchyard_recoveries", "What was healed without anybody asking", recoveries.0.clone());
        recoveries
    }

    /// Counts one.
    pub fn count(&self, action: Action) {
        self.0.get_or_create(&Labels { action: action.as_str() }).inc();
    }
}
