//! Celery: two worker processes, tasks acknowledged late, their outcome kept in PostgreSQL. The same promise as ours: a finished job is on disk as finished.

use std::time::Duration;

use tokio::{process::Command, time::sleep};

use super::Burnt;
use crate::{
    ground::Ground,
    process::{Process, run},
};

const DATABASE: &str = "celery";

/// Burns down `jobs` tasks that were queued before.
pub async fn burn(ground: &Ground, jobs: u32) -> anyhow::Result<Burnt> {
    ground.fresh(DATABASE, "template1").await?;
    let broker = ground.redis.database();
    let python = |arguments: &[&str]| {
        let mut command = Process::command(&ground.peers.python);
        command
            .args(arguments)
            .current_dir(ground.peers.peers.join("fastapi"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("BENCH_REDIS", &broker)
            .env("BENCH_RESULTS", ground.postgres.uri(DATABASE).replacen("postgres:", "postgresql+psycopg2:", 1))
            .env("BENCH_JOBS", jobs.to_string());
        command
    };
    run("fill.py", python(&["fill.py"])).await?;

    let mut worker: Command =
        python(&["-m", "celery", "-A", "tasks", "worker", "--pool", "prefork", "--concurrency", "2"]);
    worker.args(["--loglevel", "warning", "--without-gossip", "--without-mingle", "--without-heartbeat"]);
    let mut worker = Process::start("celery", worker, ground.folder())?;
    let client = ground.client(DATABASE).await?;
    let burnt = loop {
        sleep(Duration::from_millis(200)).await;
        worker.alive()?;
        // The worker makes the table when it has its first outcome.
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
            break Burnt { jobs, seconds: row.get(1) };
        }
    };
    worker.stop().await?;
    Ok(burnt)
}
