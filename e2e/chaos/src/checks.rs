//! The checks: each is an invariant with a query that finds its violations.

use tokio_postgres::Client;

/// The harness' tables in the database under test: limits, calls, and triggers that record every
/// change.
pub const AUDIT: &str = include_str!("../sql/audit.sql");

/// An invariant. Its query returns one row `(subject, detail)` per violation.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// The invariant as a phrase with underscores.
    pub name: &'static str,
    sql: &'static str,
}

/// A violation of an invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Name of the check.
    pub check: &'static str,
    /// The id of the job, tenant or queue.
    pub subject: String,
    pub detail: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} {}", self.check, self.subject, self.detail)
    }
}

macro_rules! checks {
    ($($name:literal),+ $(,)?) => {
        &[$(Check { name: $name, sql: include_str!(concat!("../sql/checks/", $name, ".sql")) }),+]
    };
}

/// All checks.
pub const ALL: &[Check] = checks![
    "accepted_jobs_are_there",
    "every_job_has_ended",
    "no_job_is_in_two_hands",
    "no_job_ends_twice",
    "no_result_is_written_twice",
    "every_round_is_charged_once",
    "credits_go_back_exactly_when_due",
    "balances_equal_their_ledgers",
    "running_counts_are_true",
    "no_tenant_runs_more_than_its_tier",
    "no_tenant_has_more_a_day_than_its_tier",
    "no_lane_runs_more_than_the_platform",
    "no_child_outlives_its_parent",
    "open_children_are_counted_right",
    "followers_end_as_their_leaders",
    "events_have_no_gaps",
    "watchers_see_every_event_once",
    "every_key_makes_one_job",
    "no_request_makes_two_jobs",
    "nothing_is_left_in_the_queues",
];

/// Runs all checks and returns the violations.
///
/// Requires `track_commit_timestamp`, and [`AUDIT`] installed before the first job.
///
/// # Errors
/// A query failed.
pub async fn violations(client: &Client) -> Result<Vec<Violation>, tokio_postgres::Error> {
    let mut found = Vec::new();
    for check in ALL {
        for row in client.query(check.sql, &[]).await? {
            found.push(Violation { check: check.name, subject: row.get("subject"), detail: row.get("detail") });
        }
    }
    Ok(found)
}
