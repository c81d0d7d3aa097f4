//! Which conditions each kind has, and with which reasons.

use crate::crd::conditions::{ConditionType, Reason};

/// The statuses of a condition with a reason, such as `True`.
pub type Statuses = &'static [&'static str];

/// A condition type of one kind.
#[derive(Debug)]
pub struct Documented {
    /// The type.
    pub kind: ConditionType,
    /// What the condition reports.
    pub meaning: &'static str,
    /// When the object has it; empty if always.
    pub present: &'static str,
    /// Its reasons.
    pub rows: &'static [Row],
}

/// A reason of a condition type.
#[derive(Debug)]
pub struct Row {
    /// The reason.
    pub reason: Reason,
    /// The statuses that occur with it.
    pub statuses: Statuses,
    /// What it says here; `None` if the same as for all types.
    pub here: Option<&'static str>,
    /// What to do here; `None` if the same as for all types.
    pub remedy: Option<&'static str>,
}

impl Row {
    /// What the reason says.
    pub fn meaning(&self) -> &'static str {
        self.here.unwrap_or_else(|| self.reason.meaning())
    }

    /// What to do; empty if nothing is to be done.
    pub fn remedy(&self) -> &'static str {
        self.remedy.unwrap_or_else(|| self.reason.remedy())
    }
}

const TRUE: Statuses = &["True"];
const FALSE: Statuses = &["False"];
const UNKNOWN: Statuses = &["Unknown"];

const fn on(statuses: Statuses, reason: Reason) -> Row {
    Row { reason, statuses, here: None, remedy: None }
}

const fn here(statuses: Statuses, reason: Reason, meaning: &'static str) -> Row {
    Row { reason, statuses, here: Some(meaning), remedy: None }
}

const fn fixed_by(statuses: Statuses, reason: Reason, meaning: &'static str, remedy: &'static str) -> Row {
    Row { reason, statuses, here: Some(meaning), remedy: Some(remedy) }
}

/// Reasons of a backing service.
const BACKING: &[Row] = &[
    on(TRUE, Reason::SetupSucceeded),
    on(TRUE, Reason::Reached),
    here(FALSE, Reason::Starting, "The bundled server is not ready."),
    fixed_by(
        FALSE,
        Reason::SetupFailed,
        "The setup Job cannot reach the service, or the service refused the login.",
        "Correct the Secret that the message names, or the service.",
    ),
    on(FALSE, Reason::SecretMissing),
    on(FALSE, Reason::SecretKeyMissing),
    on(FALSE, Reason::SecretKeyEmpty),
    on(FALSE, Reason::SecretInvalid),
    on(UNKNOWN, Reason::NotChecked),
];

/// The conditions of an `AnalyticsPlatform`, in the order of its status.
pub const PLATFORM: &[Documented] = &[
    Documented {
        kind: ConditionType::Ready,
        meaning: "Whether the platform accepts and runs analyses.",
        present: "",
        rows: &[
            here(TRUE, Reason::Serving, "The API and each default pool have a ready pod."),
            here(
                FALSE,
                Reason::Starting,
                "The platform waits for servers, the API or pools. The message names them, and why their pods do not \
                 start.",
            ),
            on(FALSE, Reason::SettingUp),
            on(FALSE, Reason::SetupFailed),
            on(FALSE, Reason::SecretMissing),
            on(FALSE, Reason::SecretKeyMissing),
            on(FALSE, Reason::SecretKeyEmpty),
            on(FALSE, Reason::SecretInvalid),
            on(FALSE, Reason::ConnectionBudgetExceeded),
            on(FALSE, Reason::PodTemplateInvalid),
            on(FALSE, Reason::Refused),
            on(FALSE, Reason::Forbidden),
        ],
    },
    Documented {
        kind: ConditionType::DatabaseReady,
        meaning: "Whether the platform reaches PostgreSQL.",
        present: "",
        rows: BACKING,
    },
    Documented {
        kind: ConditionType::BrokerReady,
        meaning: "Whether the platform reaches RabbitMQ.",
        present: "",
        rows: BACKING,
    },
    Documented {
        kind: ConditionType::CacheReady,
        meaning: "Whether the platform reaches Redis.",
        present: "",
        rows: BACKING,
    },
    Documented {
        kind: ConditionType::ObjectStoreReady,
        meaning: "Whether the platform reaches the bucket for images.",
        present: "",
        rows: BACKING,
    },
    Documented {
        kind: ConditionType::ProfileSourceConfigured,
        meaning: "Whether the platform has a source of profiles.",
        present: "",
        rows: &[
            on(TRUE, Reason::Configured),
            on(FALSE, Reason::NotConfigured),
            on(FALSE, Reason::SecretMissing),
            on(FALSE, Reason::SecretKeyMissing),
            on(FALSE, Reason::SecretKeyEmpty),
        ],
    },
    Documented {
        kind: ConditionType::ConnectionBudget,
        meaning: "Whether the sum of all allocations fits into `spec.database.maxConnections`.",
        present: "",
        rows: &[on(TRUE, Reason::Fits), on(FALSE, Reason::Exceeded)],
    },
    Documented {
        kind: ConditionType::Exposed,
        meaning: "Whether clients outside the cluster can reach the API.",
        present: "With `spec.api.ingress` or `spec.api.route`.",
        rows: &[on(TRUE, Reason::Applied), on(FALSE, Reason::GatewayApiMissing), on(UNKNOWN, Reason::NotApplied)],
    },
    Documented {
        kind: ConditionType::Healthy,
        meaning: "Whether the health score of the platform is good.",
        present: "While the API reports its health.",
        rows: &[on(TRUE, Reason::Healthy), on(FALSE, Reason::Degraded)],
    },
    Documented {
        kind: ConditionType::MonitoringConfigured,
        meaning: "Whether Prometheus is configured for the platform.",
        present: "While it is False.",
        rows: &[fixed_by(
            FALSE,
            Reason::Refused,
            "The API server rejected the PodMonitor or the PrometheusRule, and the message quotes it. No alert fires. \
             The platform serves nevertheless.",
            "Correct `spec.monitoring`, or set `spec.monitoring.prometheus: false`.",
        )],
    },
    Documented {
        kind: ConditionType::Reconciling,
        meaning: "Whether the operator brings the platform to its spec. It is for kstatus (Argo CD, Flux).",
        present: "",
        rows: &[
            here(TRUE, Reason::SettingUp, "Servers start, or the setup Job runs."),
            here(TRUE, Reason::Starting, "The API or pools start."),
            on(TRUE, Reason::RollingOut),
            on(FALSE, Reason::UpToDate),
            on(FALSE, Reason::Stalled),
        ],
    },
    Documented {
        kind: ConditionType::Stalled,
        meaning: "Whether the platform needs a person. It is for kstatus (Argo CD, Flux).",
        present: "",
        rows: &[
            on(FALSE, Reason::NotStalled),
            on(TRUE, Reason::SetupFailed),
            on(TRUE, Reason::SecretMissing),
            on(TRUE, Reason::SecretKeyMissing),
            on(TRUE, Reason::SecretKeyEmpty),
            on(TRUE, Reason::SecretInvalid),
            on(TRUE, Reason::ConnectionBudgetExceeded),
            on(TRUE, Reason::PodTemplateInvalid),
            on(TRUE, Reason::Refused),
            on(TRUE, Reason::Forbidden),
        ],
    },
];

/// The conditions of a `WorkerPool`, in the order of its status.
pub const POOL: &[Documented] = &[
    Documented {
        kind: ConditionType::Ready,
        meaning: "Whether the pool runs jobs.",
        present: "",
        rows: &[
            here(TRUE, Reason::Serving, "The desired number of pods is ready."),
            on(TRUE, Reason::ScaledToZero),
            on(&["True", "False"], Reason::Paused),
            on(FALSE, Reason::Progressing),
            on(FALSE, Reason::PodsNotStarting),
            on(FALSE, Reason::WaitingForPlatform),
            on(FALSE, Reason::PlatformNotFound),
            fixed_by(
                FALSE,
                Reason::ConnectionBudgetExceeded,
                "The pods of the pool would exceed its allocation. Running pods keep running.",
                "Lower the replicas, or set `spec.connections`.",
            ),
            on(FALSE, Reason::PodTemplateInvalid),
            on(FALSE, Reason::Refused),
            on(FALSE, Reason::Forbidden),
        ],
    },
    Documented {
        kind: ConditionType::ConnectionBudget,
        meaning: "Whether the pool's database connections fit into its allocation.",
        present: "Once the operator has computed the allocation.",
        rows: &[
            here(TRUE, Reason::Fits, "They fit. The message has the number for each pod."),
            on(FALSE, Reason::Exceeded),
        ],
    },
    Documented {
        kind: ConditionType::Accelerated,
        meaning: "Whether the models run on GPUs.",
        present: "With `spec.gpu`, after the first pod has reported.",
        rows: &[on(TRUE, Reason::OnGpu), on(FALSE, Reason::OnProcessor)],
    },
    Documented {
        kind: ConditionType::Autoscaling,
        meaning: "Whether the number of pods follows the load.",
        present: "With `spec.scaling`.",
        rows: &[
            on(TRUE, Reason::Active),
            on(TRUE, Reason::ScaledToZero),
            on(FALSE, Reason::LoadUnknown),
            on(FALSE, Reason::Autoscaler(String::new())),
            on(UNKNOWN, Reason::NotSeen),
        ],
    },
    Documented {
        kind: ConditionType::GpuCapacity,
        meaning: "Whether the cluster has GPUs for `scaling.max` pods.",
        present: "With `spec.gpu` and `spec.scaling`.",
        rows: &[on(TRUE, Reason::Fits), on(FALSE, Reason::InsufficientGpus)],
    },
    Documented {
        kind: ConditionType::Reconciling,
        meaning: "Whether the operator brings the pool to its spec. It is for kstatus (Argo CD, Flux).",
        present: "",
        rows: &[
            on(TRUE, Reason::RollingOut),
            on(TRUE, Reason::WaitingForPlatform),
            on(FALSE, Reason::UpToDate),
            on(FALSE, Reason::Stalled),
        ],
    },
    Documented {
        kind: ConditionType::Stalled,
        meaning: "Whether the pool needs a person. It is for kstatus (Argo CD, Flux).",
        present: "",
        rows: &[
            on(FALSE, Reason::NotStalled),
            on(TRUE, Reason::PlatformNotFound),
            on(TRUE, Reason::ConnectionBudgetExceeded),
            on(TRUE, Reason::PodTemplateInvalid),
            on(TRUE, Reason::Refused),
            on(TRUE, Reason::Forbidden),
        ],
    },
];

/// Whether `owner`, [`PLATFORM`] or [`POOL`], has a condition with these values.
pub fn documents(owner: &[Documented], kind: &str, reason: &str, status: &str) -> bool {
    let same = |row: &&Row| matches!(row.reason, Reason::Autoscaler(_)) || row.reason.is(reason);
    let rows = owner.iter().filter(|documented| documented.kind.as_str() == kind).flat_map(|found| found.rows);
    rows.filter(same).any(|row| row.statuses.contains(&status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_belongs_to_a_condition() {
        for reason in Reason::ALL {
            let rows = || PLATFORM.iter().chain(POOL).flat_map(|documented| documented.rows);
            assert!(rows().any(|row| row.reason == *reason), "{reason}");
        }
    }

    #[test]
    fn every_fault_has_a_remedy() {
        for documented in PLATFORM.iter().chain(POOL) {
            for row in documented.rows {
                let is_fault = row.statuses.contains(&"False") && !documented.kind.repeats_ready();
                assert!(!is_fault || !row.remedy().is_empty(), "{} {}", documented.kind, row.reason);
            }
        }
    }
}
