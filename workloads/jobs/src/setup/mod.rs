//! What the setup Job does before anything else runs: schema, roles, queues, and a check that everything the platform needs answers.
//!
//! All of it may be repeated. What fails says which part it is, why, and what to do, and never holds a password: the operator shows it to the user.

mod broker;
mod cache;
mod database;
mod roles;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use switchyard_contract::{Config, Mount, RoleGrant, Workload};

/// How long each part may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two attempts.
const AGAIN: Duration = Duration::from_millis(500);

/// A part of the platform that setup looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Component {
    Database,
    Broker,
    Cache,
    ObjectStore,
}

/// Why setup failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{component:?}: {message}")]
pub struct SetupError {
    pub component: Component,
    /// For people: what is wrong and what to do. Holds no secret.
    pub message: String,
}

impl SetupError {
    /// An error of one part.
    pub fn new(component: Component, message: impl Into<String>) -> Self {
        Self { component, message: message.into() }
    }
}

/// Brings database and queues to the state that this version expects and checks the cache. Does the parts one after the other and stops at the first that
/// fails. The object store is the caller's.
pub async fn run(config: &Config, mount: &Mount) -> Result<(), SetupError> {
    let roles: &[RoleGrant] = match &config.workload {
        Workload::Setup { roles } => roles,
        Workload::Api | Workload::Pool { .. } => &[],
    };
    database::prepare(mount, config.database.pooler, roles).await?;
    tracing::info!("the database is ready");
    broker::prepare(mount).await?;
    tracing::info!("the broker is ready");
    cache::check(mount).await?;
    tracing::info!("the cache is ready");
    Ok(())
}

/// What an attempt to reach something came to.
enum Attempt<T> {
    Reached(T),
    /// It may still come up.
    NotYet(String),
    /// Waiting does not help.
    Hopeless(String),
}

/// Tries until it is reached, hopeless, or the patience is at its end.
async fn reach<T, F>(component: Component, attempt: impl Fn() -> F) -> Result<T, SetupError>
where
    F: Future<Output = Attempt<T>>,
{
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        match attempt().await {
            Attempt::Reached(value) => return Ok(value),
            Attempt::Hopeless(message) => return Err(SetupError::new(component, message)),
            Attempt::NotYet(message) if tokio::time::Instant::now() >= until => {
                return Err(SetupError::new(component, message));
            }
            Attempt::NotYet(message) => tracing::info!(?component, message, "not reachable yet"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}
