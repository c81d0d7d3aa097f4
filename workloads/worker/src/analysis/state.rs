//! What an analysis stores while its children run.

use serde::{Deserialize, Serialize};

use crate::{children::ImageRecord, profile_fetcher::FetchedProfile};

/// The state of an analysis between its steps. It is stored as JSON with the job.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AnalysisState {
    #[serde(flatten)]
    pub fetched: FetchedProfile,
    /// Image records of the first round. Only a correction has them, which does not repeat that
    /// work.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<ImageRecord>,
    /// Usernames discovered by the first round. Only a correction has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub discovered: Vec<String>,
}

impl From<FetchedProfile> for AnalysisState {
    fn from(fetched: FetchedProfile) -> Self {
        Self { fetched, images: Vec::new(), discovered: Vec::new() }
    }
}
