//! The setup Job, which runs before every other workload: it creates schema, roles and queues, and
//! checks that all backing services answer.
//!
//! It is idempotent. An error names the component, the cause and the remedy, and never contains a
//! password: the operator shows it to the user.

mod broker;
mod cache;
mod database;
mod error;
mod reach;
mod roles;

use switchyard_contract::{Config, Mount, RoleGrant, Workload};

pub use error::{Component, SetupError};

/// Prepares the database and the broker for this version, and checks the cache.
///
/// The components are handled one after the other. The object store is left to the caller.
///
/// # Errors
/// The first component that fails.
pub async fn run(config: &Config, mount: &Mount) -> Result<(), SetupError> {
    let roles: &[RoleGrant] = match &config.workload {
        Workload::Setup { roles } => roles,
        Workload::Api | Workload::Pool { .. } => &[],
    };
    database::prepare(mount, config.database.pooler, roles).await?;
    tracing::info!("database is ready");
    broker::prepare(mount).await?;
    tracing::info!("broker is ready");
    cache::check(mount).await?;
    tracing::info!("cache is ready");
    Ok(())
}
