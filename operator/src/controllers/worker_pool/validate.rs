//! Validates a pool: its platform exists, and the connection budget can hold it. Pure.

use switchyard_contract::ConnectionPool;

use crate::{
    controllers::{
        platform::{
            credentials::Credentials,
            validate::{budget, usable_credentials},
        },
        worker_pool::input::{PlatformSnapshot, PoolInput},
    },
    spec::connection_budget::{Budget, Refusal},
};

/// A validated pool, with what blocks it.
#[derive(Debug, Clone)]
pub struct ValidPool {
    /// The input of the plan. Its platform has moved into the grant.
    pub input: PoolInput,
    /// The resources that the pool gets, or why it gets none.
    pub grant: Result<Grant, Blocked>,
}

/// The resources of its platform that a pool may use.
#[derive(Debug, Clone)]
pub struct Grant {
    /// The platform.
    pub platform: PlatformSnapshot,
    /// Connections of one pod.
    pub connections: ConnectionPool,
    /// The platform's budget.
    pub budget: Budget,
    /// The keys of Secrets that workers mount; none while problems block the platform.
    pub credentials: Option<Credentials>,
}

/// Why a pool gets no resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocked {
    /// Its platform does not exist.
    NoPlatform,
    /// The platform is paused.
    Paused,
    /// The connection budget cannot hold the pool.
    OverBudget(Refusal),
    /// The cached list of the platform's pools does not include it yet.
    NotListed,
}

/// Validates `input`. A block is no error: the plan depends on it, and conditions report it.
pub fn validate(mut input: PoolInput) -> ValidPool {
    let name = input.pool.metadata.name.as_deref().unwrap_or_default();
    let grant = input.platform.take().ok_or(Blocked::NoPlatform).and_then(|platform| grant(name, platform));
    ValidPool { input, grant }
}

/// The resources of `platform` for the pool `name`.
fn grant(name: &str, platform: PlatformSnapshot) -> Result<Grant, Blocked> {
    if platform.settings.paused {
        return Err(Blocked::Paused);
    }
    let budget = budget(&platform.settings, &platform.pools);
    let connections = match budget.pools.get(name) {
        Some(Ok(connections)) => *connections,
        Some(Err(refusal)) => return Err(Blocked::OverBudget(refusal.clone())),
        None => return Err(Blocked::NotListed),
    };
    let credentials = usable_credentials(&platform.settings, &platform.secrets, &budget).ok();
    Ok(Grant { platform, connections, budget, credentials })
}
