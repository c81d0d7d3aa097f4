//! Whether a pool may have pods: its platform is there, and the connection budget has room. Pure.

use switchyard_contract::ConnectionPool;

use crate::{
    controllers::{
        platform::{
            credentials::Credentials,
            validate::{budget, usable},
        },
        worker_pool::input::{PlatformSnapshot, PoolInput},
    },
    spec::connection_budget::{Budget, Refusal},
};

/// A pool whose spec was checked, with what stands in its way.
#[derive(Debug, Clone)]
pub struct ValidPool {
    /// What the pool is planned from; its platform went into the grant.
    pub input: PoolInput,
    pub grant: Result<Grant, Blocked>,
}

/// What a pool may use of its platform.
#[derive(Debug, Clone)]
pub struct Grant {
    pub platform: PlatformSnapshot,
    /// Connections of one pod.
    pub connections: ConnectionPool,
    /// The platform's budget.
    pub budget: Budget,
    /// The Secrets' keys that workers mount; none while something stands in the way of the platform.
    pub credentials: Option<Credentials>,
}

/// Why a pool gets nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocked {
    /// There is no such platform.
    NoPlatform,
    /// The platform is paused.
    Paused,
    /// The connection budget has no room.
    OverBudget(Refusal),
    /// The list of the platform's pools is older than the pool.
    NotListed,
}

/// Checks `input`. What stands in the way is no error: it is planned around, and told in the conditions.
pub fn validate(mut input: PoolInput) -> ValidPool {
    let name = input.pool.metadata.name.as_deref().unwrap_or_default();
    let grant = input.platform.take().ok_or(Blocked::NoPlatform).and_then(|platform| grant(name, platform));
    ValidPool { input, grant }
}

/// What the pool `name` may use of `platform`.
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
    let credentials = usable(&platform.settings, &platform.secrets, &budget).ok();
    Ok(Grant { platform, connections, budget, credentials })
}
