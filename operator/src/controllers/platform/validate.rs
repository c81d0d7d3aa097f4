//! Validates a platform: its connections fit the budget, and its Secrets have the keys that the
//! workloads read. Pure.

use crate::{
    controllers::platform::{
        credentials::{Credentials, Problem, read_credentials},
        input::PlatformInput,
    },
    crd::{WorkerPool, conditions::Reason},
    spec::{
        component::Component,
        connection_budget::{Budget, divide},
        pool::pool_demand,
        secrets::Secrets,
        settings::Settings,
    },
};

/// A validated platform, with the problems that block it.
#[derive(Debug, Clone)]
pub struct ValidPlatform {
    /// The input of the plan.
    pub input: PlatformInput,
    /// The division of the connections among the parts of the platform.
    pub budget: Budget,
    /// The keys of Secrets that its workloads mount, or the problems that a person must correct.
    pub credentials: Result<Credentials, Vec<Problem>>,
}

/// Validates `input`. Problems are no error: the plan depends on them, and conditions report them.
pub fn validate(input: PlatformInput) -> ValidPlatform {
    let budget = budget(&input.settings, &input.pools);
    let credentials = usable_credentials(&input.settings, &input.secrets, &budget);
    ValidPlatform { input, budget, credentials }
}

/// Divides the connections among the parts of a platform.
pub fn budget(settings: &Settings, pools: &[WorkerPool]) -> Budget {
    let demands: Vec<_> = pools
        .iter()
        .filter(|pool| pool.metadata.deletion_timestamp.is_none())
        .map(|pool| {
            let created = pool.metadata.creation_timestamp.as_ref().map_or(i64::MAX, |time| time.0.as_second());
            pool_demand(
                pool.metadata.name.as_deref().unwrap_or_default(),
                created,
                &pool.spec,
                settings.max_connections,
            )
        })
        .collect();
    divide(settings.max_connections, &settings.api_demand(), &demands)
}

/// The keys of Secrets that the workloads of a platform mount.
///
/// # Errors
/// All problems that a person must correct, in the Secrets and in `budget`.
pub fn usable_credentials(
    settings: &Settings,
    secrets: &Secrets,
    budget: &Budget,
) -> Result<Credentials, Vec<Problem>> {
    let over =
        |message: String| Problem { component: Component::Api, reason: Reason::ConnectionBudgetExceeded, message };
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
