//! Draining a backlog of no-op jobs: Switchyard against Celery and River.

use std::time::Duration;

use anyhow::bail;
use futures::{StreamExt as _, TryStreamExt as _};
use switchyard_jobs::store::{Admission, KeyHash, Store, SubmitRequest};
use tokio::time::{Instant, sleep};

use super::settings::Settings;
use crate::{
    fixture::Fixture,
    progress::log_progress,
    report::{Better, Comparison, Report, figure},
    systems::{
        celery,
        drained::Drained,
        river,
        switchyard::{self, Api, Keys, Mounted},
    },
};

/// Jobs for Switchyard and River per second of a measurement: enough to outlast the startup of
/// both.
const JOBS_A_SECOND: u32 = 8000;
/// Jobs for Celery per second of a measurement; it is slower, so fewer last as long.
const CELERY_JOBS_A_SECOND: u32 = 300;
/// The database with the backlog, copied for each round.
const QUEUED: &str = "switchyard_queued";
const OURS: &str = "bench_ours";
/// Concurrent requests while the backlog is filled.
const CONCURRENT_REQUESTS: usize = 512;

/// Measures the scenario and adds its comparisons to `report`.
pub async fn measure(fixture: &Fixture, keys: &Keys, settings: Settings, report: &mut Report) -> anyhow::Result<()> {
    let seconds = u32::try_from(settings.duration.as_secs().max(1))?;
    let jobs = JOBS_A_SECOND * seconds;
    log_progress(&format!("backlog: queueing {jobs} jobs"));
    fixture.recreate_database(QUEUED, switchyard::TEMPLATE).await?;
    let store = switchyard::store(fixture, QUEUED)?;
    fill(&store, keys, jobs).await?;
    drop(store);
    fixture.client(QUEUED).await?.batch_execute("vacuum (analyze)").await?;

    let (mut ours, mut celery, mut river) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=settings.rounds {
        log_progress(&format!("backlog, round {round} of {}", settings.rounds));
        let drained = drain(fixture, jobs).await?;
        log_progress(&format!("  Switchyard: {}/s", figure(drained.per_second())));
        ours.push(drained.per_second());
        let drained = celery::drain(fixture, CELERY_JOBS_A_SECOND * seconds).await?;
        log_progress(&format!("  Celery: {}/s", figure(drained.per_second())));
        celery.push(drained.per_second());
        let drained = river::drain(fixture, jobs).await?;
        log_progress(&format!("  River: {}/s", figure(drained.per_second())));
        river.push(drained.per_second());
    }
    fixture.drop_database(OURS).await?;
    fixture.drop_database(QUEUED).await?;
    let comparison = |against, work: String, theirs, at_least, aim, if_behind| Comparison {
        against,
        work,
        unit: "/s",
        ours: ours.clone(),
        theirs,
        better: Better::More,
        at_least,
        aim,
        if_behind,
    };
    report.comparisons.push(comparison(
        "Celery, prefork 2, late acks, results in PostgreSQL",
        format!("{} no-op jobs (Celery {}) drained", figure(f64::from(jobs)), CELERY_JOBS_A_SECOND * seconds),
        celery,
        3.0,
        8.0,
        "Celery stores less about a job.",
    ));
    report.comparisons.push(comparison(
        "River, 2,000 workers",
        format!("{} no-op jobs drained", figure(f64::from(jobs))),
        river,
        0.25,
        1.0,
        "River claims and finishes jobs in large batches and writes two columns per job. Switchyard writes a lease, a fencing token, events, the \
         result and the tenant's running count, and acknowledges a job when they are on disk.",
    ));
    Ok(())
}

/// Submits `jobs` analyses.
pub async fn fill(store: &Store, keys: &Keys, jobs: u32) -> anyhow::Result<()> {
    let hashes: Vec<KeyHash> = keys.iter().map(|key| KeyHash::of(key)).collect();
    futures::stream::iter(0..jobs)
        .map(|number| {
            let key = hashes[number as usize % hashes.len()];
            async move {
                let username = format!("queued-{number}");
                let request = SubmitRequest { key, username, force_refresh: false, idempotency: None };
                match store.submit(request).await? {
                    Admission::Accepted { .. } => anyhow::Ok(()),
                    other => bail!("a job was not accepted: {other:?}"),
                }
            }
        })
        .buffer_unordered(CONCURRENT_REQUESTS)
        .try_collect()
        .await
}

/// Drains the backlog with a real API process, whose relay publishes the tickets, and a real worker
/// process.
async fn drain(fixture: &Fixture, jobs: u32) -> anyhow::Result<Drained> {
    fixture.recreate_database(OURS, QUEUED).await?;
    let mounted = Mounted::new(fixture, OURS)?;
    let mut api = Api::start(fixture, &mounted).await?;
    let mut worker = switchyard::worker(fixture, &mounted, Duration::ZERO).await?;
    let client = fixture.client(OURS).await?;
    let until = Instant::now() + Duration::from_mins(2);
    while client.query_one("select exists (select from switchyard.jobs where finished_at is null)", &[]).await?.get(0) {
        api.process.ensure_running()?;
        worker.ensure_running()?;
        if Instant::now() > until {
            let left = client.query_one("select count(*) from switchyard.jobs where finished_at is null", &[]).await?;
            bail!("{} of {jobs} jobs are left after two minutes", left.get::<_, i64>(0));
        }
        sleep(Duration::from_millis(200)).await;
    }
    let row = client
        .query_one(
            "select count(*), extract(epoch from max(finished_at) - min(finished_at))::float8
             from switchyard.jobs where state = 'completed'",
            &[],
        )
        .await?;
    worker.stop().await?;
    api.process.stop().await?;
    anyhow::ensure!(row.get::<_, i64>(0) == i64::from(jobs), "not every job was completed");
    Ok(Drained { jobs, seconds: row.get(1) })
}
