//! River: one process with 2,000 workers on PostgreSQL alone.

use std::time::Duration;

use super::Burnt;
use crate::{
    ground::Ground,
    process::{Process, run},
};

const DATABASE: &str = "river";

/// Burns down `jobs` jobs that were inserted before.
pub async fn burn(ground: &Ground, jobs: u32) -> anyhow::Result<Burnt> {
    ground.fresh(DATABASE, "template1").await?;
    let river = || {
        let mut command = Process::command(&ground.peers.river);
        command.arg("-database").arg(ground.postgres.uri(DATABASE)).arg("-jobs").arg(jobs.to_string());
        command
    };
    let mut fill = river();
    fill.arg("-insert");
    run("river -insert", fill).await?;
    let client = ground.client(DATABASE).await?;
    client.batch_execute("vacuum (analyze) river_job").await?;

    Process::start("river", river(), ground.folder())?.ended(Duration::from_secs(120)).await?;
    let row = client
        .query_one(
            "select count(*), extract(epoch from max(finalized_at) - min(finalized_at))::float8
             from river_job where state = 'completed'",
            &[],
        )
        .await?;
    let done: i64 = row.get(0);
    anyhow::ensure!(done == i64::from(jobs), "River finished {done} of {jobs} jobs");
    Ok(Burnt { jobs, seconds: row.get(1) })
}
