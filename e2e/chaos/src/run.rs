//! A run, from the start of the servers to the checks.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tokio::time::sleep;

use crate::{
    caller::Caller,
    checks,
    faults::inject_all,
    fixture::Fixture,
    load::Load,
    mounts::ADMIN_KEY,
    plan,
    processes::{ManagedProcess, Processes},
    report::Report,
};

/// Settings of a run.
#[derive(Debug, Clone)]
pub struct Settings {
    pub seed: u64,
    /// How long load and faults last.
    pub load: Duration,
    /// Number of API processes.
    pub apis: usize,
    /// Timeout for all jobs to end after the load.
    pub settle_timeout: Duration,
    /// `RUST_LOG` of the processes.
    pub log_level: String,
    /// Folder for the processes' logs of a failed run.
    pub logs: Option<std::path::PathBuf>,
}

/// Performs a run. Violations are in the report.
///
/// # Errors
/// The harness itself failed.
pub async fn run(settings: &Settings) -> anyhow::Result<Report> {
    let fixture = Arc::new(Fixture::prepare().await?);
    let outcome = run_on(&fixture, settings).await;
    let failed = !outcome.as_ref().is_ok_and(|report| report.violations.is_empty());
    if let (true, Some(logs)) = (failed, &settings.logs) {
        keep_logs(fixture.folder.path(), logs, settings.seed)?;
    }
    // If a task still holds the fixture, the servers end with this program.
    if let Some(fixture) = Arc::into_inner(fixture) {
        fixture.stop();
    }
    outcome
}

async fn run_on(fixture: &Arc<Fixture>, settings: &Settings) -> anyhow::Result<Report> {
    let processes = Arc::new(Processes::start(fixture, settings.apis, &settings.log_level).await?);
    let planned = plan::faults(settings.seed, settings.load, Processes::counts(settings.apis));
    let mut load = Load::start(Caller::new(&processes.urls, ADMIN_KEY)?, settings.seed).await?;
    let notes = load.notes.clone();

    let faults = inject_all(fixture, &processes, &planned, settings.seed);
    let (faults, ()) = tokio::join!(faults, sleep(settings.load));

    let began = Instant::now();
    fixture.database.wait_up().await;
    fixture.broker.wait_up().await;
    fixture.cache.wait_up().await;
    processes.all().try_for_each(ManagedProcess::start).context("could not restart the processes")?;
    processes.wait_responding().await?;
    load.settle().await?;
    let client = fixture.client().await?;
    wait_settled(fixture, &client, settings.settle_timeout).await?;
    let settled = began.elapsed();
    load.wait_for_watchers(settings.settle_timeout).await;
    let mut violations = processes.stop().await;
    // Unacknowledged messages of the workers are back in their queues by now.
    for (queue, messages) in fixture.depths().await? {
        client
            .execute("insert into chaos.queues (queue, messages) values ($1, $2)", &[&queue, &i64::from(messages)])
            .await?;
    }
    notes.store(&client).await?;
    violations.extend(checks::violations(&client).await.context("could not run the checks")?);
    let jobs = client
        .query(
            "select format('%s, %s', case origin when 'api' then 'submitted' when 'discovery' then 'discovered' else 'children' end, state), count(*)
             from switchyard.jobs group by origin, state order by origin, state",
            &[],
        )
        .await?;
    let mut jobs: Vec<(String, i64)> = jobs.iter().map(|row| (row.get(0), row.get(1))).collect();
    let shared = "select count(distinct job_id) from chaos.transitions where follows is not null";
    jobs.push(("that followed another job's pipeline".to_owned(), client.query_one(shared, &[]).await?.get(0)));
    let changes = "select count(*) from chaos.transitions";
    jobs.push(("changes of state, each checked".to_owned(), client.query_one(changes, &[]).await?.get(0)));
    Ok(Report {
        seed: settings.seed,
        load: settings.load,
        settle_time: settled,
        faults,
        calls: notes.counts(),
        jobs,
        violations,
    })
}

/// Waits until all jobs have ended and all queues are empty. After the timeout the checks report
/// the rest.
async fn wait_settled(
    fixture: &Fixture,
    client: &tokio_postgres::Client,
    settle_timeout: Duration,
) -> anyhow::Result<()> {
    let began = Instant::now();
    while began.elapsed() < settle_timeout {
        let open: i64 =
            client.query_one("select count(*) from switchyard.jobs where finished_at is null", &[]).await?.get(0);
        if open == 0 && fixture.depths().await?.iter().all(|(_, messages)| *messages == 0) {
            return Ok(());
        }
        sleep(Duration::from_millis(300)).await;
    }
    Ok(())
}

/// Copies the log files of a failed run.
fn keep_logs(from: &Path, to: &Path, seed: u64) -> std::io::Result<()> {
    let to = to.join(format!("seed-{seed}"));
    std::fs::create_dir_all(&to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|extension| extension == "log") {
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
