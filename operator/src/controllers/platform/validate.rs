//! Whether a platform can run as its spec says: its connections fit, and its Secrets hold what the workloads read. Pure.

use crate::{
    controllers::platform::{
        credentials::{Credentials, Problem, read_credentials},
        input::PlatformInput,
    },
    crd::WorkerPool,
    spec::{
        component::Component,
        connection_budget::{Budget, divide},
        pool::pool_demand,
        secrets::Secrets,
        settings::Settings,
    },
};

/// A platform whose spec was checked, with what stands in its way.
#[derive(Debug, Clone)]
pub struct ValidPlatform {
    pub input: PlatformInput,
    /// The share of the connections that everything of the platform gets.
    pub budget: Budget,
    /// The Secrets' keys that its workloads mount, or everything that a person has to correct first.
    pub credentials: Result<Credentials, Vec<Problem>>,
}

/// Checks `input`. What stands in the way is no error: it is planned around, and told in the conditions.
pub fn validate(input: PlatformInput) -> ValidPlatform {
    let budget = budget(&input.settings, &input.pools);
    let credentials = usable(&input.settings, &input.secrets, &budget);
    ValidPlatform { input, budget, credentials }
}

/// The share of the connections that everything of a platform gets.
pub fn budget(settings: &Settings, pools: &[WorkerPool]) -> Budget {
    let demands: Vec<_> = pools
        .iter()
        .filter(|pool| pool.metadata.deletion_timestamp.is_none())
        .map(|pool| {
            let made = pool.metadata.creation_timestamp.as_ref().map_or(i64::MAX, |time| time.0.as_second());
            pool_demand(pool.metadata.name.as_deref().unwrap_or_default(), made, &pool.spec, settings.max_connections)
        })
        .collect();
    divide(settings.max_connections, &settings.api_demand(), &demands)
}

/// What stands in the way of a platform, or the Secrets' keys that its workloads mount.
///
/// # Errors
/// Everything that a person has to mend.
pub fn usable(settings: &Settings, secrets: &Secrets, budget: &Budget) -> Result<Credentials, Vec<Problem>> {
    let over = |message: String| Problem { component: Component::Api, reason: "ConnectionBudgetExceeded", message };
    let mut problems: Vec<Problem> = Vec::new();
    problems.extend(
        budget.verdict.as_ref().err().map(|refusal| over(format!("the connection budget does not fit: {refusal}"))),
    );
    problems.extend(
        budget.api.as_ref().err().map(|refusal| over(format!("the connection budget does not fit: {refusal}"))),
    );
    match read_credentials(settings, secrets) {
        Ok(credentials) if problems.is_empty() => Ok(credentials),
        Ok(_) => Err(problems),
        Err(more) => Err(more.into_iter().chain(problems).collect()),
    }
}
