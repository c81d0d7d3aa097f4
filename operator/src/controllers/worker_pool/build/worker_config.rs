//! The configuration document of a pool's workers.

use switchyard_contract::{Config, ConnectionPool, Workload};

use crate::{
    controllers::platform::{build::workloads::config, credentials::Credentials},
    crd::WorkerPoolSpec,
    spec::{defaults, pool::lanes, settings::Settings},
};

/// The configuration of the workers of the pool `name`. `connections` is the share of one pod.
pub fn worker_config(
    name: &str,
    spec: &WorkerPoolSpec,
    settings: &Settings,
    credentials: &Credentials,
    connections: ConnectionPool,
) -> Config {
    let workload = Workload::Pool {
        name: name.to_owned(),
        kind: spec.kind,
        lanes: lanes(spec),
        concurrency: spec
            .concurrency
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or_else(|| defaults::concurrency(spec.kind)),
    };
    config(settings, credentials, workload, spec.kind.role(), with_timeouts(connections, spec))
}

/// A pool that does not set its number of connections may still set their timeouts.
fn with_timeouts(connections: ConnectionPool, spec: &WorkerPoolSpec) -> ConnectionPool {
    let own = spec.connections.clone().unwrap_or_default();
    ConnectionPool {
        size: connections.size,
        overflow: connections.overflow,
        wait_timeout_seconds: own.wait_timeout.map_or(connections.wait_timeout_seconds, |wait| wait.0),
        statement_timeout_seconds: own.statement_timeout.map_or(connections.statement_timeout_seconds, |limit| limit.0),
    }
}
