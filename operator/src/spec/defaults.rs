//! What an environment presets. Any field of the spec goes before it.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use switchyard_contract::Kind;

use crate::crd::{Environment, Resources};

/// Pods that a rollout may add on top of the replicas.
pub const SURGE: u32 = 1;

/// Use that the number of pods aims at, in percent of what the container requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Targets {
    pub cpu: i32,
    pub memory: i32,
}

/// Requests and the memory limit of a container. Nothing is limited in CPU: an idle core is anybody's.
fn resources(cpu: &str, memory: &str, memory_limit: &str) -> Resources {
    let quantity = |text: &str| Quantity(text.to_owned());
    Resources {
        requests: Some(BTreeMap::from([("cpu".into(), quantity(cpu)), ("memory".into(), quantity(memory))])),
        limits: Some(BTreeMap::from([("memory".into(), quantity(memory_limit))])),
    }
}

/// Fewest and most pods of an API whose size follows the load, where the spec says nothing about its size.
pub const fn api_scaling(environment: Environment) -> Option<(i32, i32)> {
    match environment {
        Environment::Development | Environment::Staging => None,
        Environment::Production => Some((3, 10)),
    }
}

/// Use of the API's pods that its size aims at. Memory is a bound for the unexpected: the API holds little that grows with its load.
pub const API_TARGETS: Targets = Targets { cpu: 70, memory: 80 };

/// Whether a workload is meant to outlast the loss of a node.
pub const fn is_redundant(environment: Environment) -> bool {
    !matches!(environment, Environment::Development)
}

/// Pods of the API, where nothing scales it.
pub const fn api_replicas(environment: Environment) -> i32 {
    match environment {
        Environment::Development => 1,
        Environment::Staging => 2,
        Environment::Production => 3,
    }
}

/// The API's container.
pub fn api_resources(environment: Environment) -> Resources {
    match environment {
        Environment::Development => resources("10m", "48Mi", "256Mi"),
        Environment::Staging => resources("250m", "128Mi", "512Mi"),
        Environment::Production => resources("500m", "256Mi", "1Gi"),
    }
}

/// The setup Job's container.
pub fn set_up_resources() -> Resources {
    resources("10m", "32Mi", "256Mi")
}

/// A worker's container.
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

/// Jobs that one worker runs at once.
pub const fn concurrency(kind: Kind) -> u32 {
    match kind {
        Kind::Ai => 2,
        _ => 8,
    }
}

/// Seconds that a pod gets to finish what it is at. In development little, so that nobody waits for a clean-up.
pub const fn grace_seconds(environment: Environment, longest_job: u64) -> i64 {
    match environment {
        Environment::Development => 15,
        _ => longest_job.cast_signed().saturating_add(15),
    }
}

/// Bundled servers, which are for development alone.
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
