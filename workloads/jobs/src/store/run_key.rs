//! The key of a claim, which every write of a worker carries.

use serde::Deserialize;
use uuid::Uuid;

use crate::model::{JobId, RunToken};

/// One claim of one job: the job's id with the fencing token, see [`RunToken`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub struct RunKey {
    pub job: JobId,
    pub token: RunToken,
}

/// Run keys as two columns: jobs and tokens.
pub(super) fn columns<'a>(run_keys: impl IntoIterator<Item = &'a RunKey>) -> (Vec<Uuid>, Vec<i64>) {
    run_keys.into_iter().map(|key| (key.job.0, key.token.0)).unzip()
}
