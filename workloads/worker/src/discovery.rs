//! The discovery worker: chooses related profiles to analyse as well.

use switchyard_contract::Analysis;
use switchyard_jobs::{
    handler::{ClaimedJob, Handler, Outcome, RunContext},
    model::JobError,
};

use crate::{
    children::{DiscoveryInput, DiscoveryOutput},
    profile::is_username,
};

/// Runs discovery jobs.
pub struct DiscoveryHandler {
    settings: Analysis,
}

impl DiscoveryHandler {
    pub fn new(settings: Analysis) -> Self {
        Self { settings }
    }
}

#[async_trait::async_trait]
impl Handler for DiscoveryHandler {
    async fn run(&self, job: &ClaimedJob, _: &RunContext) -> Result<Outcome, JobError> {
        let input: DiscoveryInput = serde_json::from_value(job.input.clone())
            .map_err(|error| JobError::permanent("invalid-input", format!("not a discovery job's input: {error}")))?;
        let usernames = choose(&job.username, input.related, self.settings.related_profiles as usize);
        let output = serde_json::to_value(DiscoveryOutput { usernames: usernames.clone() })
            .map_err(|error| JobError::permanent("invalid-output", error.to_string()))?;
        Ok(Outcome::CompleteAndDiscover { output, usernames })
    }
}

/// The first `limit` valid usernames of `related`, without duplicates and without `username`.
fn choose(username: &str, related: Vec<String>, limit: usize) -> Vec<String> {
    let mut chosen: Vec<String> = Vec::new();
    for name in related {
        if chosen.len() < limit && is_username(&name) && name != username && !chosen.contains(&name) {
            chosen.push(name);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn best_related_profiles_are_chosen_once_and_never_the_profile_itself() {
        let related = ["anna", "berta", "berta", "not a name", "carla", "dora"].map(str::to_owned).to_vec();
        assert_eq!(choose("anna", related.clone(), 2), ["berta", "carla"]);
        assert!(choose("anna", related, 0).is_empty());
    }
}
