//! River: one process with 2,000 workers, on PostgreSQL alone.

use std::time::Duration;

use super::drained::Drained;
use crate::{
    fixture::Fixture,
    process::{Process, run},
};

const DATABASE: &str = "river";

/// Inserts `jobs` jobs, then drains them.
pub async fn drain(fixture: &Fixture, jobs: u32) -> anyhow::Result<Drained> {
    fixture.recreate_database(DATABASE, "template1").await?;
    let river = || {
        let mut command = Process::command(&fixture.peers.river);
        command.arg("-database").arg(fixture.postgres.uri(DATABASE)).arg("-jobs").arg(jobs.to_string());
        command
    };
    let mut fill = river();
    fill.arg("-insert");
    run("river -insert", fill).await?;
    let client = fixture.client(DATABASE).await?;
    client.batch_execute("vacuum (analyze) river_job").await?;

    Process::start("river", river(), fixture.folder())?.wait_success(Duration::from_mins(2)).await?;
    let row = client
        .query_one(
            "select count(*), extract(epoch from max(finalized_at) - min(finalized_at))::float8
             from river_job where state = 'completed'",
            &[],
        )
        .await?;
    let done: i64 = row.get(0);
    anyhow::ensure!(done == i64::from(jobs), "River finished {done} of {jobs} jobs");
    Ok(Drained { jobs, seconds: row.get(1) })
}
