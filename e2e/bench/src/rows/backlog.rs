//! A backlog of jobs that do nothing, worked off: ours against Celery and River.

use std::time::Duration;

use anyhow::bail;
use futures::{StreamExt as _, TryStreamExt as _};
use switchyard_jobs::store::{Admission, KeyHash, Store, SubmitRequest};
use tokio::time::{Instant, sleep};

use super::{Scale, say};
use crate::{
    ground::Ground,
    report::{Better, Comparison, Report, figure},
    sides::{
        Burnt, celery, river,
        switchyard::{self, Api, Keys, Mounted},
    },
};

/// Jobs of River and of us, for each second that a measurement lasts: so many that neither is done before it is under way.
const JOBS_A_SECOND: u32 = 8000;
/// Celery needs fewer to be at work as long.
const CELERY_JOBS_A_SECOND: u32 = 300;
/// The database with the backlog.
const QUEUED: &str = "switchyard_queued";
const OURS: &str = "bench_ours";
/// Requests that fill the backlog at once.
const AT_ONCE: usize = 512;

pub async fn measure(ground: &Ground, keys: &Keys, scale: Scale, report: &mut Report) -> anyhow::Result<()> {
    let seconds = u32::try_from(scale.duration.as_secs().max(1))?;
    let jobs = JOBS_A_SECOND * seconds;
    say(&format!("backlog: queueing {jobs} jobs"));
    ground.fresh(QUEUED, switchyard::TEMPLATE).await?;
    let store = switchyard::store(ground, QUEUED)?;
    fill(&store, keys, jobs).await?;
    drop(store);
    ground.client(QUEUED).await?.batch_execute("vacuum (analyze)").await?;

    let (mut ours, mut celery, mut river) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=scale.rounds {
        say(&format!("backlog, round {round} of {}", scale.rounds));
        let burnt = burn(ground, jobs).await?;
        say(&format!("  Switchyard: {}/s", figure(burnt.per_second())));
        ours.push(burnt.per_second());
        let burnt = celery::burn(ground, CELERY_JOBS_A_SECOND * seconds).await?;
        say(&format!("  Celery: {}/s", figure(burnt.per_second())));
        celery.push(burnt.per_second());
        let burnt = river::burn(ground, jobs).await?;
        say(&format!("  River: {}/s", figure(burnt.per_second())));
        river.push(burnt.per_second());
    }
    ground.remove(OURS).await?;
    ground.remove(QUEUED).await?;
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
        format!("{} no-op jobs (Celery {}) burnt down", figure(f64::from(jobs)), CELERY_JOBS_A_SECOND * seconds),
        celery,
        3.0,
        8.0,
        "Celery keeps less about a job.",
    ));
    report.comparisons.push(comparison(
        "River, 2,000 workers",
        format!("{} no-op jobs burnt down", figure(f64::from(jobs))),
        river,
        0.25,
        1.0,
        "River takes and finishes jobs in large batches and writes two columns for each; we write a lease, a token, events for watchers, the result and the \
         tenant's running count, and answer only when they are on disk.",
    ));
    Ok(())
}

/// Queues `jobs` analyses.
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
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

/// Works the backlog off with a real API process, whose relay hands out the tickets, and a real worker process.
async fn burn(ground: &Ground, jobs: u32) -> anyhow::Result<Burnt> {
    ground.fresh(OURS, QUEUED).await?;
    let mounted = Mounted::new(ground, OURS)?;
    let mut api = Api::start(ground, &mounted).await?;
    let mut worker = switchyard::worker(ground, &mounted, Duration::ZERO).await?;
    let client = ground.client(OURS).await?;
    let until = Instant::now() + Duration::from_secs(120);
    while client.query_one("select exists (select from switchyard.jobs where finished_at is null)", &[]).await?.get(0) {
        api.process.alive()?;
        worker.alive()?;
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
    Ok(Burnt { jobs, seconds: row.get(1) })
}
