//! The defaults of each environment. Every field of the spec takes precedence.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use switchyard_contract::Kind;

use crate::crd::{Environment, Resources};

/// Pods that a rollout adds to the replicas (`maxSurge`).
pub const SURGE: u32 = 1;

/// Target utilization of an autoscaler, in percent of the requests of the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Targets {
    pub cpu: i32,
    pub memory: i32,
}

/// Requests and the memory limit of a container. CPU has no limit, so that pods can use idle cores.
fn resources(cpu: &str, memory: &str, memory_limit: &str) -> Resources {
    let quantity = |text: &str| Quantity(text.to_owned());
    Resources {
        requests: Some(BTreeMap::from([("cpu".into(), quantity(cpu)), ("memory".into(), quantity(memory))])),
        limits: Some(BTreeMap::from([("memory".into(), quantity(memory_limit))])),
    }
}

/// Minimum and maximum pods of the API if the spec sets neither `replicas` nor `scaling`.
pub const fn api_scaling(environment: Environment) -> Option<(i32, i32)> {
    match environment {
        Environment::Development | Environment::Staging => None,
        Environment::Production => Some((3, 10)),
    }
}

/// Target utilization of the API. Memory is a safeguard: it hardly grows with the load.
pub const API_TARGETS: Targets = Targets { cpu: 70, memory: 80 };

/// Region of a bucket. Servers without regions accept it.
pub const REGION: &str = "us-east-1";

/// Whether workloads must survive the loss of a node.
pub const fn is_redundant(environment: Environment) -> bool {
    !matches!(environment, Environment::Development)
}

/// Pods of an API that is not scaled.
pub const fn api_replicas(environment: Environment) -> i32 {
    match environment {
        Environment::Development => 1,
        Environment::Staging => 2,
        Environment::Production => 3,
    }
}

/// Resources of the API container.
pub fn api_resources(environment: Environment) -> Resources {
    match environment {
        Environment::Development => resources("10m", "48Mi", "256Mi"),
        Environment::Staging => resources("250m", "128Mi", "512Mi"),
        Environment::Production => resources("500m", "256Mi", "1Gi"),
    }
}

/// Resources of the setup container.
pub fn set_up_resources() -> Resources {
    resources("10m", "32Mi", "256Mi")
}

/// Resources of a worker container.
pub fn worker_resources(environment: Environment, kind: Kind) -> Resources {
    match (environment, kind) {
        (Environment::Development, Kind::Ai) => resources("20m", "256Mi", "1536Mi"),
        (Environment::Development, _) => resources("10m", "48Mi", "512Mi"),
        (Environment::Staging, Kind::Ai) => resources("500m", "512Mi", "2Gi"),
        (Environment::Staging, _) => resources("250m", "128Mi", "1Gi"),
        (Environment::Production, Kind::Ai) => resources("1", "1Gi", "4Gi"),
        (Environment::Production, _) => resources("500m", "256Mi", "2Gi"),
    }
}

/// Number of jobs that one worker runs at once.
pub const fn concurrency(kind: Kind) -> u32 {
    match kind {
        Kind::Ai => 2,
        _ => 8,
    }
}

/// Termination grace period in seconds: the longest job and a margin. Short in development, so that
/// deleting a platform is fast.
pub const fn grace_seconds(environment: Environment, longest_job: u64) -> i64 {
    match environment {
        Environment::Development => 15,
        _ => longest_job.cast_signed().saturating_add(15),
    }
}

/// Resources of the bundled services, which are for development only.
pub mod bundled {
    use crate::spec::defaults::{Resources, resources};

    pub fn postgresql() -> Resources {
        resources("20m", "96Mi", "768Mi")
    }

    pub fn rabbitmq() -> Resources {
        resources("20m", "128Mi", "512Mi")
    }

    pub fn redis() -> Resources {
        resources("5m", "16Mi", "256Mi")
    }

    pub fn s3() -> Resources {
        resources("5m", "32Mi", "256Mi")
    }
}
