//! Whether a platform can run as its spec says: its connections fit, and its Secrets hold what the workloads read. Pure.

use crate::{
    controllers::platform::credentials::{Credentials, Problem, read_credentials},
    crd::WorkerPool,
    spec::{
        component::Component,
        connection_budget::{Budget, divide},
        pool::pool_demand,
        secrets::Secrets,
        settings::Settings,
    },
};

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
