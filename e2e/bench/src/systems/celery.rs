//! Celery: two worker processes, late acknowledgement, results in PostgreSQL. So, as with
//! Switchyard, a finished job is on disk as finished.

use std::time::Duration;

use tokio::{process::Command, time::sleep};

use super::drained::Drained;
use crate::{
    fixture::Fixture,
    process::{Process, run},
};

const DATABASE: &str = "celery";

/// Queues `jobs` tasks, then drains them.
pub async fn drain(fixture: &Fixture, jobs: u32) -> anyhow::Result<Drained> {
    fixture.recreate_database(DATABASE, "template1").await?;
    let broker = fixture.redis.database();
    let python = |arguments: &[&str]| {
        let mut command = Process::command(&fixture.peers.python);
        command
            .args(arguments)
            .current_dir(fixture.peers.peers.join("fastapi"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("BENCH_REDIS", &broker)
            .env("BENCH_RESULTS", fixture.postgres.uri(DATABASE).replacen("postgres:", "postgresql+psycopg2:", 1))
            .env("BENCH_JOBS", jobs.to_string());
        command
    };
    run("fill.py", python(&["fill.py"])).await?;

    let mut worker: Command =
        python(&["-m", "celery", "-A", "tasks", "worker", "--pool", "prefork", "--concurrency", "2"]);
    worker.args(["--loglevel", "warning", "--without-gossip", "--without-mingle", "--without-heartbeat"]);
    let mut worker = Process::start("celery", worker, fixture.folder())?;
    let client = fixture.client(DATABASE).await?;
    let drained = loop {
        sleep(Duration::from_millis(200)).await;
        worker.ensure_running()?;
        // The worker creates the table with its first result.
        if client.query_one("select to_regclass('celery_taskmeta') is null", &[]).await?.get(0) {
            continue;
        }
        let row = client
            .query_one(
                "select count(*), coalesce(extract(epoch from max(date_done) - min(date_done))::float8, 0)
                 from celery_taskmeta where status = 'SUCCESS'",
                &[],
            )
            .await?;
        if row.get::<_, i64>(0) >= i64::from(jobs) {
            break Drained { jobs, seconds: row.get(1) };
        }
    };
    worker.stop().await?;
    Ok(drained)
}
